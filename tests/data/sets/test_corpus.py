"""Files, folders, JSONL and Parquet become documents; what cannot is named with its place and its remedy."""

import json
import os
from pathlib import Path

import pytest
from tests.data.given import corpus_of

from lmhead.data.sets.corpus import read_corpus
from lmhead.data.sets.data_config import DataConfig
from lmhead.data.sets.held_out_prompt import held_out_prompts
from lmhead.data.sets.standard_library import standard_library
from lmhead.errors import InputError


def read(*paths: Path, **options: object) -> list[str]:
    corpus = corpus_of(*paths, **options)  # type: ignore[arg-type]
    return sorted(document.text for document in [*corpus.train, *corpus.held_out])


def test_the_standard_library_is_the_default_and_a_tenth_of_its_files_is_held_out() -> None:
    corpus = read_corpus(standard_library(), held_out_share=0.1)
    names = [document.name for document in [*corpus.train, *corpus.held_out]]
    assert "argparse.py" in names
    assert not [name for name in names if "/test/" in name or "site-packages" in name]
    assert len(corpus.held_out) == round(0.1 * len(names))
    assert not {document.name for document in corpus.train} & {document.name for document in corpus.held_out}


def test_the_split_depends_on_names_alone(tmp_path: Path) -> None:
    for i in range(20):
        (tmp_path / f"{i}.txt").write_text(f"text {i}")
    first = corpus_of(tmp_path)
    (tmp_path / "3.txt").write_text("another text")
    second = corpus_of(tmp_path)
    assert [d.name for d in first.held_out] == [d.name for d in second.held_out]
    assert len(first.held_out) == 2


def held_out_names(*paths: Path | str) -> list[str]:
    return [Path(document.name).name for document in corpus_of(*paths).held_out]


def test_what_is_held_out_does_not_depend_on_how_a_path_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for i in range(20):
        (folder / f"{i}.txt").write_text(f"text {i}")
    (folder / "rows.jsonl").write_text("".join(json.dumps({"text": f"row {i}"}) + "\n" for i in range(20)))
    first, rows = held_out_names(folder), held_out_names(folder / "rows.jsonl")
    monkeypatch.chdir(folder)
    folder.rename(tmp_path / "moved")
    for same in (tmp_path / "moved", ".", "../moved", "./../moved/"):
        assert held_out_names(same) == first
    for same in ("rows.jsonl", "./rows.jsonl", tmp_path / "moved" / "rows.jsonl"):
        assert held_out_names(same) == rows


@pytest.mark.parametrize("copies", [2, 3])
def test_no_held_out_text_is_trained_on_whatever_file_it_stands_in(tmp_path: Path, copies: int) -> None:
    for copy in range(copies):
        for i in range(30):
            (tmp_path / f"{copy}_{i}.txt").write_text(f"text {i}")
    rows = [{"text": f"text {i}"} for i in range(0, 60, 2)] * 2
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = corpus_of(tmp_path)
    apart = {document.text for document in corpus.held_out}
    assert apart.isdisjoint(document.text for document in corpus.train)
    assert len(corpus.train) + len(corpus.held_out) == 30 * copies + 60
    assert abs(len(corpus.held_out) - (30 * copies + 60) / 10) <= copies + 2


def test_of_several_equal_texts_the_end_is_held_out_of_all(tmp_path: Path) -> None:
    text = "".join(f"line {i}\n" for i in range(100))
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(text)
    corpus = corpus_of(tmp_path)
    assert len(corpus.train) == 3
    assert {document.text + corpus.held_out[0].text for document in corpus.train} == {text}
    assert corpus.told == ("taken: 3 texts (.txt 3)",)


def test_an_end_that_stands_in_the_text_before_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the same line\n" * 100)
    (told,) = corpus_of(tmp_path / "a.txt").told
    assert told.startswith("held out: the end of the text, which stands in the text before it too")


