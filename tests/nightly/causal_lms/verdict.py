"""What became of one type, and what is to be held of all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, Literal

from tests.models.transformers.causal_lms.exceptions import NOT_BUILT

# "wrong": patched and another loss, gradient or output than stock; "raised": anything else than one of our refusals
Outcome = Literal["parity", "refused", "not built", "wrong", "raised"]
REFUSED: Final = (  # the types that may be
    *("musicgen", "musicgen_melody"),  # a list of heads
    *("prophetnet", "xlm-prophetnet"),  # a loss of its own kind
    "open-llama",  # names no output layer
    "dory",  # an output layer of its own kind
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Of a type."""

    model_type: str
    class_name: str
    outcome: Outcome
    said: str = ""  # why not parity
    between: str = ""  # head and loss: scales, caps, cuts
    loss: str = ""
    head: str = ""
    notes: str = ""
    seconds: float = 0.0  # of a processor, that the patch and its proof took

    @property
    def bad(self) -> bool:
        """Whether something is to be mended: here, or in what tests know of transformers."""
        if self.outcome == "refused":
            return self.model_type not in REFUSED
        if self.outcome == "not built":
            return self.model_type not in NOT_BUILT
        return self.outcome != "parity"


def count(verdicts: Sequence[Verdict], outcome: Outcome) -> int:
    """How many types ended so."""
    return sum(verdict.outcome == outcome for verdict in verdicts)


def summary(verdicts: Sequence[Verdict]) -> str:
    """In a line."""
    built = len(verdicts) - count(verdicts, "not built")
    counts = [f"{count(verdicts, outcome)} {outcome}" for outcome in ("refused", "wrong", "raised", "not built")]
    return f"{count(verdicts, 'parity')} of {built} types at parity; {', '.join(counts)}"


def seconds_of_a_patch(verdicts: Sequence[Verdict]) -> tuple[float, float]:
    """(median, largest) of the types at parity, the proof included; zeros where there is none."""
    seconds = [verdict.seconds for verdict in verdicts if verdict.outcome == "parity"]
    return (median(seconds), max(seconds)) if seconds else (0.0, 0.0)
