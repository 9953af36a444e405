"""The loss of an output layer that somebody else's model has, read from the layer as it is at each call."""

from torch import Tensor, nn

from lmhead.errors import require_kind
from lmhead.heads.output_layer import check_layer, tensors_of
from lmhead.heads.scoring_head import ScoringHead
from lmhead.losses.head_tensors import HeadTensors


class WrappedHead(ScoringHead):
    """`WrappedHead(model.get_output_embeddings()).loss(hidden, labels=...)`: an nn.Linear, or PEFT's LoRA around one.

    Nothing is copied, and nothing is remembered: each call sees the adapters that are active then, their scaling,
    dropout (where the layer is in training mode), whether they are disabled or merged; and the weight as a call would
    make it, where pruning, a parametrization or a hook before the forward makes it. What cannot be kept is refused (a
    hook on the output, say), never left out. Wrap the layer after PEFT has: one that was wrapped before is the base
    layer, without adapters.

    Args:
        layer: an nn.Linear, or what PEFT makes of one for LoRA, rsLoRA, DoRA or `modules_to_save`.
        softcap: of the model's logits, which it applies after the layer (Gemma 2: `config.final_logit_softcapping`).
        logit_scale: what the model multiplies the layer's output with (Cohere: `config.logit_scale`; Granite:
            1 / `config.logits_scaling`).

    Raises:
        ArgumentError: the layer is in a state that is refused; also raised by every call.
        ArgumentTypeError: the layer is of a kind that is refused.

    Example:
        >>> import torch
        >>> head = WrappedHead(nn.Linear(8, 16, bias=False))
        >>> head.loss(torch.zeros(2, 5, 8), labels=torch.ones(2, 5, dtype=torch.long)).item()  # log 16
        2.7725887298583984
    """

    def __init__(self, layer: nn.Module, *, softcap: float | None = None, logit_scale: float = 1.0) -> None:
        super().__init__(softcap=softcap, logit_scale=logit_scale)
        check_layer(layer)
        self.layer = layer

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits [..., V] of hidden states [..., D]: the layer's own, scaled and capped.

        Raises:
            ArgumentTypeError: the hidden states are no Tensor.
        """
        require_kind("hidden", hidden, Tensor)
        return self.capped(self.layer(hidden))

    def _tensors(self, hidden: Tensor | None) -> HeadTensors:
        return tensors_of(self.layer, hidden)

    def extra_repr(self) -> str:
        """The options, for `repr`."""
        return f"softcap={self.softcap}, logit_scale={self.logit_scale}"
