"""JSON in files: a value a line, or one value a file, each with its place; what is no JSON is named with its remedy."""

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from lmhead.data.rows.format_columns import COLUMNS, RESPONSES
from lmhead.data.rows.row import Place
from lmhead.data.rows.row_error import listed
from lmhead.data.rows.text_file import Errors, Reached, byte_lines, decoded, read_text, unmoved
from lmhead.errors import InputError
from lmhead.shown import shown_value

# By one of these an object is a row; `input` alone is not among them, which any JSON may have.
_ROW_COLUMNS = {name for format, columns in COLUMNS.items() if format != RESPONSES for name in columns[0]}
_SURROGATES = re.compile("[\ud800-\udfff]")
_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # JSON can write a half of a pair alone, UTF-8 cannot


class TwiceError(ValueError):
    """An object of JSON that names a key twice."""


class NoRowsError(InputError):
    """JSON that is no list of rows, no object around one, and no row."""


def json_lines(
    path: Path, errors: Errors = "strict", *, source: str | None = None, reached: Reached = unmoved
) -> Iterator[tuple[Place, Any]]:
    """The value of each line that is not blank, or the InputError of what it is instead. Only one line is in memory.

    Args:
        errors: what bytes that are not UTF-8, and halves of a surrogate pair, get: an error, or U+FFFD in their place.
        source: what places call the file; None: its path.
        reached: is told now and then how far it is read.

    Raises:
        InputError: the file cannot be read.
    """
    source = str(path) if source is None else source
    for number, raw in enumerate(byte_lines(path, source=source, reached=reached), start=1):
        place = Place(source=source, number=number, unit="line")
        if raw.isspace():
            continue
        try:
            line = decoded(raw, str(place), errors).removeprefix("\ufeff" if number == 1 else "")
            yield place, _patched(parsed(line.rstrip("\r\n"), place, once=True), line, errors)
        except InputError as error:
            yield place, error


def json_rows(
    path: Path,
    errors: Errors = "strict",
    *,
    source: str | None = None,
    reached: Reached = unmoved,
    row_columns: Collection[str] = (),
) -> Iterator[tuple[Place, Any]]:
    """The values of a file that is one JSON list, or an object around one. The whole file is in memory.

    A file that holds an object on each line is read as such, whatever it is called. Arguments as of `json_lines`.

    Args:
        row_columns: further names by which an object is a row itself, and not one around a list of rows.

    Raises:
        NoRowsError: it is JSON, and holds no list.
        InputError: it cannot be read, or is no JSON.
    """
    source = str(path) if source is None else source
    text = read_text(path, errors, source=source, reached=reached).removeprefix("\ufeff")
    if not text.strip():
        return
    if _is_lines(text):
        yield from json_lines(path, errors, source=source)
        return
    rows = _list_of(parsed(text, source), source, _ROW_COLUMNS.union(row_columns))
    for number, value in enumerate(_patched(rows, text, errors), start=1):
        yield Place(source=source, number=number), value


def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, for `object_pairs_hook`.

    Raises:
        TwiceError: a key stands in it twice. Python takes the last, and the other would be lost.
    """
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        raise TwiceError(f"{shown_value(next(key for key in value if keys.count(key) > 1))} twice")
    return value


def parsed(text: str, place: object, *, once: bool = False) -> Any:
    """The value of a JSON text.

    Args:
        once: a key that stands twice in an object is an error; otherwise its last value is taken.

    Raises:
        InputError: it is none, or holds what Python does not read.
    """
    try:
        return json.loads(text, object_pairs_hook=object_of if once else None)
    except TwiceError as error:
        raise InputError(
            f"{place} must name each key of an object once, got {error}: keep the one that is meant"
        ) from None
    except json.JSONDecodeError as error:
        where = f"column {error.colno}" if isinstance(place, Place) else f"line {error.lineno} column {error.colno}"
        raise InputError(f"{place} is not JSON: {what_json_lacks(error)} at {where}{_remedy(text, error)}") from None
    except ValueError:  # Python converts no longer integers
        raise InputError(f"{place} has an integer of thousands of digits: make it a string, or drop the row") from None
    except RecursionError:
        raise InputError(f"{place} is nested too deeply: leave the row out") from None


def what_json_lacks(error: json.JSONDecodeError) -> str:
    """What Python says is wrong, so that a place can follow: some of its sentences end with "at" already."""
    return error.msg.removesuffix(" at").rstrip(": ")


def _patched(value: Any, text: str, errors: Errors) -> Any:
    """The value of `text`, with U+FFFD for halves of a surrogate pair where that is asked for."""
    if errors == "strict" or _HALF.search(text) is None:
        return value
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value)  # pairs became one character when they were parsed
    if isinstance(value, list):
        return [_patched(item, text, errors) for item in value]
    if isinstance(value, dict):
        return {_patched(key, text, errors): _patched(item, text, errors) for key, item in value.items()}
    return value


def _is_lines(text: str) -> bool:
    """Whether the first line is an object by itself and more follows."""
    first, _, rest = text.lstrip().partition("\n")
    if not first.startswith("{") or not rest.strip():
        return False
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return False
    return True


def _list_of(value: Any, source: str, row_columns: Collection[str]) -> list[Any]:
    """The rows of a JSON file: the list, the only list of an object, or the object itself where it is a row."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        raise NoRowsError(f"{source} must be a JSON list of objects, got {shown_value(value)}: write [{{...}}, ...]")
    if set(value).intersection(row_columns):
        return [value]
    lists = [key for key, item in value.items() if isinstance(item, list)]
    if len(lists) == 1:
        rows: list[Any] = value[lists[0]]
        return rows
    if lists:
        raise NoRowsError(f"{source} must hold one list of rows, got {listed(lists)}: write each to a file of its own")
    raise NoRowsError(
        f"{source} must be a JSON list of objects, got an object with {listed(value)}: write [{{...}}, ...]"
    )


def _remedy(text: str, error: json.JSONDecodeError) -> str:
    """What to change, where it can be told."""
    before, after = text[: error.pos].rstrip(), text[error.pos :].lstrip()
    if "\x00" in text:
        return ": it holds NUL bytes, as UTF-16 does; save it as UTF-8"
    if after.startswith("'") or before.endswith("'"):
        return ": strings stand between double quotes; write rows with json.dumps, not with str or repr"
    if re.match(r"(True|False|None)\b", after):
        return ": JSON says true, false and null; write rows with json.dumps, not with str or repr"
    if error.msg == "Extra data":
        comma = ": drop the comma behind the object" if after.startswith(",") else ""
        return comma or ": nothing may stand behind the object; a line is one object"
    if (re.match(r",?\s*[}\]]", after) and re.search(r",\s*$", before)) or re.match(r",\s*[}\]]", after):
        return ": drop the comma before the bracket that closes"
    if text.strip() in ("[", "{"):
        return ": a file that is one JSON value over several lines must be called .json"
    if error.msg.startswith("Invalid control character"):
        return r": inside a string a line end is written \n and a tab \t"
    if error.msg.startswith("Invalid \\"):
        return r": inside a string a backslash is written \\"
    if not after or error.msg.startswith("Unterminated"):
        return ": it ends too early; an object must stand on one line, and the file must be complete"
    return ""
