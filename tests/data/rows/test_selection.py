"""Which files of what is given are read, and what is told of the others: the same in training and the doctor."""

import gzip
import io
import json
import os
import socket
import sys
import threading
from pathlib import Path

import pytest
from tests.data.given import corpus_of

from lmhead.cli.main import main
from lmhead.data.formats.formats import read_samples
from lmhead.data.rows import folder as folder_module
from lmhead.data.rows import streams
from lmhead.data.rows.selection import select
from lmhead.data.rows.source import Source
from lmhead.data.tokenizer.train_tokenizer import train_tokenizer
from lmhead.errors import InputError

CHAT = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]}


def lay(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def names(given: Path | str, **options: object) -> list[str]:
    return [file.name for file in select(Source.of([str(given)], **options)).every_file() or ()]  # type: ignore[arg-type]


def told(given: Path | str, **options: object) -> list[str]:
    """What training says, which is what the doctor says."""
    corpus = corpus_of(given, **options)  # type: ignore[arg-type]
    samples = read_samples([str(given)], **options)  # type: ignore[arg-type]
    assert len(list(samples)) == len(corpus.train) + len(corpus.held_out)
    assert tuple(samples.reading.lines()) == corpus.told
    return list(corpus.told)


def lines(rows: list[object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_a_folder_of_all_kinds_gives_one_answer(tmp_path: Path) -> None:
    texts = lines([{"text": f"row {i}"} for i in range(50)])
    files = {"a.py": "x = 1\n", "b.md": "# b\n", "d.jsonl": texts, "package.json": '{"name": "d", "files": ["a"]}'}
    assert told(lay(tmp_path, files)) == ["taken: 3 texts (.py 1, .md 1, .json 1), 50 rows of 1 .jsonl"]


def test_what_is_no_text_is_left_out_of_a_folder_and_refused_where_it_is_named(tmp_path: Path) -> None:
    lay(
        tmp_path,
        {
            "a.txt": "a",
            "b.txt.gz": gzip.compress(b"b"),
            "c.png": b"\x89PNG\r\n\x1a\n\0",
            "d.dat": b"\x7fELF\x02",
            "e.zip": b"PK\x03\x04",
            "f.csv": "a,b\n1,2\n",
            "latin.txt": b"caf\xe9",
            "wide.txt": "hi".encode("utf-16"),
            "nul": b"a\0b",
            "packed.tar.gz": gzip.compress(b"\0" * 257 + b"ustar" + b"\0" * 300),
            "empty": b"",
        },
    )
    assert told(tmp_path) == [
        "taken: 3 texts (.txt 1, .gz 1, .csv 1)",
        "left out: archive 2, empty 1, image 1, compiled code 1, text that is not UTF-8 1 "
        f"({tmp_path}/latin.txt; errors='replace' reads them), binary file 1, text in UTF-16 1 ({tmp_path}/wide.txt)",
    ]
    assert told(tmp_path, errors="replace")[0] == "taken: 4 texts (.txt 2, .gz 1, .csv 1)"
    for name in ("c.png", "d.dat", "latin.txt", "wide.txt", "nul"):
        with pytest.raises(InputError, match=rf"^{tmp_path}/{name} (must be a text|is not UTF-8|is UTF-16)"):
            corpus_of(tmp_path / name)


def test_beside_conversations_a_text_is_no_data(tmp_path: Path) -> None:
    lay(
        tmp_path,
        {
            "README.md": "about",
            "LICENSE": "free",
            "a.jsonl": lines([CHAT]),
            "info.json": '{"a": {}}',
            "b.json": json.dumps([CHAT]),
            "plot.png": b"\x89PNG\r\n\x1a\n\0",
            "old.zip": b"PK\x03\x04",
            "sizes.csv": "rows,bytes\n1,2\n",
        },
    )
    samples = read_samples([str(tmp_path)])
    assert len(list(samples)) == 2
    assert list(samples.reading.lines()) == [
        "taken: 1 row of 1 .json, 1 row of 1 .jsonl",
        f"left out: text beside conversations 2 (first: {tmp_path}/LICENSE), archive 1, image 1, "
        f"JSON without rows 1 ({tmp_path}/info.json), CSV without columns of a format 1 ({tmp_path}/sizes.csv)",
    ]


def test_json_of_a_program_makes_no_conversations_of_its_folder(tmp_path: Path) -> None:
    lay(
        tmp_path,
        {"a.py": "x = 1\n", "de.json": '{"messages": {"hello": "Hallo"}}', "x.json": '{"prompt": 1, "response": 2}'},
    )
    assert names(tmp_path) == ["a.py", "de.json", "x.json"]
    assert told(tmp_path) == ["taken: 3 texts (.json 2, .py 1)"]


def test_a_table_of_other_columns_is_left_out_beside_texts_and_an_error_alone(tmp_path: Path) -> None:
    lay(tmp_path, {"a.txt": "a", "b.txt": "b", "t.jsonl": lines([{"body": "c"}])})
    assert told(tmp_path)[1] == f"left out: table without text 1 ({tmp_path}/t.jsonl)"
    (tmp_path / "a.txt").unlink()
    (tmp_path / "b.txt").unlink()
    with pytest.raises(InputError, match=r"a row must have text, .* got the columns body"):
        corpus_of(tmp_path)


def test_rows_whose_text_is_empty_or_null_are_left_out_and_counted(tmp_path: Path) -> None:
    file = (
        lay(tmp_path, {"t.jsonl": lines([{"text": "a"}, {"text": ""}, {"text": None}, {"text": "b", "n": 1}])})
        / "t.jsonl"
    )
    assert told(file) == [f"left out: row without text 2 (first: {file}, line 2)"]
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pytest.importorskip("pyarrow").table({"text": [None, "a", "", "b"]})
    parquet.write_table(table, tmp_path / "t.parquet")
    assert told(tmp_path / "t.parquet") == [f"left out: row without text 2 (first: {tmp_path}/t.parquet, row 1)"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"pattern": "*.md"}, ["a.md", "sub/c.md", "sub/deep/d.md"]),
        ({"pattern": "sub/*.md"}, ["sub/c.md", "sub/deep/d.md"]),
        ({"exclude": ["*.md"]}, ["b.py"]),
        ({"exclude": ["sub"]}, ["a.md", "b.py"]),
        ({"exclude": ["deep", "b*"]}, ["a.md", "sub/c.md"]),
        ({"exclude": ["sub/*"]}, ["a.md", "b.py"]),
        ({"exclude": ["*/deep/"]}, ["a.md", "b.py", "sub/c.md"]),
        ({"exclude": ["./sub/c.md"], "pattern": "*.md"}, ["a.md", "sub/deep/d.md"]),
    ],
)
def test_patterns_are_of_names_or_of_paths_within_the_folder(
    tmp_path: Path, options: dict[str, object], expected: list[str]
) -> None:
    lay(tmp_path, {"a.md": "a", "b.py": "b", "sub/c.md": "c", "sub/deep/d.md": "d"})
    assert names(tmp_path, **options) == expected


