"""Token scores: a batch and a model -> nll, rank, entropy and alternatives of every token that something predicts.

Unlike an evaluation, of tokens that are not scored too: what a model makes of a prompt tells as much.
"""

from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.labels.targets import Targets
from lmhead.models.causal_lm import CausalLM
from lmhead.models.device import autocast
from lmhead.record.token_row import TokenScores


@torch.no_grad()
def token_scores(model: CausalLM, batch: PackedBatch, *, device: torch.device, dtype: torch.dtype) -> list[TokenScores]:
    """Of each row, aligned with its positions. The model is left in eval mode.

    Args:
        device: that the model is on.
        dtype: of autocast; float32 is none.
    """
    model.eval()
    batch = batch.to(device)
    targets = every_next_token(batch)
    with autocast(device, dtype):
        _, made = model.loss(batch.ids, targets, document=batch.attention_document, return_stats=True, ranks=True)
    assert made.rank is not None
    known = made.scored.cpu()
    nll = made.nll.double().cpu().masked_fill(~known, torch.nan)
    entropy = made.entropy.double().cpu().masked_fill(~known, torch.nan)
    rank = made.rank.cpu().masked_fill(~known, -1)
    return [
        TokenScores(nll=_array(nll[row]), entropy=_array(entropy[row]), rank=_array(rank[row]))
        for row in range(len(known))
    ]


def every_next_token(batch: PackedBatch) -> Tensor:
    """Targets [R, T]: each token that follows another in its document, scored or not; -100 where none does.

    What stands behind a row is known where it is scored.
    """
    following = Targets.from_labels(batch.ids, document=batch.document).ids
    return torch.where(batch.targets.scored, batch.targets.ids, following)


def _array(column: Tensor) -> npt.NDArray[Any]:
    return column.numpy()
