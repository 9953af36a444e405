"""WorstDocuments: what a model finds hardest, by nats per token and by bits per byte, kept in a stream."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any, Final, final

from lmhead.evaluation.scores.document_scores import DocumentScores
from lmhead.evaluation.sums.document_sums import DocumentSums
from lmhead.evaluation.sums.scores_json import beginning, scores_of, scores_state

MOST: Final = 10  # documents, by either figure
LEAST: Final = 16  # scored tokens that a mean is over: one of fewer is not the worst for one token
KEPT_TOKENS: Final = 4096  # of a document, its first


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WorstDocument:
    """One of them."""

    scores: DocumentScores  # of its first tokens
    sums: DocumentSums  # of all of it

    @property
    def nll(self) -> float:
        """Nats per scored token."""
        return self.sums.nll / self.sums.tokens

    @property
    def bits_per_byte(self) -> float | None:
        """None where nobody knows its bytes, or there are none."""
        return self.sums.nll / math.log(2) / self.sums.bytes if self.sums.bytes else None

    @property
    def cut(self) -> bool:
        """Only its first tokens are kept."""
        return len(self.scores.document) == KEPT_TOKENS


@final
class WorstDocuments:
    """The hardest documents of those that were added, in whatever order; of fewer than 16 scored tokens none."""

    def __init__(self) -> None:
        self._by_token: list[WorstDocument] = []
        self._by_byte: list[WorstDocument] = []

    def add(self, scores: DocumentScores, sums: DocumentSums) -> None:
        """One document, with its sums."""
        if sums.tokens < LEAST:
            return
        candidate = WorstDocument(scores=scores, sums=sums)
        hard_by_token = _enters(self._by_token, candidate.nll, _nll)
        hard_by_byte = candidate.bits_per_byte is not None and _enters(self._by_byte, candidate.bits_per_byte, _bits)
        if hard_by_token or hard_by_byte:
            kept = WorstDocument(scores=beginning(scores, KEPT_TOKENS), sums=sums)
            self._take([kept] if hard_by_token else [], [kept] if hard_by_byte else [])

    def documents(self) -> list[WorstDocument]:
        """The worst first, by nats per token and by bits per byte in turn, each once."""
        both = chain.from_iterable(zip_longest(self._by_token, self._by_byte))
        return list({_place(each): each for each in both if each is not None}.values())

    def merge(self, other: "WorstDocuments") -> None:
        """Add what another part has kept."""
        self._take(other._by_token, other._by_byte)

    def state(self) -> dict[str, Any]:
        """Everything, as JSON has it."""
        every = self.documents()
        number = {_place(each): index for index, each in enumerate(every)}
        return {
            "documents": [{"sums": each.sums.line(), "scores": scores_state(each.scores)} for each in every],
            "by_token": [number[_place(each)] for each in self._by_token],
            "by_byte": [number[_place(each)] for each in self._by_byte],
        }

    @staticmethod
    def from_state(state: Mapping[str, Any]) -> "WorstDocuments":
        """Those that `state` was taken of."""
        every = [
            WorstDocument(scores=scores_of(each["scores"]), sums=DocumentSums(**each["sums"]))
            for each in state["documents"]
        ]
        made = WorstDocuments()
        made._by_token, made._by_byte = ([every[index] for index in state[name]] for name in ("by_token", "by_byte"))
        return made

    def _take(self, by_token: Sequence[WorstDocument], by_byte: Sequence[WorstDocument]) -> None:
        self._by_token = _worst([*self._by_token, *by_token], _nll)
        self._by_byte = _worst([*self._by_byte, *by_byte], _bits)


def _nll(each: WorstDocument) -> float:
    return each.nll


def _bits(each: WorstDocument) -> float:
    return each.bits_per_byte or 0.0


def _enters(known: Sequence[WorstDocument], value: float, by: Callable[[WorstDocument], float]) -> bool:
    """Whether there is room for a document of this value; equals are sorted out by `_worst`."""
    return len(known) < MOST or value >= by(known[-1])


def _worst(documents: Sequence[WorstDocument], by: Callable[[WorstDocument], float]) -> list[WorstDocument]:
    return sorted(documents, key=lambda each: (-by(each), *_place(each)))[:MOST]


def _place(each: WorstDocument) -> tuple[str, int]:
    return each.scores.document.place.source, each.scores.document.place.number
