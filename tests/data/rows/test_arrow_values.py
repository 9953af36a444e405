"""Tables whose columns hold JSON by their type: one row, whatever brings it."""

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from tests.data.given import rows_of

from lmhead.data.formats.formats import read_samples
from lmhead.errors import InputError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

SAID = 'He said "hi"\nand left.'
ARGUMENTS = {"city": "Bern", "unit": None, "days": [1, None]}


def as_json(*values: object) -> Any:
    """An array of Arrow's JSON type; None: no value at all."""
    texts = [None if value is None else json.dumps(value) for value in values]
    return pa.ExtensionArray.from_storage(pa.json_(), pa.array(texts, pa.string()))


def struct(**arrays: Any) -> Any:
    return pa.StructArray.from_arrays(list(arrays.values()), names=list(arrays))


def one_list(array: Any, *, large: bool = False) -> Any:
    offsets = pa.array([0, len(array)], pa.int64() if large else pa.int32())
    return (pa.LargeListArray if large else pa.ListArray).from_arrays(offsets, array)


def column(form: str) -> Any:
    """One question and one answer, of which something is JSON."""
    roles, asked, said = pa.array(["user", "assistant"]), {"role": "user", "content": "Hi"}, {"role": "assistant"}
    match form:
        case "content":
            return one_list(struct(role=roles, content=as_json("Hi", SAID)))
        case "message":
            return one_list(as_json(asked, said | {"content": SAID}))
        case "large list":
            return one_list(as_json(asked, said | {"content": SAID}), large=True)
        case "fixed list":
            return pa.FixedSizeListArray.from_arrays(as_json(asked, said | {"content": SAID}), 2)
        case _:
            return as_json([asked, said | {"content": SAID}])


def write(table: Any, folder: Path, kind: str) -> str:
    """A file, a folder of `save_to_disk`, or a data set that `datasets` streams."""
    match kind:
        case "parquet":
            pq.write_table(table, folder / "t.parquet")
            return str(folder / "t.parquet")
        case "parquet alone":  # by a tool that writes no schema of Arrow
            pq.write_table(table, folder / "t.parquet", store_schema=False)
            return str(folder / "t.parquet")
        case "folder":
            with pa.ipc.new_stream(str(folder / "data-00000-of-00001.arrow"), table.schema) as stream:
                stream.write_table(table)
            return str(folder)
        case _:
            return "hf:name"


def decoded(value: Any, kind: Any) -> Any:
    """As `datasets` decodes a row."""
    if value is None or getattr(kind, "extension_name", "") == "arrow.json":
        return None if value is None else json.loads(value)
    if pa.types.is_struct(kind):
        return {field.name: decoded(value[field.name], field.type) for field in kind}
    return [decoded(item, kind.value_type) for item in value] if hasattr(kind, "value_type") else value


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Gives `datasets` a table to stream."""

    def give(table: Any) -> None:
        class Streamed(list[Any]):
            features = types.SimpleNamespace(arrow_schema=table.schema)

        rows = [
            {field.name: decoded(row[field.name], field.type) for field in table.schema} for row in table.to_pylist()
        ]
        module = types.ModuleType("datasets")
        module.load_dataset = lambda *_, **__: Streamed(rows)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "datasets", module)

    return give


@pytest.mark.parametrize("form", ["content", "message", "large list", "fixed list", "column"])
@pytest.mark.parametrize("kind", ["parquet", "parquet alone", "folder", "hub"])
def test_messages_that_hold_json_are_decoded_alike_on_every_path(
    tmp_path: Path, hub: Any, form: str, kind: str
) -> None:
    table = pa.table({"messages": column(form)})
    hub(table)
    (sample,) = read_samples([write(table, tmp_path, kind)])
    assert sample.messages == [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": SAID}]


@pytest.mark.parametrize("kind", ["parquet", "folder", "hub"])
def test_nulls_of_a_json_value_stay_and_nulls_that_a_table_filled_in_do_not(
    tmp_path: Path, hub: Any, kind: str
) -> None:
    filled = pa.array([{"a": 1, "b": None}], pa.struct([("a", pa.int64()), ("b", pa.int64())]))
    both = struct(filled=filled, meant=as_json(ARGUMENTS), none=as_json(None))
    table = pa.table({"text": ["x"], "row": both, "null": as_json(None)})
    hub(table)
    (row,) = rows_of(write(table, tmp_path, kind))
    assert row.columns == {"text": "x", "row": {"filled": {"a": 1}, "meant": ARGUMENTS}}
    assert row.nulls == {"null"}


def test_the_values_of_a_map_are_decoded(tmp_path: Path) -> None:
    pairs = pa.MapArray.from_arrays([0, 3], pa.array(["a", "b", "c"]), as_json([1, None], {"x": None}, None))
    pq.write_table(pa.table({"text": ["x"], "map": pairs}), tmp_path / "t.parquet")
    (row,) = rows_of(tmp_path / "t.parquet")
    assert row.columns["map"] == {"a": [1, None], "b": {"x": None}}


def test_a_text_that_is_no_json_where_the_type_says_so_is_told_with_its_row(tmp_path: Path) -> None:
    texts = pa.ExtensionArray.from_storage(pa.json_(), pa.array(['"a"', '{"a":', '"b"']))
    pq.write_table(pa.table({"text": texts}), tmp_path / "t.parquet")
    told: list[str] = []
    rows = rows_of(tmp_path / "t.parquet", on_error=lambda _, error: told.append(str(error)))
    assert [row.columns["text"] for row in rows] == ["a", "b"]
    assert told == [
        f"{tmp_path / 't.parquet'}, row 2: column text must hold JSON, as its type says, got '{{\"a\":': Expecting "
        "value at character 5; mend the row, or leave it out"
    ]
    with pytest.raises(InputError, match="row 2: column text must hold JSON"):
        list(rows_of(tmp_path / "t.parquet"))
