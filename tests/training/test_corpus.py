"""Files, folders, JSONL and Parquet become documents; what cannot is named with its place and its remedy."""

import json
from pathlib import Path

import pytest

from lmhead.errors import InputError
from lmhead.training.config import DataConfig
from lmhead.training.corpus import read_corpus


def read(*paths: Path, **options: object) -> list[str]:
    corpus = read_corpus(DataConfig(paths=tuple(map(str, paths)), **options))  # type: ignore[arg-type]
    return sorted(document.text for document in corpus.train + corpus.held_out)


def test_the_standard_library_is_the_default_and_a_tenth_of_its_files_is_held_out() -> None:
    corpus = read_corpus(DataConfig())
    names = [document.name for document in corpus.train + corpus.held_out]
    assert "argparse.py" in names
    assert not [name for name in names if "/test/" in name or "site-packages" in name]
    assert len(corpus.held_out) == round(0.1 * len(names))
    assert not {document.name for document in corpus.train} & {document.name for document in corpus.held_out}


def test_the_split_depends_on_names_alone(tmp_path: Path) -> None:
    for i in range(20):
        (tmp_path / f"{i}.txt").write_text(f"text {i}")
    first = read_corpus(DataConfig(paths=(str(tmp_path),)))
    (tmp_path / "3.txt").write_text("another text")
    second = read_corpus(DataConfig(paths=(str(tmp_path),)))
    assert [d.name for d in first.held_out] == [d.name for d in second.held_out]
    assert len(first.held_out) == 2


def test_a_folder_gives_its_files_without_hidden_and_empty_ones(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.md").write_text("B")
    (tmp_path / "sub" / "c.md").write_text("C")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "d.txt").write_text("D")
    assert read(tmp_path) == ["A", "B", "C"]
    assert read(tmp_path, pattern="*.md") == ["B", "C"]


def test_one_file_is_split_at_a_line_end(tmp_path: Path) -> None:
    file = tmp_path / "one.txt"
    file.write_text("".join(f"line {i}\n" for i in range(100)))
    corpus = read_corpus(DataConfig(paths=(str(file),)))
    assert corpus.train[0].text + corpus.held_out[0].text == file.read_text()
    assert corpus.train[0].text.endswith("\n")
    assert 5 <= corpus.held_out[0].text.count("\n") <= 15


def test_each_line_of_jsonl_is_a_document(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps({"text": text, "n": 1}) for text in ("a\u2028b", "c", "")) + "\n\n")
    assert read(file) == ["a\u2028b", "c"]


def test_parquet_rows_are_documents(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"text": ["a", "b", None]}), tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet") == ["a", "b"]
    parquet.write_table(pyarrow.table({"body": ["a"]}), tmp_path / "u.parquet")
    with pytest.raises(InputError, match=r"u\.parquet has no text, got the columns body"):
        read(tmp_path / "u.parquet")
    (tmp_path / "v.parquet").write_text("no")
    with pytest.raises(InputError, match=r"v\.parquet is not a Parquet file"):
        read(tmp_path / "v.parquet")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.txt", None, r"no such file or folder: .*gone\.txt"),
        ("empty.txt", b"", r"empty\.txt is empty"),
        ("latin.txt", b"caf\xe9", r"latin\.txt is not UTF-8: byte 0xe9 at position 3; .*--errors replace"),
        ("bad.jsonl", b'{"text": "a"}\n{"text": \n', r"bad\.jsonl, line 2 is not JSON: .* at column 10"),
        ("body.jsonl", b'{"body": "a"}\n', r'body\.jsonl, line 1 has no text, got the columns body: .*"text"'),
        ("list.jsonl", b"[1]\n", r"list\.jsonl, line 1 has no text, got list"),
        ("blank.jsonl", b"\n\n", r"blank\.jsonl is empty"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read(tmp_path / name)


def test_errors_replace_reads_what_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 and a line\n" * 20)
    assert "caf\ufffd" in read(tmp_path / "latin.txt", errors="replace")[0]
