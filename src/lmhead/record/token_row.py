"""TokenRow: one row of tokens as a line of a record: ids, targets, why not, and what a model makes of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lmhead.errors import InputError

_DTYPES: Final[dict[str, type[np.generic]]] = {
    "ids": np.int64,
    "targets": np.int64,
    "reason": np.uint8,
    "weight": np.float32,
    "document": np.int64,
    "position": np.int64,
    "nll": np.float64,
    "rank": np.int64,
    "entropy": np.float64,
    "top_ids": np.int64,
    "top_logprobs": np.float64,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenScores:
    """What a model makes of a row: of each target, or where none is scored, of the token that follows.

    NaN (null in JSON), and -1 as a rank or an id, where nothing follows in the same document.
    """

    nll: npt.NDArray[np.float64]  # [T] nats
    rank: npt.NDArray[np.int64] | None = None  # [T]: how many tokens are more probable
    entropy: npt.NDArray[np.float64] | None = None  # [T] nats
    top_ids: npt.NDArray[np.int64] | None = None  # [T, k]: the most probable tokens, falling
    top_logprobs: npt.NDArray[np.float64] | None = None  # [T, k] nats


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Tokens [start, stop) of a row that belong to one message."""

    start: int
    stop: int
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherSpan:
    """Tokens [start, stop) of a row whose bytes are whole tokens of another tokenizer, too, as its model sees them."""

    start: int
    stop: int
    nll: float  # nats, summed
    text: str  # the other's tokens, | between them


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenRow:
    """One row; everything but `spans` is aligned with the positions, whose token `targets` predicts.

    `targets[t]` and `reason[t]` are of the prediction made FROM t; `ids[t]` and `spans` are of the token AT t.
    """

    ids: npt.NDArray[np.int64]  # [T]
    targets: npt.NDArray[np.int64]  # [T], IGNORE_INDEX where nothing is scored
    reason: npt.NDArray[np.uint8]  # [T], values of Reason
    weight: npt.NDArray[np.float32] | None = None  # [T]; None: 1 where scored
    document: npt.NDArray[np.int64] | None = None  # [T], -1 is padding; None: a row is one
    position: npt.NDArray[np.int64] | None = None  # [T]; None: from 0 in each document
    spans: tuple[Span, ...] = ()
    names: tuple[str, ...] = ()  # of each document: where it stands: "chat.jsonl, line 4"
    sources: tuple[str, ...] = ()  # of each document: the file or the set that it comes from
    scores: TokenScores | None = None
    against: TokenScores | tuple[OtherSpan, ...] | None = None  # what the other model makes of the same

    def line(self) -> dict[str, Any]:
        """The row as JSON."""
        made: dict[str, Any] = {
            name: getattr(self, name).tolist()
            for name in ("ids", "targets", "reason", "weight", "document", "position")
            if getattr(self, name) is not None
        }
        if self.weight is not None:
            made["weight"] = _rounded(self.weight)
        if self.spans:
            made["spans"] = [[span.start, span.stop, span.role] for span in self.spans]
        made |= {name: list(getattr(self, name)) for name in ("names", "sources") if getattr(self, name)}
        if self.scores is not None:
            made |= _columns(self.scores)
        if isinstance(self.against, TokenScores):
            made["against"] = _columns(self.against)
        elif self.against is not None:
            made["against"] = {
                "spans": [[each.start, each.stop, _digits(each.nll), each.text] for each in self.against]
            }
        return made

    @staticmethod
    def of_line(line: Mapping[str, Any]) -> "TokenRow":
        """The row of a line of a record.

        Raises:
            InputError: columns are missing, are no numbers or differ in length.
        """
        ids = _array(line, "ids")
        given = {name: _array(line, name, len(ids)) for name in ("targets", "reason") if name in line}
        if set(given) != {"targets", "reason"}:
            raise InputError(
                'a row of a record must have "ids", "targets" and "reason", got ' + ", ".join(map(str, line))
            )
        given |= {name: _array(line, name, len(ids)) for name in ("weight", "document", "position") if name in line}
        against = line.get("against")
        return TokenRow(
            ids=ids,
            **given,
            spans=tuple(Span(start=start, stop=stop, role=str(role)) for start, stop, role in line.get("spans", ())),
            names=tuple(map(str, line.get("names", ()))),
            sources=tuple(map(str, line.get("sources", ()))),
            scores=_scores(line, len(ids)),
            against=_against(against, len(ids)) if isinstance(against, Mapping) else None,
        )


def _columns(scores: TokenScores) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for field in fields(scores):
        column = getattr(scores, field.name)
        if column is not None:
            made[field.name] = _rounded(column) if column.dtype.kind == "f" else column.tolist()
    return made


def _rounded(column: npt.NDArray[np.floating]) -> list[Any]:
    """Seven digits, more than float32 has; null for what is no number."""
    if column.ndim == 2:
        return [_rounded(row) for row in column]
    return [_digits(value) for value in column.tolist()]


def _digits(value: float) -> float | None:
    return float(f"{value:.7g}") if np.isfinite(value) else None


def _scores(line: Mapping[str, Any], count: int) -> TokenScores | None:
    if "nll" not in line:
        return None
    given = {field.name: _array(line, field.name, count) for field in fields(TokenScores) if field.name in line}
    return TokenScores(**given)


def _against(line: Mapping[str, Any], count: int) -> TokenScores | tuple[OtherSpan, ...] | None:
    if "spans" not in line:
        return _scores(line, count)
    return tuple(
        OtherSpan(start=start, stop=stop, nll=float("nan") if nll is None else nll, text=str(text))
        for start, stop, nll, text in line["spans"]
    )


def _array(line: Mapping[str, Any], name: str, count: int | None = None) -> npt.NDArray[Any]:
    try:
        column = np.array(_known(line[name]), dtype=_DTYPES[name])
    except (KeyError, TypeError, ValueError, OverflowError):
        raise InputError(f'"{name}" of a row of a record must be numbers, a list of one length') from None
    if count is not None and len(column) != count:
        raise InputError(
            f'"{name}" of a row of a record must have as many entries as its ids, {count}, got {len(column)}'
        )
    return column


def _known(values: Sequence[Any]) -> Any:
    """null as NaN."""
    if values and isinstance(values[0], list):
        return [_known(row) for row in values]
    return [float("nan") if value is None else value for value in values]
