"""LabelColumns: labelled rows as a few arrays, five bytes a token; a list of Examples takes a kilobyte each besides.

    ids [N], reason [N], weight [N or 0]           of all tokens, one row behind the other
    tokens [R + 1], spans_end [R + 1]              where each row's tokens and spans begin and end
    spans [S, 4]                                   message, role, start, stop
    numbers [R], sources [R], groups [R]           the place; sources, groups (-1: none) and roles count in `names`
    weighted [R]                                   whether the row has weights: 1 is not written for the others
    extras [bytes], extras_end [R + 1]             JSON of a row's notes or refusal; mostly empty

What lies in a cache is this, file by file; what comes from another process too.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lmhead.data.labelling.outcome import Labelled, Refusal
from lmhead.data.rows.row import Place
from lmhead.labels.example import Example, MessageSpan, Note
from lmhead.labels.targets import Reason
from lmhead.options import Message

Array = npt.NDArray[Any]
COLUMNS: Final[dict[str, tuple[Any, int]]] = {  # dtype and width of each array
    "ids": (np.int32, 1),
    "reason": (np.uint8, 1),
    "weight": (np.float32, 1),
    "tokens": (np.int64, 1),
    "spans": (np.int32, 4),
    "spans_end": (np.int64, 1),
    "numbers": (np.int64, 1),
    "sources": (np.int32, 1),
    "groups": (np.int32, 1),
    "weighted": (np.int64, 1),
    "extras": (np.uint8, 1),
    "extras_end": (np.int64, 1),
}
_ENDS: Final = {"tokens": "ids", "spans_end": "spans", "weighted": "weight", "extras_end": "extras"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelColumns:
    """R rows. `weighted` holds where each row's weights end in `weight`: nowhere further where it has none."""

    arrays: dict[str, Array]
    names: list[str]  # of sources ("line chat.jsonl": unit and path) and of roles

    @staticmethod
    def of(rows: Iterable[Labelled]) -> "LabelColumns":
        """The columns of rows."""
        builder = ColumnsBuilder()
        for row in rows:
            builder.add(row)
        return builder.columns()

    def __len__(self) -> int:
        return len(self.arrays["numbers"])

    def row(self, index: int) -> Labelled:
        """Row `index` >= 0, with arrays of its own."""
        arrays = self.arrays
        unit, _, source = self.names[int(arrays["sources"][index])].partition(" ")
        group = int(arrays["groups"][index])
        place = Place(
            source=source,
            number=int(arrays["numbers"][index]),
            unit="line" if unit == "line" else "row",
            group=None if group < 0 else self.names[group],
        )
        extras = self._bytes(index)
        said = json.loads(extras) if extras else {}
        if "refusal" in said:
            kind, parts = said["refusal"]
            return Labelled(place=place, refusal=Refusal(kind=kind, message=Message.of(parts)))
        reason = np.array(self._slice("tokens", index, "reason"))
        weight = np.array(self._slice("weighted", index))
        example = Example(
            ids=np.array(self._slice("tokens", index)),
            trained=reason == int(Reason.SCORED),
            reason=reason,
            weight=weight if len(weight) else None,
            spans=tuple(self._span(*span) for span in self._slice("spans_end", index).tolist()),
            notes=tuple(Note(**note) for note in said.get("notes", ())),
        )
        return Labelled(place=place, example=example)

    def is_refused(self, index: int) -> bool:
        """Whether row `index` has no Example; read without making one."""
        return self._bytes(index).startswith(b'{"refusal"')

    def fault(self) -> str | None:
        """How the arrays contradict each other; None where they do not."""
        R = len(self.arrays["numbers"])
        for name, (dtype, width) in COLUMNS.items():
            array = self.arrays.get(name)
            if array is None or array.dtype != dtype or array.shape[1:] != ((width,) if width > 1 else ()):
                return f"{name} is not what it must be"
        for ends, column in _ENDS.items():
            values = self.arrays[ends]
            if len(values) != R + 1 or values[0] != 0 or values[-1] != len(self.arrays[column]):
                return f"{ends} does not fit {column}"
        if len(self.arrays["reason"]) != len(self.arrays["ids"]) or {
            len(self.arrays[name]) for name in ("sources", "groups")
        } != {R}:
            return "columns differ in length"
        return None

    def _slice(self, ends: str, index: int, column: str | None = None) -> Array:
        start, stop = self.arrays[ends][index : index + 2].tolist()
        return self.arrays[column or _ENDS[ends]][start:stop]

    def _bytes(self, index: int) -> bytes:
        return self._slice("extras_end", index).tobytes()

    def _span(self, index: int, role: int, start: int, stop: int) -> MessageSpan:
        return MessageSpan(index=index, role=self.names[role], start=start, stop=stop)


