"""KL and top-1 agreement to a base model (quantised against full, tuned against base), as a section of a card."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np
import torch

from lmhead.evaluation.card.conditions import Section
from lmhead.evaluation.divergence.divergence_lines import HEAD, divergence_rows
from lmhead.evaluation.divergence.divergence_sums import DivergenceSums
from lmhead.evaluation.divergence.divergence_totals import DivergenceTotals
from lmhead.evaluation.divergence.document_divergences import document_divergences
from lmhead.evaluation.documents.document import EvaluationDocument
from lmhead.evaluation.intervals.ratio_interval import Ratio, ratio_intervals
from lmhead.evaluation.scores.windows import Windows
from lmhead.given.given_model import GivenModel
from lmhead.given.same_tokenizer import require_same_tokenizer
from lmhead.shown import shown_line

_COLUMNS: Final = ("statistic", "value", "95 % interval")


def against_base(
    base: GivenModel,
    given: GivenModel,
    documents: Iterable[EvaluationDocument],
    windows: Windows,
    *,
    dtype: torch.dtype,
    tokens: int,
    reached: Callable[[int], None],
) -> Section:
    """The section. Both models read the documents once; the intervals are over documents.

    Args:
        dtype: of autocast; float32 is none.
        tokens: of a batch at most.
        reached: hears how many documents are done.

    Raises:
        InputError: their tokenizers differ.
    """
    require_same_tokenizer(base, given)
    totals, sums = DivergenceTotals(), list[DivergenceSums]()
    found = document_divergences(
        base.model, given.model, documents, windows, device=given.device, dtype=dtype, tokens=tokens
    )
    for each in found:
        sums.append(totals.add(each))
        reached(len(sums))
    intervals = _intervals(sums)
    return Section(
        title=f"{HEAD}; base: {shown_line(base.name)}",
        columns=_COLUMNS,
        rows=tuple(divergence_rows(totals, intervals)),
        values={
            "base": base.name,
            **_for_json(totals.figures()),
            "intervals": {name: list(ends) for name, ends in intervals.items()},
        },
    )


def _for_json(figures: dict[str, Any]) -> dict[str, Any]:
    """None for what is infinite: where the model rules out a token that the base does not."""
    made: dict[str, Any] = {}
    for name, value in figures.items():
        if isinstance(value, dict):
            made[name] = _for_json(value)
        else:
            made[name] = None if isinstance(value, float) and not math.isfinite(value) else value
    return made


def _intervals(sums: list[DivergenceSums]) -> dict[str, tuple[float, float]]:
    """95 % over documents, of means over tokens; of those that are infinite none."""
    scored = [each for each in sums if each.tokens]
    weights = np.array([each.tokens for each in scored], np.float64)
    columns: dict[str, list[float]] = {
        "mean_kld": [each.kld for each in scored],
        "same_top_p": [each.same_top for each in scored],
        "mean_delta_p": [each.delta_p for each in scored],
        "ln_ppl_ratio": [each.nll_model - each.nll_base for each in scored],
    }
    columns = {name: values for name, values in columns.items() if all(map(math.isfinite, values))}
    ratios = [
        Ratio(
            numerators=np.array(values, np.float64),
            denominators=weights,
            kind="share" if name == "same_top_p" else "amount" if name == "mean_kld" else "difference",
        )
        for name, values in columns.items()
    ]
    made = dict(zip(columns, ratio_intervals(ratios), strict=True)) if scored else {}
    return {
        name: (each.low, each.high) for name, each in made.items() if each.low is not None and each.high is not None
    }