def test_one_text_without_lines_is_split_between_characters(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\u6df1\u5ea6" * 50)
    corpus = corpus_of(tmp_path / "a.txt")
    assert corpus.train[0].text + corpus.held_out[0].text == "\u6df1\u5ea6" * 50
    assert 5 <= len(corpus.held_out[0].text) <= 15


def test_the_prompts_begin_held_out_texts_and_the_first_ones_are_trained_on_nowhere(tmp_path: Path) -> None:
    licence = "# Copyright by us all\n"
    for i in range(20):
        words = " ".join(f"w{i}_{j}" for j in range(30))
        (tmp_path / f"{i}.txt").write_text((licence if i % 2 else "") + f"# text number {i}\n{words}\n")
    corpus = corpus_of(tmp_path, held_out=0.3)
    prompts = held_out_prompts(corpus)
    assert len(set(prompts)) == len(prompts) >= 3
    for prompt in prompts:
        assert any(document.text.startswith(prompt) for document in corpus.held_out)
        assert 12 <= len(prompt) <= 80
    seen = [any(prompt in document.text for document in corpus.train) for prompt in prompts]
    assert seen == sorted(seen)
    assert seen[0] is False


def test_one_text_alone_gives_several_prompts_of_the_end_that_is_held_out(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("".join(f"line number {i} of the text\n" for i in range(1000)))
    corpus = corpus_of(tmp_path / "a.txt")
    held_out = corpus.held_out[0].text
    first, *others = held_out_prompts(corpus)
    assert held_out.startswith(f"{first}\n")
    assert len(others) == 2
    assert all(f"\n{prompt}\n" in held_out for prompt in others)


def test_a_prompt_of_nothing_but_white_space_is_empty(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(" words " * 100 + "\n" * 200)
    assert held_out_prompts(corpus_of(tmp_path / "a.txt")) == [""]


def test_absolute_paths_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    given = DataConfig(paths=("a.txt", "sub/../b", "/c", "hf:org/name", "-", "/dev/fd/63", "pipe"))
    config = given.with_absolute_paths()
    here = str(tmp_path)
    assert config.paths == (f"{here}/a.txt", f"{here}/b", "/c", "hf:org/name", "-", "/dev/fd/63", "pipe")


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
    corpus = corpus_of(file)
    assert corpus.train[0].text + corpus.held_out[0].text == file.read_text()
    assert corpus.train[0].text.endswith("\n")
    assert 5 <= corpus.held_out[0].text.count("\n") <= 15


def test_each_line_of_jsonl_is_a_document(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps({"text": text, "n": 1}) for text in ("a\u2028b", "c", "")) + "\n\n")
    assert read(file) == ["a\u2028b", "c"]


def test_a_json_file_is_rows_where_it_holds_rows_of_text_and_else_a_text(tmp_path: Path) -> None:
    rows = [{"text": "a"}, {"text": "b", "n": 1}]
    (tmp_path / "list.json").write_text(json.dumps(rows, indent=1))
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "package.json").write_text('[{"name": "text"}]')
    (tmp_path / "code" / "x.txt").write_text("x")
    (tmp_path / "shard.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read(tmp_path / "list.json") == ["a", "b"]
    assert read(tmp_path / "shard.json") == ["a", "b"]
    assert read(tmp_path / "code") == ['[{"name": "text"}]', "x"]


def test_a_byte_order_mark_before_jsonl_is_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "a"}\r\n{"text": "b"}\r\n')
    assert read(tmp_path / "rows.jsonl") == ["a", "b"]


def test_errors_replace_reads_half_a_surrogate_pair(tmp_path: Path) -> None:
    (tmp_path / "half.jsonl").write_bytes(rb'{"text":"hi \ud800"}' + b"\n" + rb'{"text":"\ud83d\ude00"}')
    assert read(tmp_path / "half.jsonl", errors="replace") == ["hi \ufffd", "\U0001f600"]
    (tmp_path / "pair.jsonl").write_bytes(b'{"text":"a"}\n' + rb'{"text":"\ud83d\ude00"}')
    assert read(tmp_path / "pair.jsonl") == ["a", "\U0001f600"]


def test_a_file_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a.txt", "b.txt", "sub/c.txt"):
        (tmp_path / name).write_text(f"text of {name}")
    (tmp_path / "link.txt").symlink_to("b.txt")
    a, b, sub = tmp_path / "a.txt", tmp_path / "b.txt", tmp_path / "sub"
    for twice in ((a, a), (a, sub / ".." / "a.txt"), (a, tmp_path), (tmp_path, sub), (b, tmp_path / "link.txt")):
        with pytest.raises(InputError, match=r"([abc]|link)\.txt is given twice, with .*: give it once"):
            read(*twice)
    assert read(a, sub) == ["text of a.txt", "text of sub/c.txt"]
    assert read(tmp_path) == ["text of a.txt", "text of b.txt", "text of sub/c.txt"]  # the link's file is taken once


def test_a_name_that_is_not_utf8_is_split_like_any_other(tmp_path: Path) -> None:
    try:
        for name in (b"caf\xe9.txt", b"b.txt"):
            Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_text(f"text {len(name)}")
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    assert read(tmp_path) == ["text 5", "text 8"]


@pytest.mark.parametrize("kind", ["string", "large_string", "string_view", "dictionary"])
def test_every_kind_of_parquet_string_is_text(tmp_path: Path, kind: str) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    column = pyarrow.array(["a", "b"])
    column = column.dictionary_encode() if kind == "dictionary" else column.cast(getattr(pyarrow, kind)())
    parquet.write_table(pyarrow.table({"text": column}), tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet") == ["a", "b"]


@pytest.mark.parametrize(
    ("values", "shown"), [([1, 2], "1"), ([b"a"], "bytes"), ([["a"]], "a list"), ([None, 2.5], "2.5")]
)
def test_a_parquet_text_that_is_no_string_is_refused(tmp_path: Path, values: list[object], shown: str) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"text": values}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=rf"t\.parquet, row \d: text must be a string, got {shown}: write"):
        read(tmp_path / "t.parquet")


