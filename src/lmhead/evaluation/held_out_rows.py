"""Held-out rows as a record has them: ids, targets, reasons, roles, places, and what a model makes of each token."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from lmhead.batches.contract import HeldOut
from lmhead.errors import IGNORE_INDEX
from lmhead.evaluation.token_scores import token_scores
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.models.causal_lm import CausalLM
from lmhead.record.token_row import Span, TokenRow


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


def scored_row(
    model: CausalLM, batch: PackedBatch, held_out: HeldOut, *, device: torch.device, dtype: torch.dtype, top_k: int
) -> TokenRow:
    """The one row of a batch with its scores. The model is left in eval mode.

    Args:
        dtype: of autocast; float32 is none.
        top_k: so many of the most probable tokens at each position.
    """
    top = min(top_k, model.vocab_size)
    (scores,) = token_scores(model, batch, device=device, dtype=dtype, top_k=top)
    return replace(held_out_row(batch, held_out), scores=scores)


def _spans(number: torch.Tensor, source: torch.Tensor, position: torch.Tensor, held_out: HeldOut) -> Iterator[Span]:
    """The messages of each document, as far as they stand in the row."""
    for document in range(int(number.max()) + 1):
        at = np.flatnonzero((number == document).numpy())
        move = int(at[0]) - int(position[at[0]])
        for span in held_out.spans(int(source[at[0]])):
            start, stop = max(span.start + move, int(at[0])), min(span.stop + move, int(at[-1]) + 1)
            if start < stop:
                yield Span(start=start, stop=stop, role=span.role)