def test_what_is_excluded_is_never_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(tmp_path, {"a.txt": "a", "locked/b.txt": "b"})
    scan = os.scandir

    def refusing(path: Path) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(folder_module.os, "scandir", refusing)
    with pytest.raises(InputError, match=r"cannot read .*locked: Permission denied; .*exclude"):
        names(tmp_path)
    assert names(tmp_path, exclude=["locked"]) == ["a.txt"]


def test_links_are_followed_and_each_real_file_is_taken_once(tmp_path: Path) -> None:
    lay(tmp_path, {"data/a/1.txt": "1", "real/b/2.txt": "2", "real/b/3.txt": "3"})
    data = tmp_path / "data"
    (data / "b").symlink_to("../real/b")
    (data / "a" / "again.txt").symlink_to("../../real/b/2.txt")
    (data / "loop").symlink_to("..")  # of which data is a part
    (data / "a" / "up").symlink_to("..")
    (data / "gone").symlink_to("nowhere")
    assert names(data) == ["a/1.txt", "b/2.txt", "b/3.txt"]
    assert told(data) == [
        "taken: 3 texts (.txt 3)",
        f"left out: linked again 4, broken link 1 ({data}/gone)",
    ]
    (tmp_path / "top").symlink_to("data")
    assert names(tmp_path / "top") == names(data)


def test_a_run_is_no_data(tmp_path: Path) -> None:
    lay(
        tmp_path, {"a.txt": "a", "runs/1/config.yaml": "seed: 0", "runs/1/log.jsonl": "{}", "other/config.yaml": "x: 1"}
    )
    (tmp_path / "runs" / "2" / "checkpoints").mkdir(parents=True)
    lay(tmp_path, {"runs/2/config.yaml": "seed: 0"})
    assert told(tmp_path) == [
        "taken: 2 texts (.txt 1, .yaml 1)",
        f"left out: run of lmhead 2 (first: {tmp_path}/runs/1)",
    ]


