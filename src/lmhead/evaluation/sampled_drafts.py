"""Sampled drafts: how often speculative sampling keeps drafts, from the distributions alone, without drawing.

A draft x, drawn from the depth's distribution q, is kept with min(1, p(x) / q(x)), p the main head's for the same
token: in all with the sum of min(p, q), which is 1 - the total variation of p and q (Leviathan et al. 2023). Contexts
are those of held-out text, and of two depths the product stands for the chance that both are kept.
"""

from collections.abc import Iterable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from lmhead.evaluation.draft_scores import shares
from lmhead.heads.parallel_multi_token import MultiTokenPredictionHead
from lmhead.heads.scoring_head import ScoringHead
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.losses.head_tensors import HeadLogits
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.ops.divergence.linear_divergence import linear_divergence


@torch.no_grad()
def sampled_acceptance(model: MultiTokenModel, batches: Iterable[PackedBatch]) -> list[float] | None:
    """Of each depth the share of the drafts that sampling at temperature 1 keeps, where it keeps all before.

    None where no position has all depths to score. The model is left in eval mode.
    """
    model.eval()
    device = next(model.parameters()).device
    chains, kept = 0, torch.zeros(model.depth, dtype=torch.double)
    for batch in batches:
        if batch.ids.shape[1] <= model.depth:
            continue
        here = batch.to(device)
        whole = torch.stack([here.targets.at(1 + k).scored for k in range(model.depth + 1)]).all(0).cpu()
        running = torch.ones(whole.shape, dtype=torch.double)
        for k, each in enumerate(_kept(model, here)):
            running = running * each
            kept[k] += running[whole].sum()
        chains += int(whole.sum())
    return shares(chains, kept.tolist()) if chains else None


def _kept(model: MultiTokenModel, batch: PackedBatch) -> list[Tensor]:
    """Of each depth float64 [R, T] on the CPU, 1 - total variation; 0 at the last k positions."""
    trunk = model.main.trunk(batch.ids, document=batch.attention_document)
    main = model.lm_head.logits_of(trunk.hidden)
    if isinstance(model.mtp, MultiTokenPredictionHead):
        states = [trunk.hidden] * model.depth
        heads = [cast(ScoringHead, head).logits_of(trunk.hidden) for head in model.mtp.heads]
    else:
        states, heads = model.mtp.behind(trunk), [main] * model.depth
    T = batch.ids.shape[1]
    apart = [
        _total_variation(hidden[:, : T - k], head, trunk.hidden[:, k:], main)
        for k, (hidden, head) in enumerate(zip(states, heads, strict=True), 1)
    ]
    return [F.pad(1 - each.cpu().double(), (0, k)) for k, each in enumerate(apart, 1)]


def _total_variation(hidden: Tensor, head: HeadLogits, main_hidden: Tensor, main: HeadLogits) -> Tensor:
    """[R, T'], of a depth's distribution and the main head's for the same token."""
    return linear_divergence(
        hidden,
        head.tensors.weight,
        main_hidden,
        main.tensors.weight,
        kind="total_variation",
        bias=head.tensors.bias,
        teacher_bias=main.tensors.bias,
        adapter=head.tensors.adapters,
        teacher_adapter=main.tensors.adapters,
        softcap=head.softcap,
        logit_scale=head.logit_scale,
        teacher_softcap=main.softcap,
        teacher_logit_scale=main.logit_scale,
        reduction="none",
    )
