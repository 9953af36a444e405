"""Statistics of labelled rows: what the tokens are, how long rows are, what a length would cut, how they pack."""

from array import array
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lmhead.data.labelling.chat_config import ChatConfig
from lmhead.data.rows.row import Place
from lmhead.errors import ConversationError
from lmhead.labels.chat.max_length import ChatOverflow, fitted
from lmhead.labels.example import Example
from lmhead.labels.packing.best_fit import best_fit_decreasing
from lmhead.labels.targets import Reason

_SHARES: Final = {"p5": 0.05, "p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What rows of at most `length` tokens lose."""

    length: int
    side: str  # that is cut off: end or start
    rows: int = 0  # longer than that
    tokens: int = 0  # cut off
    trained: int = 0  # of which are no longer learnt
    answers: int = 0  # rows that have nothing left to learn


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """Rows of `length` tokens that hold all texts, longer ones cut."""

    length: int
    rows: int  # packed, best-fit decreasing
    useful: float  # share of their positions that hold a token
    unpacked: float  # the same share where each text has a row of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Of the labelled rows."""

    rows: int
    tokens: int
    trained: int  # tokens that are learnt
    reasons: dict[str, int]  # tokens by what they are, the most first: learnt, user, scaffold, ..., first_token
    lengths: dict[str, int]  # tokens a row: p5, p50, p90, p99, max
    trained_lengths: dict[str, int]  # tokens of a row that are learnt
    cut: Cut
    packing: Packing

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return asdict(self)


class Lengths:
    """Adds up labelled rows; eight bytes a row are kept."""

    def __init__(self, length: int, config: ChatConfig) -> None:
        self.length = length
        self._side: ChatOverflow = "truncate_start" if config.overflow == "truncate_start" else "truncate_end"
        self._lengths = array("i")
        self._trained = array("i")
        self._reasons: Counter[str] = Counter()
        self._cut = Counter[str]()
        self.longest: tuple[int, Place | None] = (0, None)

    def add(self, example: Example, place: Place) -> int | None:
        """Count one row; the position of its first trained token where the length leaves nothing to learn."""
        T = len(example)
        learnt = int(example.trained[1:].sum())
        self._lengths.append(T)
        self._trained.append(learnt)
        self._reasons.update(_counts(example))
        self.longest = max(self.longest, (T, place), key=lambda pair: pair[0])
        if self.length >= T:
            return None
        left = self._left(example)
        self._cut.update(rows=1, tokens=T - self.length, trained=learnt - left, answers=int(not left))
        return None if left else int(np.flatnonzero(example.trained[1:])[0]) + 1

    def statistics(self) -> Statistics:
        """The sums."""
        lengths = np.asarray(self._lengths, dtype=np.int64)
        return Statistics(
            rows=len(lengths),
            tokens=int(lengths.sum()),
            trained=sum(self._trained),
            reasons=dict(self._reasons.most_common()),
            lengths=_percentiles(lengths),
            trained_lengths=_percentiles(np.asarray(self._trained, dtype=np.int64)),
            cut=Cut(length=self.length, side=self._side.removeprefix("truncate_"), **self._cut),
            packing=_packing(lengths, self.length),
        )

    def _left(self, example: Example) -> int:
        """Tokens that are learnt once the row is cut as training would cut it."""
        turns = [span for span in example.spans if example.trained[span.start : span.stop].any()]
        try:
            cut = fitted(example, self.length, self._side, turns)
        except ConversationError:  # nothing
            return 0
        return int(cut.trained[1:].sum())


def _counts(example: Example) -> dict[str, int]:
    """Tokens by what they are. The first is learnt by nobody: nothing predicts it."""
    counts = np.bincount(example.reason)
    named = {Reason(value).name.lower(): int(counts[value]) for value in np.flatnonzero(counts).tolist()}
    first = int(example.trained[:1].sum())
    learnt = named.pop("scored", 0) - first
    return {name: count for name, count in {**named, "learnt": learnt, "first_token": first}.items() if count}


def _percentiles(lengths: npt.NDArray[np.int64]) -> dict[str, int]:
    if not len(lengths):
        return {}
    found = np.quantile(lengths, list(_SHARES.values()), method="inverted_cdf")
    return {name: int(value) for name, value in zip(_SHARES, found.tolist(), strict=True)}


def _packing(lengths: npt.NDArray[np.int64], length: int) -> Packing:
    cut = np.minimum(lengths[lengths > 0], length)
    shared = len(best_fit_decreasing(cut, length=length)) if len(cut) else 0
    tokens = int(cut.sum())
    return Packing(
        length=length,
        rows=shared,
        useful=tokens / (shared * length) if shared else 1.0,
        unpacked=tokens / (len(cut) * length) if len(cut) else 1.0,
    )
