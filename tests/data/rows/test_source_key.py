"""--source-key: the source that a row names, carried with its place, into labelled columns and documents."""

import csv
import json
from pathlib import Path

import pytest

from lmhead.data.formats.formats import Samples, read_samples
from lmhead.data.labelling.columns import ColumnsBuilder, LabelColumns
from lmhead.data.labelling.outcome import Labelled
from lmhead.data.rows.row import Place
from lmhead.data.rows.selection import select
from lmhead.data.rows.source import Source
from lmhead.data.sets.corpus import read_corpus
from lmhead.errors import InputError
from lmhead.labels.example import Example

ROWS = [{"text": f"text {n}", "from": ("web", "books", None, 7)[n % 4], "extra": n} for n in range(12)]


def written(folder: Path, kind: str) -> Path:
    file = folder / f"data.{kind}"
    if kind == "jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    elif kind == "csv":
        with file.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(ROWS[0]))
            writer.writeheader()
            writer.writerows(ROWS)
    else:
        pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        table = pyarrow.table(
            {name: [str(v) if (v := row[name]) is not None else None for row in ROWS] for name in ROWS[0]}
        )
        parquet.write_table(table, file)
    return file


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("format", [None, "text"])
def test_rows_are_of_the_source_that_they_name_and_stay_where_they_stand(
    tmp_path: Path, kind: str, format: str | None
) -> None:
    file = written(tmp_path, kind)
    samples = read_samples([str(file)], source_key="from", format=format)
    found = list(samples)
    origins = [sample.place.origin for sample in found]
    assert origins == [str(file) if row["from"] is None else str(row["from"]) for row in ROWS]
    assert [sample.place.source for sample in found] == [str(file)] * len(ROWS)
    assert str(found[0].place).startswith(str(file))
    assert "from" not in samples.unread.columns


def test_a_column_that_is_renamed_tells_the_source_by_its_own_name(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text('{"content": "hello", "text": "web"}\n')
    source = Source.of([str(file)], columns="text=content,system=text", source_key="text")
    assert [sample.place.origin for sample in Samples(source)] == ["web"]


def test_a_column_that_no_row_has_is_one_line_with_the_nearest_name(tmp_path: Path) -> None:
    file = written(tmp_path, "jsonl")
    with pytest.raises(
        InputError, match="source_key must name a column, got 'form', which no row has: did you mean from"
    ):
        list(read_samples([str(file)], source_key="form"))


@pytest.mark.parametrize("value", [["web"], {"a": 1}, 0.5, "w" * 201])
def test_what_is_no_name_is_refused_with_its_place(tmp_path: Path, value: object) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text(json.dumps({"text": "a", "from": "web"}) + "\n" + json.dumps({"text": "b", "from": value}) + "\n")
    with pytest.raises(InputError, match="line 2: from must be a text of at most 200 characters or a whole number"):
        list(read_samples([str(file)], source_key="from"))


def test_labelled_columns_keep_the_source_of_each_row_through_every_join() -> None:
    def rows(first: int) -> list[Labelled]:
        example = Example.of([1, 2, 3], trained=[True] * 3)
        groups = [None, "b", "a", "c"]
        return [
            Labelled(place=Place(source=f"file {first}", number=n + 1, group=groups[(n + first) % 4]), example=example)
            for n in range(5)
        ]

    builder, every = ColumnsBuilder(), []
    for first in range(3):
        every += rows(first)
        builder.extend(LabelColumns.of(rows(first)))
    columns = builder.columns()
    assert columns.fault() is None
    assert [columns.row(index).place for index in range(len(columns))] == [row.place for row in every]


def test_documents_know_the_source_of_each_text_after_the_split(tmp_path: Path) -> None:
    file = written(tmp_path, "jsonl")
    corpus = read_corpus(select(Source.of([str(file)], source_key="from")), held_out_share=0.3)
    for documents in (corpus.train, corpus.held_out):
        names = documents.names()
        for index, document in enumerate(documents):
            row = ROWS[int(document.text.split()[1])]
            assert names.origins[names.origin[index]] == (str(file) if row["from"] is None else str(row["from"]))
            assert names[index] == f"{file}:{int(document.text.split()[1]) + 1}"


def test_a_key_may_be_in_an_object_and_a_row_without_one_is_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    rows = [{"text": "a", "meta": {"pile_set_name": "arXiv"}}, {"text": "b", "meta": {}}, {"text": "c"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    samples = read_samples([str(file)], source_key="meta.pile_set_name")
    assert [sample.place.origin for sample in samples] == ["arXiv", str(file), str(file)]
    assert "meta" not in samples.unread.columns
