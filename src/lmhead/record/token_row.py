"""TokenRow: one row of tokens as a line of a record: ids, targets, why not, and what a model makes of each."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lmhead.errors import IGNORE_INDEX, InputError
from lmhead.record.line_check import is_number_or_null, named
from lmhead.record.token_column import column_of
from lmhead.shown import shown_value

_BESIDE: Final = ("targets", "reason", "weight", "document", "position")  # the ids


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

    def every_id(self) -> set[int]:
        """Ids that stand for a token somewhere in the row, alternatives included; what is negative, too."""
        found = {*self.ids.tolist(), *self.targets.tolist()}
        for scores in (self.scores, self.against):
            if isinstance(scores, TokenScores) and scores.top_ids is not None:
                found.update(scores.top_ids.ravel().tolist())
        return found

    @staticmethod
    def of_line(line: Mapping[str, Any]) -> "TokenRow":
        """The row of a line of a record.

        Raises:
            InputError: something is missing, of another kind or length, or cannot be.
        """
        if missing := [name for name in ("ids", "targets", "reason") if name not in line]:
            raise InputError(f'a row of a record must have "{missing[0]}", got {named(line)}')
        ids = column_of(line, "ids")
        count = len(ids)
        row = TokenRow(
            ids=ids,
            **{name: column_of(line, name, count) for name in _BESIDE if name in line},
            spans=tuple(Span(start=start, stop=stop, role=role) for start, stop, role in _spans(line, count)),
            names=_texts(line, "names"),
            sources=_texts(line, "sources"),
            scores=_scores(line, count),
            against=_against(line.get("against"), count),
        )
        _require_sense(row)
        return row


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
    return float(f"{value:.7g}") if math.isfinite(value) else None


def _scores(line: Mapping[str, Any], count: int) -> TokenScores | None:
    if "nll" not in line:
        return None
    given = {field.name: column_of(line, field.name, count) for field in fields(TokenScores) if field.name in line}
    top = [given[name].shape for name in ("top_ids", "top_logprobs") if name in given]
    if len(top) == 1 or len(set(top)) > 1:
        raise InputError('"top_ids" and "top_logprobs" of a row of a record must come together, as many of each')
    return TokenScores(**given)


def _against(given: Any, count: int) -> TokenScores | tuple[OtherSpan, ...] | None:
    if given is None:
        return None
    if not isinstance(given, dict):
        raise InputError(f'"against" of a row of a record must be an object, got {shown_value(given)}')
    if "spans" not in given:
        return _scores(given, count)
    return tuple(
        OtherSpan(start=start, stop=stop, nll=float("nan") if nll is None else float(nll), text=text)
        for start, stop, nll, text in _spans(given, count, other=True)
    )


def _spans(line: Mapping[str, Any], count: int, *, other: bool = False) -> list[Any]:
    """[start, stop, role] of each, or [start, stop, nll, text] of another tokenizer."""
    spans = line.get("spans", [])
    if not isinstance(spans, list) or not all(_is_span(each, count, other=other) for each in spans):
        form = "[start, stop, nll, text]" if other else "[start, stop, role]"
        raise InputError(f'"spans" of a row of a record must be a list of {form}, 0 <= start < stop <= {count:,}')
    return spans


def _is_span(span: Any, count: int, *, other: bool) -> bool:
    if not isinstance(span, list) or len(span) != (4 if other else 3) or not isinstance(span[-1], str):
        return False
    start, stop = span[:2]
    if type(start) is not int or type(stop) is not int or not 0 <= start < stop <= count:
        return False
    return not other or is_number_or_null(span[2])


def _texts(line: Mapping[str, Any], name: str) -> tuple[str, ...]:
    texts = line.get(name, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InputError(f'"{name}" of a row of a record must be a list of texts')
    return tuple(texts)


def _require_sense(row: TokenRow) -> None:
    """Refuse what no row can be, whoever wrote it."""
    documents = 1 if row.document is None else int(row.document.max(initial=-1)) + 1
    for name in ("names", "sources"):
        told = len(getattr(row, name))
        if 0 < told < documents:
            raise InputError(f'"{name}" of a row of a record must name all {documents:,} documents, got {told:,}')
    strange = np.flatnonzero((row.targets == IGNORE_INDEX) == (row.reason == 0))
    if len(strange):
        at = int(strange[0])
        raise InputError(
            f'"targets" of a row of a record must be {IGNORE_INDEX} where its "reason" is not 0, and there alone, got '
            f"{row.targets[at]} beside {row.reason[at]} at position {at:,}"
        )
