"""Held-out rows as a record has them: ids, targets, reasons, roles, places, and what a model makes of each token."""

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor

from lmhead.batches.contract import HeldOut
from lmhead.errors import IGNORE_INDEX
from lmhead.evaluation.token_scores import token_scores
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.labels.targets import Reason, Targets
from lmhead.models.causal_lm import CausalLM
from lmhead.record.token_row import Span, TokenRow, TokenScores

_TOKENS: Final = 8192  # read at once, padding included


def held_out_row(batch: PackedBatch, held_out: HeldOut) -> TokenRow:
    """The one row of a batch [1, T], without scores. Documents are numbered from 0 in their order."""
    (document,), (source,), (position,) = batch.document, batch.source, batch.document_positions
    (sources,), targets = batch.sources, batch.targets
    begins = torch.ones_like(document, dtype=torch.bool)
    begins[1:] = document[1:] != document[:-1]
    number = (begins.cumsum(0) - 1).masked_fill(document < 0, -1)
    shown = sources[: int(number.max()) + 1]  # what follows the last token may be another document's
    table = held_out.table()
    return TokenRow(
        ids=batch.ids[0].numpy(),
        targets=targets.ids.masked_fill(~targets.scored, IGNORE_INDEX)[0].numpy(),
        reason=targets.reason[0].numpy(),
        weight=None if targets.weight is None else targets.weight[0].float().numpy(),
        document=number.numpy(),
        position=position.numpy(),
        spans=tuple(_spans(number, source, position, held_out)),
        names=tuple(map(held_out.name, shown)),
        sources=tuple(table.sources[table.source[each]] for each in shown),
    )


def scored_rows(
    model: CausalLM,
    rows: Sequence[PackedBatch],  # each [1, T], of any length
    held_out: HeldOut,
    *,
    device: torch.device,
    dtype: torch.dtype,
    top_k: int,
) -> list[TokenRow]:
    """The rows with their scores, in the same order. The model is left in eval mode.

    Args:
        dtype: of autocast; float32 is none.
        top_k: so many of the most probable tokens at each position.
    """
    top, made = min(top_k, model.vocab_size), dict[int, TokenRow]()
    for places in _together([row.ids.shape[1] for row in rows]):
        batch = _padded([rows[place] for place in places])
        scores = token_scores(model, batch, device=device, dtype=dtype, top_k=top)
        for place, of_row in zip(places, scores, strict=True):
            row = held_out_row(rows[place], held_out)
            made[place] = replace(row, scores=_cut(of_row, len(row.ids)))
    return [made[place] for place in range(len(rows))]


def _together(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Places of rows that are read at once, the longest first."""
    waiting: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        if waiting and (len(waiting) + 1) * lengths[waiting[0]] > _TOKENS:
            yield waiting
            waiting = []
        waiting.append(place)
    yield waiting


def _padded(rows: Sequence[PackedBatch]) -> PackedBatch:
    """Rows [1, T] as one batch. Padding follows all that is scored, which a causal model cannot see."""
    length = max(row.ids.shape[1] for row in rows)

    def together(columns: Sequence[Tensor], fill: int) -> Tensor:
        return torch.cat([torch.nn.functional.pad(each, (0, length - each.shape[1]), value=fill) for each in columns])

    return PackedBatch(
        ids=together([row.ids for row in rows], 0),
        targets=Targets(
            ids=together([row.targets.ids for row in rows], IGNORE_INDEX),
            reason=together([row.targets.reason for row in rows], int(Reason.PADDING)),
            document=together([row.document for row in rows], -1),
        ),
        sources=tuple(row.sources[0] for row in rows),
        isolated=rows[0].isolated,
    )


def _cut(scores: TokenScores, length: int) -> TokenScores:
    columns = {field.name: getattr(scores, field.name) for field in fields(scores)}
    return TokenScores(**{name: column[:length] for name, column in columns.items() if column is not None})


def _spans(number: Tensor, source: Tensor, position: Tensor, held_out: HeldOut) -> Iterator[Span]:
    """The messages of each document, as far as they stand in the row."""
    for document in range(int(number.max()) + 1):
        at = np.flatnonzero((number == document).numpy())
        move = int(at[0]) - int(position[at[0]])
        for span in held_out.spans(int(source[at[0]])):
            start, stop = max(span.start + move, int(at[0])), min(span.stop + move, int(at[-1]) + 1)
            if start < stop:
                yield Span(start=start, stop=stop, role=span.role)
