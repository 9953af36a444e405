"""Rows out of every kind of file, folder and data set; a line at a time, with their places."""

import gzip
import io
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.data.given import rows_of

from lmhead.data.formats.formats import Samples
from lmhead.data.rows import text_file
from lmhead.data.rows.read_rows import read_rows
from lmhead.data.rows.row import Place
from lmhead.data.rows.selection import select
from lmhead.data.rows.source import Source
from lmhead.errors import InputError


def texts(*paths: Path | str, **options: object) -> list[object]:
    return [row.columns["text"] for row in rows_of(*paths, **options)]  # type: ignore[arg-type]


def test_a_line_of_jsonl_is_a_row_with_its_place_and_without_its_nulls(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "a", "b": null, "c": NaN}\r\n\n{"text": "b\\u2028"}')
    first, second = rows_of(path)
    assert first.columns == {"text": "a"}
    assert second.columns == {"text": "b\u2028"}
    assert str(second.place) == f"{path}, line 3"


def test_jsonl_is_read_a_line_at_a_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The first rows of a file without end."""

    class Endless(io.RawIOBase):
        def __iter__(self) -> Iterator[bytes]:  # type: ignore[override]
            while True:
                yield b'{"text": "a"}\n'

    (tmp_path / "a.jsonl.gz").write_bytes(b"x")
    monkeypatch.setattr(text_file.gzip, "open", lambda *_: Endless())
    rows = rows_of(tmp_path / "a.jsonl.gz")
    assert [next(rows).place.number for _ in range(5)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", '[{"text": "a"}, {"text": "b"}]'),
        ("a.json", '{"version": 1, "data": [{"text": "a"}, {"text": "b"}]}'),
        ("a.json", '{"text": "a"}\n{"text": "b"}\n'),
        ("a.ndjson", '{"text": "a"}\n{"text": "b"}'),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_json_is_a_list_an_object_around_one_or_lines(tmp_path: Path, name: str, content: str, packed: bool) -> None:
    path = tmp_path / (name + ".gz" * packed)
    path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    assert texts(path) == ["a", "b"]


def test_a_json_file_of_one_row_is_that_row(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"messages": [{"role": "user", "content": "a"}]}')
    (row,) = rows_of(tmp_path / "a.json")
    assert list(row.columns) == ["messages"]


def test_any_other_file_is_a_text_and_one_row(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("two\nlines")
    (row,) = rows_of(tmp_path / "a.md")
    assert row.columns == {"text": "two\nlines"}
    assert str(row.place) == f"{tmp_path / 'a.md'}, row 1"


def test_parquet_gives_rows_without_what_its_structs_are_filled_with(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    calls = [{"arguments": {"city": "Bern"}}, {"arguments": {"day": 3}}]
    weights = pyarrow.array([[("a", 1)], None], pyarrow.map_(pyarrow.string(), pyarrow.int64()))
    table = pyarrow.table({"calls": [[calls[0]], [calls[1]]], "text": ["a", None], "map": weights})
    parquet.write_table(table, tmp_path / "t.parquet", row_group_size=1)
    first, second = rows_of(tmp_path / "t.parquet")
    assert first.columns == {"calls": [calls[0]], "text": "a", "map": {"a": 1}}
    assert second.columns == {"calls": [calls[1]]}
    assert second.place == Place(source=str(tmp_path / "t.parquet"), number=2)


def test_a_folder_of_save_to_disk_is_read(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"text": ["a", "b"]})
    with pyarrow.ipc.new_stream(str(tmp_path / "data-00000-of-00001.arrow"), table.schema) as stream:
        stream.write_table(table)
    (tmp_path / "dataset_info.json").write_text('{"features": {}}')
    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}')
    assert texts(tmp_path) == ["a", "b"]
    (tmp_path / "data-00001-of-00001.arrow").write_text("no")
    with pytest.raises(InputError, match=r"data-00001-of-00001\.arrow is not a stream of Arrow"):
        texts(tmp_path)


def test_a_folder_gives_its_files_in_order(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl", "sub/c.jsonl", ".hidden.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps({"text": name}))
    (tmp_path / "README.md").write_text("about")
    (tmp_path / "empty.jsonl").write_text("")
    assert texts(tmp_path) == ["about", "a.jsonl", "b.jsonl", "sub/c.jsonl"]  # a README.md beside texts is one
    assert texts(tmp_path, pattern="b*") == ["b.jsonl"]
    assert texts(tmp_path, pattern="*.md") == ["about"]
    with pytest.raises(InputError, match=r"must hold files of data, got none \(left out: .*not of the pattern 5"):
        texts(tmp_path, pattern="*.parquet")


def test_rows_that_cannot_be_read_go_to_on_error_and_bytes_are_replaced_where_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "a"}\n{"text": "caf\xe9"}\n{"text": "b"}')
    places: list[Place] = []
    assert texts(path, on_error=lambda place, _: places.append(place)) == ["a", "b"]
    assert [place.number for place in places] == [2]
    assert texts(path, errors="replace") == ["a", "caf\ufffd", "b"]


def test_a_path_that_is_missing_or_a_string_for_a_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file or folder: .*gone\.jsonl"):
        texts(tmp_path / "gone.jsonl")
    with pytest.raises(InputError, match=r"paths must be a list of paths, got the string 'a\.jsonl'"):
        Source.of("a.jsonl")


def test_paths_may_be_objects_and_each_is_a_selection_of_its_own(tmp_path: Path) -> None:
    one, other = tmp_path / "a.txt", tmp_path / "b.txt"
    one.write_text("a")
    other.write_text("b")
    selection = select(Source.of([one, str(other)]))  # type: ignore[list-item]
    assert [[row.columns["text"] for row in read_rows(each)] for each in selection.of_each_path()] == [["a"], ["b"]]
    assert [each.source.paths for each in selection.of_each_path()] == [(str(one),), (str(other),)]


def test_what_a_folder_leaves_out_is_told_to_each_reader_of_its_selection(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "b.txt").write_bytes(b"caf\xe9")
    (tmp_path / ".hidden").write_text("c")
    samples = Samples(select(Source.of([str(tmp_path)])))
    for _ in range(2):
        assert [sample.place.source for sample in samples] == [f"{tmp_path}/a.txt"]
        assert samples.reading.left == {"hidden": 1, "text that is not UTF-8": 1}


def test_a_data_set_of_the_hub_is_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    def load_dataset(name: str, configuration: str | None, *, split: str, streaming: bool) -> list[dict[str, object]]:
        asked.append((name, configuration, split, streaming))
        if split == "gone":
            raise ValueError("Bad split: gone.\nAvailable splits: ['train']")
        return [{"text": "a", "n": None}, {"text": "b", "n": {"x": None}}]

    module = types.ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    first, second = rows_of("hf:org/name")
    assert (first.columns, second.columns) == ({"text": "a"}, {"text": "b", "n": {}})
    assert str(second.place) == "hf:org/name, row 2"
    assert texts("hf:org/name:test", "hf:org/name:main:test") == ["a", "b"] * 2
    assert asked == [
        ("org/name", None, "train", True),
        ("org/name", None, "test", True),
        ("org/name", "main", "test", True),
    ]
    with pytest.raises(
        InputError, match=r"^hf:name:gone cannot be read: Bad split: gone\. Available splits: .*; give hf"
    ):
        texts("hf:name:gone")
    with pytest.raises(InputError, match=r"^hf:a::b must be hf:NAME"):
        texts("hf:a::b")


def test_without_its_package_a_source_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r'hf:name needs datasets to be read: pip install "lmhead\[hf\]"'):
        texts("hf:name")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r't\.parquet needs pyarrow to be read: pip install "lmhead\[parquet\]"'):
        texts(tmp_path / "t.parquet")
