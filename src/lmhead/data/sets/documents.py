"""Documents: many texts as UTF-8 in a few blocks of bytes, a text at a time; little more than the bytes themselves.

A str takes up to four bytes a character, an object for each of millions of rows more than its text.
"""

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, overload

import numpy as np
import numpy.typing as npt

from lmhead.data.rows.row import Place
from lmhead.data.rows.row_files import KINDS, data_suffix
from lmhead.data.sets.held_out import key_of

_BLOCK: Final = 2**23  # bytes, after which a block of small texts is closed
_DIGEST: Final = 16  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One text, and where it came from: a path, or path:line of a row."""

    name: str
    text: str


class DocumentsBuilder:
    """Collects texts."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._open = bytearray()
        self._sources: list[str] = []
        self._numbers: dict[str, int] = {}  # of sources
        self._origins: dict[str, int] = {}
        self._digests = bytearray()
        self._keys = array("Q")
        self._columns = {name: array("q") for name in ("block", "start", "stop", "source", "number", "origin")}

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, text: str, *, source: str, name: str, number: int | None = None, group: str | None = None) -> None:
        """A text.

        Args:
            source: the file, as a person finds it.
            name: the file, as it is called within what was given: by it the text is held out or not.
            number: the row; None: the file is one text.
            group: the source that the row names; None: it is the file.
        """
        raw = text.encode()
        start = len(self._open)
        if len(raw) >= _BLOCK:
            self._close()
            start = 0
            self._blocks.append(raw)
            block = len(self._blocks) - 1
        else:
            self._open += raw
            block = len(self._blocks)
        if source not in self._numbers:
            self._numbers[source] = len(self._sources)
            self._sources.append(source)
        self._digests += hashlib.blake2b(raw, digest_size=_DIGEST).digest()
        self._keys.append(key_of(name if number is None else f"{name}:{number}"))
        origin = self._origins.setdefault(source if group is None else group, len(self._origins))
        row = (block, start, start + len(raw), self._numbers[source], -1 if number is None else number, origin)
        for column, value in zip(self._columns.values(), row, strict=True):
            column.append(value)
        if len(self._open) >= _BLOCK:
            self._close()

    def documents(self) -> "Documents":
        """All that was added, in order; the builder is of no use afterwards."""
        self._blocks.append(bytes(self._open))  # empty texts are in it, be it empty
        columns = {name: np.frombuffer(column, np.int64) for name, column in self._columns.items() if column}
        columns = columns or {name: np.empty(0, np.int64) for name in self._columns}
        return Documents(self._blocks, self._sources, columns, list(self._origins))

    def keys(self) -> npt.NDArray[np.uint64]:
        """Of each text's name, as `held_out_keys` takes them."""
        return np.array(self._keys, np.uint64)

    def contents(self) -> npt.NDArray[np.int64]:
        """A number for each text, equal where texts are."""
        digests = np.frombuffer(bytes(self._digests), np.dtype((np.void, _DIGEST)))
        _, group = np.unique(digests, return_inverse=True)
        return group.astype(np.int64)

    def _close(self) -> None:
        if self._open:
            self._blocks.append(bytes(self._open))
            self._open = bytearray()


class Documents(Sequence[Document]):
    """Texts in order. A Document is made when it is asked for."""

    def __init__(
        self,
        blocks: list[bytes],
        sources: list[str],
        columns: dict[str, npt.NDArray[np.int64]],
        origins: list[str],
    ) -> None:
        self._blocks = blocks
        self._sources, self._origins = sources, origins
        self._columns = columns  # block, start, stop, source, number, origin; each [N]

    def __len__(self) -> int:
        return len(self._columns["block"])

    @overload
    def __getitem__(self, index: int) -> Document: ...
    @overload
    def __getitem__(self, index: slice) -> list[Document]: ...
    def __getitem__(self, index: int | slice) -> Document | list[Document]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"index must be in [-{len(self)}, {len(self)}), got {index}")
        return Document(name=self.names()[index], text=str(self.utf8(index), "utf-8"))

    @property
    def bytes(self) -> int:
        """UTF-8 of all texts."""
        return int((self._columns["stop"] - self._columns["start"]).sum())

    def utf8(self, index: int) -> memoryview:
        """The bytes of a text; nothing is copied."""
        block = self._blocks[self._columns["block"][index]]
        return memoryview(block)[int(self._columns["start"][index]) : int(self._columns["stop"][index])]

    def every_utf8(self) -> Iterator[memoryview]:
        """The bytes of each text."""
        return (self.utf8(index) for index in range(len(self)))

    def names(self) -> "DocumentNames":
        """Where each text came from. The texts may be let go."""
        columns = self._columns
        return DocumentNames(self._sources, columns["source"], columns["number"], self._origins, columns["origin"])

    def places(self) -> Iterator[Place]:
        """The file of each text, its row, and the source that the row names."""
        columns = (self._columns[name].tolist() for name in ("source", "number", "origin"))
        for source, number, origin in zip(*columns, strict=True):
            name, group = self._sources[source], self._origins[origin]
            lines = KINDS.get(data_suffix(name)) in ("lines", "csv")
            yield Place(
                source=name,
                number=max(number, 1),
                unit="line" if lines else "row",
                group=None if group == name else group,
            )

    def chosen(self, rows: npt.NDArray[np.bool_]) -> "Documents":
        """Those of the rows; the bytes are shared."""
        return self._with({name: column[rows] for name, column in self._columns.items()})

    def cut(self, at: npt.NDArray[np.int64]) -> tuple["Documents", "Documents"]:
        """Each text up to its byte `at` [N], and each from there on; the bytes are shared."""
        place = self._columns["start"] + at
        parts = ({**self._columns, "stop": place}, {**self._columns, "start": place})
        first, second = map(self._with, parts)
        return first, second

    def _with(self, columns: dict[str, npt.NDArray[np.int64]]) -> "Documents":
        return Documents(self._blocks, self._sources, columns, self._origins)

    def digest(self) -> str:
        """SHA-256, in hex, of the texts and their order."""
        digest = hashlib.sha256()
        for raw in self.every_utf8():
            digest.update(len(raw).to_bytes(8))
            digest.update(raw)
        return digest.hexdigest()


class DocumentNames(Sequence[str]):
    """Where each text came from.

    Args:
        sources: files.
        source: of each text, its place among them [N].
        number: of each text, its row in the file, -1 where the file is the text [N].
        origins: the sources that losses are told apart by (Place.origin): what rows say; None: the files.
        origin: of each text, its place among these [N].
    """

    def __init__(
        self,
        sources: list[str],
        source: npt.NDArray[np.int64],
        number: npt.NDArray[np.int64],
        origins: list[str] | None = None,
        origin: npt.NDArray[np.int64] | None = None,
    ) -> None:
        self.sources, self.source = sources, source
        self.origins = sources if origins is None else origins
        self.origin = source if origin is None else origin
        self._number = number

    def __len__(self) -> int:
        return len(self.source)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        source, number = self.sources[self.source[index]], int(self._number[index])
        return source if number < 0 else f"{source}:{number}"
