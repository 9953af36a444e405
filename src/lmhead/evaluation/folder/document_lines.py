"""documents.jsonl: a header that says what was evaluated and how, and a line of sums for each document."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from lmhead.errors import InputError
from lmhead.evaluation.sums.document_sums import DocumentSums
from lmhead.shown import shown_json

DOCUMENTS_FILE: Final = "documents.jsonl"
VERSION: Final = 1
BEGINS: Final = b'{"evaluation"'


def header_line(settings: Mapping[str, Any]) -> str:
    """The first line.

    Args:
        settings: everything that the sums depend on, as plain JSON.
    """
    return shown_json(json.dumps({"evaluation": VERSION, "settings": settings}, ensure_ascii=False)) + "\n"


def document_line(sums: DocumentSums) -> str:
    """The line of a document."""
    return shown_json(json.dumps(sums.line(), ensure_ascii=False, allow_nan=False)) + "\n"


def read_settings(file: Path) -> dict[str, Any]:
    """What the header says.

    Raises:
        InputError: it is no such file, or a newer version's.
    """
    return _settings(file, next(_lines(file), b""))


def read_document_lines(file: Path) -> list[DocumentSums]:
    """The sums of each document, in their order.

    Raises:
        InputError: it is no such file, a newer version's, or a line is damaged.
    """
    lines = _lines(file)
    _settings(file, next(lines, b""))
    return [_sums(file, number, line) for number, line in enumerate(lines, 2)]


def _lines(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as stream:
            yield from stream
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}; give the folder of an evaluation") from None


def _settings(file: Path, line: bytes) -> dict[str, Any]:
    header = _parsed(file, 1, line)
    version = header.get("evaluation")
    if version != VERSION or not isinstance(header.get("settings"), dict):
        if isinstance(version, int) and version > VERSION:
            raise InputError(f"{file} is of a newer lmhead (version {version}): update lmhead")
        raise InputError(
            f"{file} must be the documents of an evaluation, got another file: give what lmhead eval --out wrote"
        )
    settings: dict[str, Any] = header["settings"]
    return settings


def _sums(file: Path, number: int, line: bytes) -> DocumentSums:
    try:
        return DocumentSums(**_parsed(file, number, line))
    except TypeError:
        raise _damaged(file, number) from None


def _parsed(file: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        raise _damaged(file, number) from None
    if not isinstance(found, dict):
        raise _damaged(file, number)
    return found


def _damaged(file: Path, number: int) -> InputError:
    return InputError(f"{file}, line {number} is damaged: remove the folder, and evaluate again")
