"""Rows of CSV and TSV files as RFC 4180 has them: the first line names the columns, cells may stand in double quotes.

Every cell is a text, and an empty one is null, quoted or not: writers do not tell them apart. What could be read in two
ways is refused: a quote that ends before its cell does, a row with more or fewer cells than there are columns.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from lmhead.data.rows.row import Place
from lmhead.data.rows.row_error import listed
from lmhead.data.rows.row_files import data_suffix
from lmhead.data.rows.text_file import Errors, Reached, byte_lines, decoded, unmoved
from lmhead.errors import InputError
from lmhead.shown import shown_value

_QUOTE: Final = '"'
_DELIMITERS: Final = {".csv": ",", ".tsv": "\t"}
_OTHERS: Final = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}
_Cells = list[str | None]


def csv_rows(
    path: Path, errors: Errors = "strict", *, source: str | None = None, reached: Reached = unmoved
) -> Iterator[tuple[Place, Any]]:
    """The cells of each row by their columns, or the InputError of what it is instead. Only one row is in memory.

    Args:
        errors: what bytes that are not UTF-8 get: an error, or U+FFFD in their place.
        source: what places call the file; None: its path. Its name says whether commas or tabs stand between cells.
        reached: is told now and then how far it is read.

    Raises:
        InputError: the file cannot be read, or its first line does not name the columns.
    """
    source = str(path) if source is None else source
    records = _Records(path, errors, source, reached)
    header: list[str] | None = None
    for place, cells in records:
        if header is None:
            if isinstance(cells, InputError):
                raise cells
            header = _columns(place, cells, records.delimiter)
        elif isinstance(cells, InputError):
            yield place, cells
        elif len(cells) != len(header):
            yield place, _ragged(place, cells, header, records.delimiter)
        else:
            yield place, dict(zip(header, cells, strict=True))


def csv_columns(path: Path) -> list[str]:
    """The names of the columns; none where the first line names none."""
    records = _Records(path, "strict", str(path), unmoved)
    try:
        place, cells = next(iter(records), (None, []))
        return [] if place is None or isinstance(cells, InputError) else _columns(place, cells, records.delimiter)
    except InputError:
        return []


class _Records:
    """The cells of each record that is no blank line, with the place of its first line."""

    def __init__(self, path: Path, errors: Errors, source: str, reached: Reached) -> None:
        suffix = data_suffix(source) if data_suffix(source) in _DELIMITERS else data_suffix(path.name)
        self.delimiter = _DELIMITERS.get(suffix, ",")
        self._errors = errors
        self._source = source
        self._lines = enumerate(byte_lines(path, source=source, reached=reached), start=1)
        self._wrong: InputError | None = None  # with the bytes of the record that is read

    def __iter__(self) -> Iterator[tuple[Place, _Cells | InputError]]:
        for number, raw in self._lines:
            if raw.isspace() and not raw.strip(b"\r\n"):
                continue
            self._wrong = None
            place = self._place(number)
            try:
                cells = self._cells(place, self._decoded(number, raw))
                yield place, self._wrong or cells
            except InputError as error:
                yield place, self._wrong or error

    def _cells(self, place: Place, line: str) -> _Cells:
        cells: _Cells = []
        at = 0
        while True:
            if line.startswith(_QUOTE, at):
                cell, line, at = self._quoted(place, line, at + 1)
            else:
                end = line.find(self.delimiter, at)
                cell, at = (line[at:].removesuffix("\r"), len(line)) if end < 0 else (line[at:end], end)
            if "\r" in cell and "\n" not in cell:
                raise InputError(f"{place} must end with a line feed, got a carriage return alone: save it with \\n")
            cells.append(cell or None)
            if line[at:] in ("", "\r"):
                return cells
            if line[at] != self.delimiter:
                wrong = shown_value(line[at : at + 20])
                remedy = 'double each quote inside of a cell that stands in quotes: "He said ""hi"""'
                raise InputError(
                    f"{place} must have a quote at the end of its cell alone, got {wrong} behind one: {remedy}"
                )
            at += 1

    def _quoted(self, place: Place, line: str, at: int) -> tuple[str, str, int]:
        """(the cell that begins at a quote, the line that it ends in, where it ends)."""
        pieces = []
        while True:
            end = line.find(_QUOTE, at)
            if end < 0:
                pieces.append(line[at:] + "\n")
                number, raw = next(self._lines, (0, b""))
                if not number:
                    raise InputError(
                        f"{place} must end each cell that begins with a quote, got the end of the file: close it"
                    )
                line, at = self._decoded(number, raw), 0
                continue
            pieces.append(line[at:end])
            at = end + 1
            if not line.startswith(_QUOTE, at):
                return "".join(pieces), line, at
            pieces.append(_QUOTE)
            at += 1

    def _decoded(self, number: int, raw: bytes) -> str:
        """A line without its line feed. Bytes that are no UTF-8 are kept as an error of the whole record."""
        try:
            text = raw.decode("utf-8", self._errors)
        except UnicodeDecodeError:
            text = raw.decode("utf-8", "replace")
            self._wrong = self._wrong or self._undecodable(number, raw)
        return (text.removeprefix("\ufeff") if number == 1 else text).removesuffix("\n")

    def _undecodable(self, number: int, raw: bytes) -> InputError | None:
        try:
            decoded(raw, str(self._place(number)), self._errors)
        except InputError as error:
            return error
        return None

    def _place(self, number: int) -> Place:
        return Place(source=self._source, number=number, unit="line")


def _columns(place: Place, cells: _Cells, delimiter: str) -> list[str]:
    """The names that the first line gives; one may be empty: pandas writes the number of a row without a name."""
    names = [(cell or "").strip() for cell in cells]
    twice = [shown_value(name) for name, times in Counter(names).items() if times > 1]
    if twice:
        raise InputError(
            f"{place} must name each column once, got {listed(twice)} several times: the first line names the columns"
        )
    other = (
        next((each for each in _OTHERS if each != delimiter and each in names[0]), None) if len(names) == 1 else None
    )
    if other is not None:
        raise InputError(
            f"{place} must have a {_OTHERS[delimiter]} between its columns, got {shown_value(names[0])}: save the "
            f"table with {_OTHERS[delimiter]}s, or " + ("call it .tsv" if other == "\t" else "as .jsonl")
        )
    return names


def _ragged(place: Place, cells: _Cells, header: list[str], delimiter: str) -> InputError:
    remedy = f"a cell that holds a {_OTHERS[delimiter]}, a quote or a line end stands in quotes"
    columns = f"{len(header)} cell{'s' * (len(header) != 1)}, as the first line has"
    return InputError(f"{place} must have {columns}, got {len(cells)}: {remedy}")
