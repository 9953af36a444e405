"""Tables of text: every cell comes back as it was written, and what could be read in two ways is refused."""

import csv
import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.given import rows_of

from lmhead.data.formats.formats import read_samples
from lmhead.data.formats.sample import ChatSample, CompletionSample, TextSample, TokenSample
from lmhead.data.rows import text_file
from lmhead.errors import InputError

ASKED = [{"role": "user", "content": 'He said "hi",\n\tand left.'}]
SAID = [{"role": "assistant", "content": "Bye; now"}]


def written(path: Path, *rows: list[object], **options: object) -> str:
    """A file as Python's csv writes it."""
    delimiter = "\t" if ".tsv" in path.name else ","
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter, **options).writerows(rows)  # type: ignore[arg-type]
    return str(path)


def rows(path: str) -> list[tuple[int, dict[str, object]]]:
    return [(row.place.number, dict(row.columns)) for row in rows_of(path)]


def told(path: str) -> list[str]:
    """The errors of rows, without the file's name."""
    errors: list[str] = []
    list(read_samples([path], on_error=lambda _, error: errors.append(str(error).removeprefix(path))))
    return errors


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_cells_may_hold_delimiters_quotes_and_line_ends(tmp_path: Path, name: str) -> None:
    texts = ["a, b\tc", 'say "hi"', "two\nlines", "two\r\nlines", '"', "'", " spaced ", "\u2028", "é"]
    path = written(tmp_path / name, ["text", "n"], *[[text, "1"] for text in texts])
    found = rows(path)
    assert [columns["text"] for _, columns in found] == texts
    assert [number for number, _ in found] == [2, 3, 4, 6, 8, 9, 10, 11, 12]  # of the line that each begins in


# A carriage return alone ends a line for some and not for others, and a NUL is no text.
CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\x00"), max_size=8)


@given(table=st.lists(st.tuples(CELLS, CELLS), max_size=5), quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
def test_what_python_writes_is_read_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, str]], quoting: int
) -> None:
    path = written(tmp_path_factory.mktemp("csv") / "a.csv", ["x", "y"], ["1", "2"], *map(list, table), quoting=quoting)
    wanted = [{name: cell for name, cell in zip("xy", row, strict=True) if cell} for row in table]
    assert [columns for _, columns in rows(path)[1:]] == wanted


def test_a_cell_may_be_longer_than_pythons_limit_and_is_not_read_twice(tmp_path: Path) -> None:
    text = "line\n" * 100_000
    path = written(tmp_path / "a.csv", ["text"], [text], ["b"])
    assert rows(path) == [(2, {"text": text}), (100_003, {"text": "b"})]


def test_an_empty_cell_is_null_and_a_blank_line_no_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'\xef\xbb\xbftext,n\r\n\r\na,\r\n"",1\r\n,\r\nb,2')
    found = list(rows_of(tmp_path / "a.csv"))
    assert [(dict(row.columns), row.nulls) for row in found] == [
        ({"text": "a"}, {"n"}),
        ({"n": "1"}, {"text"}),
        ({}, {"text", "n"}),
        ({"text": "b", "n": "2"}, set()),
    ]
    samples = read_samples([str(tmp_path / "a.csv")])
    assert [sample.text for sample in samples if isinstance(sample, TextSample)] == ["a", "b"]
    assert samples.reading.left["row without text"] == 2


def test_conversations_tools_and_prompts_may_be_json_in_cells(tmp_path: Path) -> None:
    messages = [*ASKED, *SAID]
    tools = [{"name": "f", "description": "d"}]
    path = written(tmp_path / "a.csv", ["messages", "tools"], [json.dumps(messages), json.dumps(tools)])
    (sample,) = read_samples([path])
    assert isinstance(sample, ChatSample)
    assert (sample.messages, sample.tools) == (messages, [{"type": "function", "function": tools[0]}])
    path = written(
        tmp_path / "b.csv",
        ["prompt", "completion"],
        [json.dumps(ASKED), json.dumps(SAID)],
        [json.dumps(ASKED), "Bye; now"],
        ["[1] is", "a text"],
        ["Write a list", "[1, 2]"],
    )
    first, second, third, fourth = read_samples([path])
    assert isinstance(first, ChatSample)
    assert isinstance(second, ChatSample)
    assert first.messages == second.messages == messages
    assert isinstance(third, CompletionSample)
    assert isinstance(fourth, CompletionSample)
    assert (third.prompt, fourth.completion) == ("[1] is", "[1, 2]")


