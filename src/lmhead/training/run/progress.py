"""How far a run has come and how good it is, read from its folder alone: no torch, and no weights are read."""

import math
from collections.abc import Sequence
from typing import Any, Final

from lmhead.training.run.log import Record

_RISING: Final = {"exact": True, "bits_per_byte": False, "nll": False}


def full_evaluation(records: Sequence[Record], step: int) -> Record | None:
    """The evaluation of everything held out that was made at a step."""
    made = [record for record in records if record["step"] == step and record.get("evaluation") == "full"]
    return made[-1] if made else None


def best(records: Sequence[Record]) -> tuple[str, Record] | None:
    """(the figure's name, the evaluation in which it is best): of whole evaluations where there are any.

    Exact answers where answers are counted, else bits per byte, else nats a token.
    """
    made = [record for record in records if "evaluation" in record]
    made = [record for record in made if record["evaluation"] == "full"] or made
    for name, rising in _RISING.items():
        known = [record for record in made if _is_number(record.get(name)) and (name != "exact" or record["answers"])]
        if known:
            order = [(_share(record) if rising else -record[name]) for record in known]
            return name, known[order.index(max(order))]
    return None


def best_figure(records: Sequence[Record]) -> str:
    """The best figure with its unit; ~ before that of a part of the held-out data, - for none."""
    found = best(records)
    if found is None:
        return "-"
    name, record = found
    part = "" if record["evaluation"] == "full" else "~"
    if name == "exact":
        return f"{part}{record['exact']:,} of {record['answers']:,} exact"
    return f"{part}{record[name]:.4f} {'bits/byte' if name == 'bits_per_byte' else 'nats/token'}"


def _share(record: Record) -> float:
    return float(record["exact"] / record["answers"])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
