"""The head of a language model that owns its weight, or shares an embedding's."""

import math

import torch
from torch import Tensor, nn

from lmhead.errors import ArgumentError, ArgumentTypeError, require, require_kind
from lmhead.heads.hooks import is_made_anew
from lmhead.heads.scoring_head import ScoringHead
from lmhead.losses.head_tensors import HeadTensors
from lmhead.ops.checks import require_sizes
from lmhead.ops.products.few_rows import linear


class LanguageModelingHead(ScoringHead):
    """`head(hidden)` gives logits [..., V]; `head.loss(hidden, labels=...)` gives the loss and makes no logits.

    Args:
        tie_weights: the weight is to be shared with an embedding, by `tie_embedding_weights`; until then the head
            has one of its own. False refuses to tie.
        softcap: logits are softcap * tanh(logits / softcap) (Gemma 2); None is off.
        logit_scale: what logits are multiplied with, before the cap (Cohere, Granite).

    Raises:
        ArgumentError: a size is under 1, or an option breaks its rule.

    Example:
        >>> embedding, head = nn.Embedding(16, 8), LanguageModelingHead(8, 16)
        >>> head.tie_embedding_weights(embedding)
        >>> hidden, labels = torch.zeros(2, 5, 8), torch.ones(2, 5, dtype=torch.long)
        >>> head(hidden).shape, round(head.loss(hidden, labels=labels).item(), 4)  # log 16
        (torch.Size([2, 5, 16]), 2.7726)
    """

    weight: nn.Parameter  # [V, D]
    bias: nn.Parameter | None  # [V]

    def __init__(
        self,
        d_model: int,
        vocab_size: int,
        bias: bool = False,
        tie_weights: bool = True,
        *,
        softcap: float | None = None,
        logit_scale: float = 1.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(softcap=softcap, logit_scale=logit_scale)
        require_sizes(d_model=d_model, vocab_size=vocab_size)
        self.d_model = d_model
        self.vocab_size = vocab_size
        self.tie_weights = tie_weights
        self.weight = nn.Parameter(torch.empty(vocab_size, d_model, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(vocab_size, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weight as nn.Linear does, uniformly within 1 / sqrt(D), and set the bias to 0."""
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def tie_embedding_weights(self, embedding: nn.Module) -> None:
        """Share the Parameter `embedding.weight` [V, D]: one tensor, one gradient, in both modules' state dicts.

        Tie after a model made on the meta device has been materialised, and again after `load_state_dict` with
        assign=True: both give each module a Parameter of its own.

        Raises:
            ArgumentError: the head was made with tie_weights=False, or the shapes differ.
            ArgumentTypeError: `embedding` has no Parameter named weight.
        """
        if not self.tie_weights:
            raise ArgumentError("tie_weights must be True to tie, got False: make the head with tie_weights=True")
        weight = getattr(embedding, "weight", None)
        if not isinstance(weight, nn.Parameter):
            kind = type(embedding).__name__
            raise ArgumentTypeError(f"embedding must have a Parameter named weight, got {kind}: pass an nn.Embedding")
        if is_made_anew(self, "weight"):
            raise ArgumentError(
                "weight must be the head's own Parameter to be tied, got one that is made of others (pruned, "
                "parametrized): tie first"
            )
        shape = (self.vocab_size, self.d_model)
        require(weight.shape == shape, "embedding.weight", f"be [V, D] = {list(shape)}", list(weight.shape))
        self.weight = weight

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits [..., V] of hidden states [..., D]; for inference: training takes `loss`, which makes none.

        Raises:
            ArgumentError: the hidden states are of another width, or the head is cut over ranks.
            ArgumentTypeError: they are no Tensor.
        """
        require_kind("hidden", hidden, Tensor)
        require(not self.own_rows, "head", "be whole to make logits", "one cut over ranks", "take its loss")
        width = hidden.shape[-1] if hidden.dim() else 0
        require(width == self.d_model, "hidden", f"be [..., D] with D = {self.d_model}", tuple(hidden.shape))
        return self.capped(linear(hidden, self.weight, self.bias))

    def _tensors(self, hidden: Tensor | None) -> HeadTensors:
        return HeadTensors(weight=self.weight, bias=self.bias)

    def extra_repr(self) -> str:
        """The options, for `repr`."""
        extra = "" if self.softcap is None else f", softcap={self.softcap}"
        extra += "" if self.logit_scale == 1.0 else f", logit_scale={self.logit_scale}"
        return f"{self.d_model}, {self.vocab_size}, bias={self.bias is not None}, tie_weights={self.tie_weights}{extra}"
