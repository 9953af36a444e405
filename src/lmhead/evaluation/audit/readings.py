"""Readings: the same rows read in other ways: one at a time, together, padded at either side, packed, through a cache.

Each gives the nll of every row's targets, float64 [T], NaN where nothing is scored. Padding is told as people do: to a
model of transformers by attention_mask, and position_ids as its `generate` makes them; to one of lmhead by `document`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lmhead.errors import IGNORE_INDEX
from lmhead.evaluation.audit.audited_rows import SPARE, AuditedRow
from lmhead.models.causal_lm import CausalLM
from lmhead.models.device import autocast
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.models.transformers.patching.patch import lazy_logits_and_rest
from lmhead.models.transformers.pretrained_causal_lm import PretrainedCausalLM
from lmhead.models.transformers.unmade_loss import recorded_head
from lmhead.ops.linear_cross_entropy import linear_cross_entropy

Nll = list[npt.NDArray[np.float64]]
Side = Literal["right", "left"]
Told = Literal["nothing", "mask", "mask and positions"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reader:
    """How a model is called."""

    model: CausalLM
    device: torch.device
    dtype: torch.dtype = torch.float32  # of autocast; float32 is none

    @property
    def main(self) -> CausalLM:
        """What predicts the next token."""
        return self.model.main if isinstance(self.model, MultiTokenModel) else self.model

    def each(self, call: Callable[[], Tensor]) -> npt.NDArray[np.float64]:
        """The nll [R, T] that a call gives, on the host."""
        with torch.no_grad(), autocast(self.device, self.dtype):
            return call().double().cpu().numpy()

    def tensor(self, array: npt.NDArray[Any]) -> Tensor:
        """On the model's device."""
        return torch.from_numpy(array).to(self.device)


def read_alone(reader: Reader, rows: Sequence[AuditedRow]) -> Nll:
    """Each row by itself: what every other reading is compared with."""
    return [read_together(reader, [row])[0] for row in rows]


def read_together(reader: Reader, rows: Sequence[AuditedRow]) -> Nll:
    """All rows at once, each cut to the shortest: no padding."""
    shortest = min(map(len, rows))
    return read_padded(reader, [row.first(shortest) for row in rows], side="right", told="nothing", spare=0)


def read_padded(
    reader: Reader,
    rows: Sequence[AuditedRow],
    *,
    side: Side,
    told: Told,
    pad_id: int = 0,
    spare: int = SPARE,
) -> Nll:
    """All rows at once, padded to the longest and `spare` positions more.

    Args:
        told: of the padding; "nothing" does for a causal model that is padded at the right.
    """
    length = max(map(len, rows)) + spare
    ids = np.full((len(rows), length), pad_id, np.int64)
    targets, mask = np.full_like(ids, IGNORE_INDEX), np.zeros_like(ids)
    places = [slice(0, len(row)) if side == "right" else slice(length - len(row), length) for row in rows]
    for number, (row, place) in enumerate(zip(rows, places, strict=True)):
        ids[number, place], targets[number, place], mask[number, place] = row.ids, row.targets, 1
    given, wanted, there = (reader.tensor(each) for each in (ids, targets, mask))
    nll = reader.each(lambda: _nll(reader, given, wanted, there, told))
    return [_known(nll[number, place], row) for number, (row, place) in enumerate(zip(rows, places, strict=True))]


def _nll(reader: Reader, ids: Tensor, targets: Tensor, mask: Tensor, told: Told) -> Tensor:
    main = reader.main
    if told == "nothing":
        return _nll_by_documents(main, ids, targets, None)
    if isinstance(main, PretrainedCausalLM):
        return _nll_by_mask(main, ids, targets, mask, positions=told == "mask and positions")
    return _nll_by_documents(main, ids, targets, mask - 1)


def _nll_by_documents(model: CausalLM, ids: Tensor, targets: Tensor, document: Tensor | None) -> Tensor:
    return model.loss(ids, targets, document=document, return_stats=True)[1].nll


def _nll_by_mask(model: PretrainedCausalLM, ids: Tensor, targets: Tensor, mask: Tensor, *, positions: bool) -> Tensor:
    keywords: dict[str, Any] = {"attention_mask": mask, "use_cache": False}
    if positions and model.takes_positions:
        keywords["position_ids"] = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 1)
    logits, _ = lazy_logits_and_rest(model.base, input_ids=ids, **keywords)
    head = recorded_head(logits)
    own = head.tensors
    _, made = linear_cross_entropy(
        logits.hidden,
        own.weight,
        targets,
        bias=own.bias,
        adapter=own.adapters,
        softcap=head.softcap,
        logit_scale=head.logit_scale,
        return_stats=True,
    )
    return made.nll


def read_packed(reader: Reader, rows: Sequence[AuditedRow], *, other: int | None = None, vocabulary: int = 0) -> Nll:
    """All rows end to end in one, documents of their own, and padding behind them.

    Args:
        other: the document whose ids stay; those of all others are replaced. None: nothing is replaced.
        vocabulary: ids that there are, to replace by.
    """
    lengths = list(map(len, rows))
    stops = np.cumsum(lengths)
    T = int(stops[-1]) + 2
    ids, targets, document = np.zeros(T, np.int64), np.full(T, IGNORE_INDEX), np.full(T, -1)
    for number, (row, stop) in enumerate(zip(rows, stops, strict=True)):
        place = slice(stop - len(row), stop)
        changed = other is not None and number != other
        ids[place] = (row.ids + 1) % vocabulary if changed else row.ids
        targets[place], document[place] = row.targets, number
    ids, targets, document = ids[None], targets[None], document[None]
    given = [reader.tensor(each) for each in (ids, targets, document)]
    nll = reader.each(lambda: _nll_by_documents(reader.main, *given))[0]
    return [_known(nll[stop - len(row) : stop], row) for row, stop in zip(rows, stops, strict=True)]


def read_through_cache(reader: Reader, row: AuditedRow, *, tokens: int) -> npt.NDArray[np.float64]:
    """The nll of the row's last targets, read token by token behind the others; NaN at those others."""
    T = len(row)
    start = max(1, T - tokens)
    nll = np.full(T, np.nan)
    cached = reader.model.reader(T)
    with autocast(reader.device, reader.dtype):
        logits = cached.read(row.ids[:start].tolist())
        for t in range(start - 1, T):
            if t >= start:
                logits = cached.read([int(row.ids[t])])
            if row.scored[t]:
                nll[t] = -float(logits.double().log_softmax(-1)[int(row.targets[t])])
    return nll


def _known(nll: npt.NDArray[np.float64], row: AuditedRow) -> npt.NDArray[np.float64]:
    return np.where(row.scored, nll, np.nan)