@dataclass(slots=True)
class ColumnsBuilder:
    """Gathers rows, or columns that another process gathered."""

    _blocks: list[LabelColumns] = field(default_factory=list)
    _rows: list[Labelled] = field(default_factory=list)

    def add(self, row: Labelled) -> None:
        """One more row."""
        self._rows.append(row)
        if len(self._rows) >= 1024:
            self._pack()

    def extend(self, columns: LabelColumns) -> None:
        """More rows, gathered elsewhere; their arrays are taken over."""
        self._pack()
        self._blocks.append(columns)

    def columns(self) -> LabelColumns:
        """All that was added, in order; the builder is empty again."""
        self._pack()
        blocks, self._blocks = self._blocks, []
        return blocks[0] if len(blocks) == 1 else _joined(blocks)

    def _pack(self) -> None:
        if self._rows:
            rows, self._rows = self._rows, []
            self._blocks.append(_packed(rows))


def _packed(rows: list[Labelled]) -> LabelColumns:
    names: dict[str, int] = {}
    examples = [row.example for row in rows]
    spans = [
        (span.index, names.setdefault(span.role, len(names)), span.start, span.stop)
        for example in examples
        for span in (example.spans if example is not None else ())
    ]
    extras = [_extras(row) for row in rows]
    weights = [None if example is None else example.weight for example in examples]
    arrays: dict[str, Array] = {
        "ids": _concatenated([example.ids for example in examples if example is not None], np.int32),
        "reason": _concatenated([example.reason for example in examples if example is not None], np.uint8),
        "weight": _concatenated([weight for weight in weights if weight is not None], np.float32),
        "tokens": _ends([len(example) if example is not None else 0 for example in examples]),
        "spans": np.asarray(spans, np.int32).reshape(-1, 4),
        "spans_end": _ends([len(example.spans) if example is not None else 0 for example in examples]),
        "numbers": np.asarray([row.place.number for row in rows], np.int64),
        "sources": np.asarray(
            [names.setdefault(f"{row.place.unit} {row.place.source}", len(names)) for row in rows], np.int32
        ),
        "groups": np.asarray(
            [-1 if (of := row.place.group) is None else names.setdefault(of, len(names)) for row in rows], np.int32
        ),
        "weighted": _ends([0 if weight is None else len(weight) for weight in weights]),
        "extras": np.frombuffer(b"".join(extras), np.uint8),
        "extras_end": _ends([len(text) for text in extras]),
    }
    return LabelColumns(arrays=arrays, names=list(names))


def _extras(row: Labelled) -> bytes:
    """JSON of what is rare; a refusal's begins with its name (is_refused)."""
    if row.refusal is not None:
        return json.dumps({"refusal": [row.refusal.kind, row.refusal.message.parts]}).encode()
    if row.example is not None and row.example.notes:
        return json.dumps({"notes": [asdict(note) for note in row.example.notes]}).encode()
    return b""


def _joined(blocks: list[LabelColumns]) -> LabelColumns:
    """Blocks one behind the other: ends move on, names are numbered anew. Blocks are let go as they are copied."""
    names: dict[str, int] = {}
    numbers = [np.asarray([names.setdefault(n, len(names)) for n in block.names], np.int32) for block in blocks]
    arrays: dict[str, Array] = {}
    for name, (dtype, width) in COLUMNS.items():
        parts = [block.arrays.pop(name) for block in blocks]
        if name == "sources":
            parts = [number[part] for number, part in zip(numbers, parts, strict=True)]
        elif name == "groups":
            parts = [np.append(number, np.int32(-1))[part] for number, part in zip(numbers, parts, strict=True)]
        elif name == "spans":
            for number, part in zip(numbers, parts, strict=True):
                part[:, 1] = number[part[:, 1]]
        elif name in _ENDS:
            arrays[name] = _joined_ends(parts)
            continue
        arrays[name] = _concatenated(parts, dtype, width)
    return LabelColumns(arrays=arrays, names=list(names))


def _joined_ends(parts: list[Array]) -> Array:
    counts = [np.diff(part) for part in parts]
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(_concatenated(counts, np.int64))])


def _concatenated(parts: list[Array], dtype: Any, width: int = 1) -> Array:
    empty = np.empty((0, width) if width > 1 else (0,), dtype)
    return np.concatenate(parts) if parts else empty


def _ends(lengths: list[int]) -> Array:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(np.asarray(lengths, np.int64))])
