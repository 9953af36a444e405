"""The output layer of a model of transformers as a head that owns its loss: with its scale, its cap and its width."""

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from lmhead.heads.output_layer import tensors_of
from lmhead.heads.scoring_head import ScoringHead
from lmhead.losses.head_tensors import HeadTensors
from lmhead.models.transformers.patching.patch import lazy_logits_and_rest
from lmhead.models.transformers.vocabulary import embedding_of


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadOptions:
    """What a model does to the product of its output layer."""

    softcap: float | None
    logit_scale: float


@torch.no_grad()
def head_options(model: Any, **keywords: Any) -> HeadOptions:
    """What a patched model does to its logits, found in a forward of a few ids that makes none."""
    training = model.training
    model.eval()
    try:
        ids = torch.zeros(1, 2, dtype=torch.long, device=embedding_of(model).weight.device)
        logits, _ = lazy_logits_and_rest(model, input_ids=ids, **keywords)
    finally:
        model.train(training)
    head = logits.linear()
    assert head is not None, "what happens to the logits was proven to be known"
    return HeadOptions(softcap=head.softcap, logit_scale=head.logit_scale)


@final
class PretrainedHead(ScoringHead):
    """`layer`, an nn.Linear or PEFT's around one, as it is at each call; made anew where it is asked for.

    Args:
        width: V of the logits, fewer than the layer's rows where the model cuts them.
    """

    def __init__(self, layer: nn.Module, *, width: int, options: HeadOptions) -> None:
        super().__init__(softcap=options.softcap, logit_scale=options.logit_scale)
        self.layer, self.width = layer, width

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits [..., V] of hidden states [..., D], scaled and capped."""
        return self.capped(self.layer(hidden)[..., : self.width])

    def _tensors(self, hidden: Tensor | None) -> HeadTensors:
        return tensors_of(self.layer, hidden).first(self.width)
