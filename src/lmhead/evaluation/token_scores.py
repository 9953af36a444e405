"""Token scores: a batch and a model -> nll, rank, entropy and alternatives of every token that something predicts.

Unlike an evaluation, of tokens that are not scored too: what a model makes of a prompt tells as much.
"""

import torch
from torch import Tensor

from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.labels.targets import Targets
from lmhead.models.causal_lm import CausalLM
from lmhead.models.device import autocast
from lmhead.record.token_row import TokenScores


@torch.no_grad()
def token_scores(
    model: CausalLM, batch: PackedBatch, *, device: torch.device, dtype: torch.dtype, top_k: int | None = None
) -> list[TokenScores]:
    """Of each row, aligned with its positions. The model is left in eval mode.

    Args:
        device: that the model is on.
        dtype: of autocast; float32 is none.
        top_k: so many of the most probable tokens at each position; None: none.
    """
    model.eval()
    batch = batch.to(device)
    targets = every_next_token(batch)
    with autocast(device, dtype):
        _, made = model.loss(
            batch.ids, targets, document=batch.attention_document, return_stats=True, ranks=True, top_k=top_k
        )
    known, top = made.scored.cpu(), made.top_logprobs
    columns = {
        "nll": _known(made.nll.cpu().double(), known, torch.nan),
        "entropy": _known(made.entropy.cpu().double(), known, torch.nan),
        "rank": _known(made.rank, known, -1),
        "top_ids": _known(made.top_ids, known, -1),
        "top_logprobs": _known(None if top is None else top.cpu().double(), known, torch.nan),
    }
    there = {name: column for name, column in columns.items() if column is not None}
    return [TokenScores(**{name: column[row].numpy() for name, column in there.items()}) for row in range(len(known))]


def every_next_token(batch: PackedBatch) -> Tensor:
    """Targets [R, T]: each token that follows another in its document, scored or not; -100 where none does.

    What stands behind a row is known where it is scored.
    """
    following = Targets.from_labels(batch.ids, document=batch.document).ids
    return torch.where(batch.targets.scored, batch.targets.ids, following)


def _known(column: Tensor | None, known: Tensor, missing: float) -> Tensor | None:
    """The column on the CPU, `missing` where nothing follows."""
    if column is None:
        return None
    shape = known.shape + (1,) * (column.dim() - known.dim())
    return column.cpu().masked_fill(~known.view(shape), missing)
