"""Accumulation probes: a loss of micro-batches must be that of all tokens at once; and what a mean of means would say.

exact     sum over micro-batches of their tokens' nll / scored tokens of all
summed    sum over micro-batches of loss(divisor = scored tokens of all)       must be the exact one
naive     mean over micro-batches of loss()                                    weighs a token by its batch
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch

from lmhead.errors import IGNORE_INDEX
from lmhead.evaluation.audit.audited_model import AuditedModel
from lmhead.evaluation.audit.audited_rows import AuditedRow
from lmhead.evaluation.audit.probe_result import Change, Fault, ProbeResult
from lmhead.evaluation.audit.readings import Reader
from lmhead.models.device import autocast
from lmhead.models.transformers.pretrained_causal_lm import PretrainedCausalLM

_BATCH: Final = 4  # rows
_SUMMED: Final = "micro-batches summed"
_NAIVE: Final = f"mean of means of {_BATCH} rows"
_NOT_A_SUM: Final = Fault(
    code="mean_of_means",
    message="the loss of micro-batches does not add up to the mean over all tokens: it is a mean of means, or its "
    "denominator counts other tokens than are scored",
    remedy="divide the sum of all tokens' losses by their number: loss(..., divisor=tokens of all micro-batches), "
    "lmhead.TokenMean; of transformers' Trainer, num_items_in_batch",
)


def accumulation_probes(audited: AuditedModel, documents: Sequence[AuditedRow]) -> list[ProbeResult]:
    """The two means of the loss, the naive one as information.

    Args:
        documents: the rows in the order of the data.
    """
    main = audited.reader.main
    if isinstance(main, PretrainedCausalLM) and getattr(main.base.config, "output_router_logits", False):
        return [ProbeResult.not_run(_SUMMED, "its loss has a router's part")]
    batches = [documents[start : start + _BATCH] for start in range(0, len(documents), _BATCH)]
    tokens = sum(int(row.scored.sum()) for row in documents)
    parts, nll = zip(*(_loss(audited.reader, batch, tokens) for batch in batches), strict=True)
    exact, summed = math.fsum(nll) / tokens, math.fsum(parts)
    naive = math.fsum(_loss(audited.reader, batch, None)[0] for batch in batches) / len(batches)
    result = [ProbeResult.must_not_change(_SUMMED, _change(exact, summed, documents), audited.tolerance, _NOT_A_SUM)]
    if len(batches) > 1:
        note = "what a mean of batch means would be off by; it is not taken here"
        result.append(ProbeResult.may_change(_NAIVE, _change(exact, naive, documents), audited.tolerance, note))
    return result


def _change(exact: float, other: float, rows: Sequence[AuditedRow]) -> Change:
    tokens = sum(int(row.scored.sum()) for row in rows)
    sizes = [row.bytes for row in rows]
    size = sum(each or 0 for each in sizes) if None not in sizes else 0
    moved = other - exact
    bits = moved * tokens / math.log(2) / size if size else None
    return Change(tokens=tokens, nll=moved, bits_per_byte=bits, largest=abs(moved), where="")


@torch.no_grad()
def _loss(reader: Reader, rows: Sequence[AuditedRow], divisor: int | None) -> tuple[float, float]:
    """(the loss, the sum of its tokens' nll)."""
    length = max(map(len, rows))
    ids, targets = np.zeros((len(rows), length), np.int64), np.full((len(rows), length), IGNORE_INDEX)
    for number, row in enumerate(rows):
        ids[number, : len(row)], targets[number, : len(row)] = row.ids, row.targets
    with autocast(reader.device, reader.dtype):
        loss, made = reader.main.loss(reader.tensor(ids), reader.tensor(targets), divisor=divisor, return_stats=True)
    return float(loss), float(made.nll.double().sum())