def test_ids_may_be_lists_of_json_in_cells(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", ["input_ids", "labels"], ["[1, 2, 3]", "[-100, 2, 3]"], ["[1 2]", "[1, 2]"])
    found: list[str] = []
    (sample,) = read_samples([path], on_error=lambda _, error: found.append(str(error)))
    assert isinstance(sample, TokenSample)
    assert (sample.ids, sample.labels) == ([1, 2, 3], [-100, 2, 3])
    assert found == [
        f"{path}, line 3: input_ids must be a list of integers, got '[1 2]': write what the tokenizer gave, or text as "
        "text"
    ]


def test_messages_as_pandas_writes_them_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", ["messages"], [str([*ASKED, *SAID])])
    assert "messages must be JSON where it is a string" in told(path)[0]
    path = written(tmp_path / "b.csv", ["prompt", "completion"], [str(ASKED), "a"])
    assert told(path) == [
        ", line 2: prompt must be JSON where it is a list of messages, got "
        f"{str(ASKED)!r}: write it with json.dumps; pandas writes what str() makes of a list"
    ]


def test_the_number_that_pandas_puts_before_a_row_is_a_column_without_a_name(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", ["", "text"], ["0", "a"], ["1", "b"])
    assert [columns for _, columns in rows(path)] == [{"": "0", "text": "a"}, {"": "1", "text": "b"}]


@pytest.mark.parametrize(
    ("content", "errors"),
    [
        (
            b'text,n\na,1\n"open" more,2\nb,3\n',
            [
                ", line 3 must have a quote at the end of its cell alone, got ' more,2' behind one: double each quote "
                'inside of a cell that stands in quotes: "He said ""hi"""'
            ],
        ),
        (
            b"text,n\na, b,1\nc,2\nd\n",
            [
                f", line {line} must have 2 cells, as the first line has, got {got}: a cell that holds a comma, "
                "a quote or a line end stands in quotes"
                for line, got in ((2, 3), (4, 1))
            ],
        ),
        (
            b'text,n\na,1\n"b\nc,2\n',
            [", line 3 must end each cell that begins with a quote, got the end of the file: close it"],
        ),
        (
            b'text,n\n"caf\n\xe9 au lait",1\nb,2\n',
            [
                ", line 3 is not UTF-8: byte 0xe9 at position 0; convert it to UTF-8, leave it out, or give "
                "errors='replace'"
            ],
        ),
        (
            b"text,n\na\rb,1\n",
            [", line 2 must end with a line feed, got a carriage return alone: save it with \\n"],
        ),
    ],
)
def test_a_row_that_is_none_is_told_with_its_line_and_the_others_are_read(
    tmp_path: Path, content: bytes, errors: list[str]
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    assert told(str(path)) == errors


@pytest.mark.parametrize(
    ("name", "header", "message"),
    [
        (
            "a.csv",
            "text,n,text",
            r"line 1 must name each column once, got 'text' several times: the first line names the columns",
        ),
        ("a.csv", ",,text", r"line 1 must name each column once, got '' several times"),
        (
            "a.csv",
            "text;n",
            r"line 1 must have a comma between its columns, got 'text;n': save the table with commas, or as \.jsonl",
        ),
        ("a.csv", "text\tn", r"line 1 must have a comma .*: save the table with commas, or call it \.tsv"),
        ("a.tsv", "text,n", r"line 1 must have a tab between its columns, got 'text,n'"),
        ("a.csv", "Hello there,you", "line 2: a row must have .*: the first line of the file must name its columns;"),
        ("a.csv", 'text,"n', "line 1 must end each cell"),
    ],
)
def test_a_first_line_that_names_no_columns_is_refused(tmp_path: Path, name: str, header: str, message: str) -> None:
    (tmp_path / name).write_text(f"{header}\na,b\n")
    with pytest.raises(InputError, match=message):
        list(read_samples([str(tmp_path / name)]))


def test_a_table_in_utf_16_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("text,n\na,1\n".encode("utf-16"))
    with pytest.raises(InputError, match=r"line 1 is UTF-16: .* convert it to UTF-8"):
        list(read_samples([str(tmp_path / "a.csv")]))


def test_bytes_are_replaced_where_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"text\ncaf\xe9\n")
    (row,) = rows_of(tmp_path / "a.csv", errors="replace")
    assert row.columns == {"text": "caf\ufffd"}


def test_a_table_is_read_a_row_at_a_time_packed_or_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Endless(io.RawIOBase):
        def __iter__(self) -> "Endless":
            self.first = True
            return self

        def __next__(self) -> bytes:
            self.first, was = False, self.first
            return b"text\n" if was else b'"a\n'

    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b'text\n"a\nb"\nc\n'))
    assert [columns["text"] for _, columns in rows(str(tmp_path / "a.csv.gz"))] == ["a\nb", "c"]
    monkeypatch.setattr(text_file.gzip, "open", lambda *_: Endless())
    with pytest.raises(InputError, match="line 2 must have a quote at the end of its cell alone, got 'a' behind one"):
        rows(str(tmp_path / "a.csv.gz"))


def test_in_a_folder_a_table_with_the_columns_of_a_format_is_rows_and_any_other_a_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("rows,bytes\n1,2\n")
    (tmp_path / "b.csv").write_text("text,n\na,1\nb,2\n")
    (tmp_path / "c.tsv").write_text('"open\n')
    samples = read_samples([str(tmp_path)])
    texts = [sample.text for sample in samples if isinstance(sample, TextSample)]
    assert texts == ["rows,bytes\n1,2\n", "a", "b", '"open\n']
    written(tmp_path / "d.csv", ["messages"], [json.dumps([*ASKED, *SAID])])
    samples = read_samples([str(tmp_path)])
    assert [type(sample) for sample in samples] == [TextSample, TextSample, ChatSample]
    assert samples.reading.left == {"CSV without columns of a format": 2}