@pytest.mark.parametrize("options", [{"compression": "snappy"}, {"compression": "none", "use_dictionary": False}])
@pytest.mark.parametrize("damage", [(4, 60), (200, 1200)])
def test_a_damaged_parquet_page_is_named(tmp_path: Path, options: dict[str, object], damage: tuple[int, int]) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "t.parquet"
    parquet.write_table(pyarrow.table({"text": [f"text number {i} " * 3 for i in range(2000)]}), file, **options)
    raw = bytearray(file.read_bytes())
    raw[slice(*damage)] = b"\xff" * (damage[1] - damage[0])
    file.write_bytes(raw)
    with pytest.raises(
        InputError, match=r"t\.parquet is damaged after row \d+: .*; write or download it again"
    ) as caught:
        read(file)
    assert "\n" not in str(caught.value)


def test_a_parquet_string_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    offsets, values = (pyarrow.py_buffer(part) for part in (b"\0\0\0\0\4\0\0\0", b"caf\xe9"))
    column = pyarrow.StringArray.from_buffers(1, offsets, values)
    parquet.write_table(pyarrow.table({"text": column}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"t\.parquet is damaged after row 0: 'utf-8' codec"):
        read(tmp_path / "t.parquet")


def test_parquet_rows_are_documents(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"text": ["a", "b", None]}), tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet") == ["a", "b"]
    parquet.write_table(pyarrow.table({"body": ["a"]}), tmp_path / "u.parquet")
    with pytest.raises(InputError, match=r"u\.parquet, row 1: a row must have text, .* got the columns body"):
        read(tmp_path / "u.parquet")
    (tmp_path / "v.parquet").write_text("no")
    with pytest.raises(InputError, match=r"v\.parquet is not a Parquet file"):
        read(tmp_path / "v.parquet")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.txt", None, r"no such file or folder: .*gone\.txt"),
        ("empty.txt", b"", r"empty\.txt is empty"),
        ("latin.txt", b"caf\xe9", r"latin\.txt is not UTF-8: byte 0xe9 at position 3; .*errors='replace'"),
        ("bad.jsonl", b'{"text": "a"}\n{"text": \n', r"bad\.jsonl, line 2 is not JSON: .* at column 10"),
        (
            "body.jsonl",
            b'{"body": "a"}\n',
            r"line 1: a row must have text, as format='text' says, got the columns body: the formats are messages",
        ),
        ("key.jsonl", rb'{"\ud800\n": 1}', "key\\.jsonl, line 1: a row must have text, .*, got the columns \ufffd: "),
        ("list.jsonl", b"[1]\n", r"list\.jsonl, line 1 must be an object such as .*, got a list"),
        ("number.jsonl", b'{"text": 5}\n', r"number\.jsonl, line 1: text must be a string, got 5: write it in quotes"),
        ("nested.jsonl", b'{"text": ["a"]}\n', r"nested\.jsonl, line 1: text must be a string, got a list"),
        ("null.jsonl", b'{"text": null}\n', r"null\.jsonl, line 1: text must hold something to learn, got none in any"),
        (
            "open.jsonl",
            b'{"text": "a',
            r"open\.jsonl, line 1 is not JSON: Unterminated string starting at column 10: it",
        ),
        ("zip.txt", b"PK\x03\x04abc", r"zip\.txt must be the text that its name says, got a zip archive: unpack it"),
        (
            "wide.txt",
            "caf\u00e9".encode("utf-16"),
            r"wide\.txt is UTF-16: byte 0xff at position 0; convert it to UTF-8",
        ),
        ("nul.txt", b"a\0b", r"nul\.txt must be a text, got bytes that are none \(binary file\): leave it out"),
        ("blank.jsonl", b"\n\n", r"blank\.jsonl is empty"),
        (
            "half.jsonl",
            rb'{"text":"hi \ud800"}',
            r"half\.jsonl, line 1: text must be Unicode .*\\ud800 at character 3, .*errors='replace'",
        ),
        ("digits.jsonl", b'\n{"text": "a", "n": ' + b"9" * 5000 + b"}", r"digits\.jsonl, line 2 has an integer of"),
        ("deep.jsonl", b"[" * 100_000, r"deep\.jsonl, line 1 is nested too deeply"),
        ("a" * 5000, None, r"(cannot read|no such file or folder:) /"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_errors_replace_reads_what_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 and a line\n" * 20)
    assert "caf\ufffd" in read(tmp_path / "latin.txt", errors="replace")[0]