def test_the_names_of_files_may_be_any(tmp_path: Path) -> None:
    wild = ["new\nline.txt", "-dash.txt", "[b]bold[b].txt", "\x1b[2J.txt", "caf\udce9.txt"]
    try:
        lay(tmp_path, {name: f"text {i}" for i, name in enumerate(wild)})
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    assert sorted(names(tmp_path)) == sorted(wild)
    assert len(told(tmp_path)) == 1
    (tmp_path / "bad\n\x1b[2J.txt").write_bytes(b"\xe9")
    assert r"bad\n\x1b[2J.txt; errors=" in told(tmp_path)[1]


def test_what_is_no_file_is_refused_where_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data must name files or folders, got an empty name"):
        names("")
    with pytest.raises(InputError, match=r"/dev/zero must be a file, .*, got a device: write it to a file"):
        names("/dev/zero")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(os.path.relpath(tmp_path / "s"))
        with pytest.raises(InputError, match=r"s must be a file, .*, got a socket"):
            names(tmp_path / "s")
        lay(tmp_path, {"a.txt": "a"})
        os.mkfifo(tmp_path / "pipe")
        assert names(tmp_path) == ["a.txt"]
        assert corpus_of(tmp_path).told[1] == f"left out: pipe, socket or device 2 (first: {tmp_path}/pipe)"


def write_later(pipe: Path, content: str) -> threading.Thread:
    writer = threading.Thread(target=pipe.write_text, args=(content,))
    writer.start()
    return writer


def test_a_pipe_is_read_once_and_then_as_often_as_need_be(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = write_later(tmp_path / "pipe", lines([CHAT, CHAT]))
    assert len(list(read_samples([str(tmp_path / "pipe")]))) == 2
    writer.join()
    again = read_samples([str(tmp_path / "pipe")])
    assert [str(sample.place) for sample in again] == [f"{tmp_path}/pipe, line 1", f"{tmp_path}/pipe, line 2"]


def test_a_pipe_without_a_writer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr(streams, "_PATIENCE", 0.0)
    monkeypatch.setattr(streams, "_LOOK", 0.01)
    said: list[str] = []
    writers: list[threading.Thread] = []

    def heard(doing: str, done: int, total: int | None, unit: str) -> None:
        said.append(doing)
        if not writers:
            writers.append(write_later(tmp_path / "pipe", "a text"))

    assert [sample.text for sample in read_samples([str(tmp_path / "pipe")], progress=heard)] == ["a text"]  # type: ignore[union-attr]
    writers[0].join()
    assert said[0] == f"waiting for a writer of {tmp_path}/pipe"


def test_standard_input_is_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_kept", {})
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"line\n" * 30)))
    corpus = corpus_of("-")
    assert corpus.train[0].name == "-"
    assert corpus.train[0].text + corpus.held_out[0].text == "line\n" * 30


def test_a_pipe_that_is_closed_says_what_it_was() -> None:
    with pytest.raises(InputError, match=r"cannot read /dev/fd/987: .*; it can be read once, where it was opened"):
        names("/dev/fd/987")


def test_a_file_that_vanishes_is_named(tmp_path: Path) -> None:
    lay(tmp_path, {"a.txt": "a", "b.txt": "b"})
    samples = iter(read_samples([str(tmp_path)]))
    next(samples)
    (tmp_path / "b.txt").unlink()
    with pytest.raises(InputError, match=r"cannot read .*b\.txt: No such file or directory"):
        next(samples)


def test_the_doctor_says_what_training_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = lay(
        tmp_path / "data", {"a.txt": "Some words", "b.png": b"\x89PNG\r\n\x1a\n", "t.jsonl": lines([{"text": "x y"}])}
    )
    lay(tmp_path, {"tokenizer.json": train_tokenizer(["Some words"], 257).to_str()})
    assert main(["doctor", str(data), "--exclude", "*.md", "--tokenizer", str(tmp_path / "tokenizer.json")]) in (0, 1)
    printed = capsys.readouterr().out.splitlines()
    assert printed[:3] == [f"{data}: 2 rows (text 2)", "taken: 1 text (.txt 1), 1 row of 1 .jsonl", "left out: image 1"]
    assert told(data) == printed[1:3]
    main(["doctor", str(data), "--tokenizer", str(tmp_path / "tokenizer.json"), "--json"])
    tree = json.loads(capsys.readouterr().out)
    assert tree["taken"] == {"texts": {".txt": 1}, "tables": {".jsonl": 1}, "rows": {".jsonl": 1}}
    assert tree["left_out"] == {"image": 1}
