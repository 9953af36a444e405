"""AnswerSums: exact answers, the loss of their first tokens, and the loss of an assistant's 1st, 2nd, ... turn."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lmhead.evaluation.sums.compensated_sums import CompensatedSums
from lmhead.evaluation.sums.numbered_sums import NumberedSums
from lmhead.evaluation.sums.scored_columns import ScoredColumns

TURNS: Final = 16  # told apart; the last one is of all that follow, too
_ANSWERING: Final = ("assistant", "completion")


class AnswerSums:
    """Of conversations and completions. An answer is a run of scored tokens, as in held_out/exact_answers.py."""

    def __init__(self) -> None:
        self.answers = 0
        self.exact = 0
        self.first_nll = CompensatedSums(1)  # nats
        self.turns = NumberedSums(TURNS)

    def add(self, columns: ScoredColumns) -> None:
        """Documents; those without an answer count for nothing."""
        turn = self._turns(columns)[columns.scored]  # [N]
        at = np.flatnonzero(turn >= 0)
        if not len(at):
            return
        document, place = columns.document[at], columns.at[at]
        begins = np.ones(len(at), np.bool_)
        begins[1:] = (document[1:] != document[:-1]) | (place[1:] != place[:-1] + 1)
        number = begins.cumsum() - 1  # of the answer
        missed = np.bincount(number, ~columns.hit[at])
        self.answers += len(missed)
        self.exact += int((missed == 0).sum())
        self.first_nll.add(columns.nll[at][begins].sum(keepdims=True))
        numbered = turn[at] > 0
        self.turns.add(turn[at][numbered] - 1, columns.nll[at][numbered], columns.hit[at][numbered])

    def merge(self, other: "AnswerSums") -> None:
        """Add another part's."""
        self.answers += other.answers
        self.exact += other.exact
        self.first_nll.merge(other.first_nll)
        self.turns.merge(other.turns)

    def state(self) -> dict[str, Any]:
        """Everything, as plain numbers."""
        return {
            "answers": self.answers,
            "exact": self.exact,
            "first_nll": self.first_nll.state(),
            "turns": self.turns.state(),
        }

    @staticmethod
    def from_state(state: Mapping[str, Any]) -> "AnswerSums":
        """The sums that `state` was taken of."""
        sums = AnswerSums()
        sums.answers, sums.exact = state["answers"], state["exact"]
        sums.first_nll = CompensatedSums.from_state(state["first_nll"])
        sums.turns = NumberedSums.from_state(state["turns"])
        return sums

    @staticmethod
    def _turns(columns: ScoredColumns) -> npt.NDArray[np.int64]:
        """[T]: which turn of its assistant a token is of, from 1; 0: of a conversation, but none; -1: of none."""
        turn = np.full(len(columns.scored), -1, np.int64)
        begin = 0
        for scores, length in zip(columns.documents, columns.lengths.tolist(), strict=True):
            spans = [span for span in scores.document.example.spans if span.role in _ANSWERING]
            if spans:
                turn[begin : begin + length] = 0
            for number, span in enumerate((span for span in spans if span.role == "assistant"), 1):
                turn[begin + span.start : begin + span.stop] = min(number, TURNS)
            begin += length
        return turn
