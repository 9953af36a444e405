"""Best checkpoint: which step was best in the evaluations along the way."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The step with the lowest loss, of texts and of conversations: in nats per scored token, of the same tokens.

    Bits per byte order the steps alike. Exact answers do not tell steps apart early on, when there are none.
    """

    step: int
    nll: float
    bits_per_byte: float | None


def best_of(records: Iterable[Mapping[str, Any]], steps: Collection[int]) -> Best | None:
    """The best of the log's evaluations on a part, all on the same one; of `steps` alone; of equal ones the first."""
    found = [
        Best(step=record["step"], nll=record["nll"], bits_per_byte=record["bits_per_byte"])
        for record in records
        if record.get("evaluation") == "quick" and record["step"] in steps
    ]
    return min(found, key=lambda best: best.nll, default=None)
