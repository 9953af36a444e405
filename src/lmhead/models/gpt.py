"""GPT: a readable decoder (decoder.py) and its head, in the course's style or in today's. GPTConfig chooses.

    ids [B, T] -> decoder -> hidden [B, T, D] -> head -> loss, or logits [B, T, V]

Not here: the head's maths (lmhead.heads, lmhead.ops), files (transformers/formats/), sampling (lmhead.generation).
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any, Literal, Self, final

import torch
from torch import Tensor, nn

from lmhead.errors import ArgumentTypeError, require, require_kind
from lmhead.heads.language_modeling import LanguageModelingHead
from lmhead.heads.scoring_head import ScoringHead
from lmhead.labels.targets import Targets
from lmhead.losses.head_tensors import HeadLogits
from lmhead.models.cached_draft_reader import CachedDraftReader
from lmhead.models.causal_lm import Reader
from lmhead.models.config import GPTConfig
from lmhead.models.context_parallel import whole_targets
from lmhead.models.decoder import Decoder, Layer, norm_of
from lmhead.models.kv_cache import KVCache
from lmhead.models.multi_token.draft_reader import DraftReader
from lmhead.models.multi_token.family import family_of, style_for
from lmhead.models.multi_token.style import Kind, MultiTokenStyle
from lmhead.models.multi_token.trunk import Backbone, Trunk
from lmhead.ops.keywords import ModelLossKeywords
from lmhead.ops.problem import TokenStatistics


@final
class GPT(Backbone):
    """A causal language model: decoder and head.

    The classic call makes the course's model as torch initialises it; keywords are fields of GPTConfig:

        GPT(vocab_size, embed_dim, num_heads, num_layers, max_seq_len=64, dropout=0.0)
        GPT.from_config(GPTConfig(vocab_size=2048, embed_dim=256, num_heads=4, num_layers=4))    # today's style

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> model = GPT(vocab_size=4, embed_dim=4, num_heads=2, num_layers=2)
        >>> logits, loss = model(torch.tensor([[0, 1, 2]]), torch.tensor([[1, 2, 3]]))
        >>> logits is None, round(loss.item(), 4)
        (True, 4.2588)
    """

    def __init__(
        self,
        vocab_size: int,
        embed_dim: int,
        num_heads: int,
        num_layers: int,
        max_seq_len: int = 64,
        dropout: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__()
        self.config = config = GPTConfig(
            vocab_size=vocab_size,
            embed_dim=embed_dim,
            num_heads=num_heads,
            num_layers=num_layers,
            max_seq_len=max_seq_len,
            dropout=dropout,
            **{"style": "course", "init": "torch", **options},
        )
        # The order of construction is the order of the random draws: 4.2588 (tests/models/test_gpt.py) depends on it.
        self.model = Decoder(config)
        self.lm_head = LanguageModelingHead(embed_dim, vocab_size, tie_weights=config.tie_weights)
        if config.tie_weights:
            self.lm_head.tie_embedding_weights(self.model.embed_tokens)
        _draw(self, config)

    @property
    def vocab_size(self) -> int:
        """V: rows of the head."""
        return self.config.vocab_size

    @property
    def max_seq_len(self) -> int:
        """Tokens that the model can read at most, the context."""
        return self.config.max_seq_len

    @classmethod
    def from_config(cls, config: GPTConfig) -> Self:
        """The model that `config` describes, freshly initialised from torch's global generator.

        Raises:
            ArgumentTypeError: `config` is no GPTConfig.
        """
        require_kind("config", config, GPTConfig)
        return cls(**asdict(config))

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """As `nn.Module.to`; what is there already is not touched, since torch moves no parameter that is fake."""
        device, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
        tensors = (*self.parameters(), *self.buffers())
        there = all(device in (None, tensor.device) and dtype in (None, tensor.dtype) for tensor in tensors)
        return self if there else super().to(*args, **kwargs)

    def reset_buffers(self) -> None:
        """Compute the buffers anew, which no checkpoint has; `to_empty` does so too."""
        self.model.reset_buffers()

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """As `nn.Module._apply`, beneath `to_empty`, which would untie: it gives each module a Parameter of its own."""
        tied = self._is_tied
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if tied and not self._is_tied:
            self.lm_head.tie_embedding_weights(self.model.embed_tokens)
        return self

    @property
    def _is_tied(self) -> bool:
        weights = [module._parameters.get("weight") for module in (self.lm_head, self.model.embed_tokens)]
        return weights[0] is weights[1] is not None

    def forward(
        self,
        ids: Tensor,  # [B, T]
        targets: Tensor | Targets | None = None,  # [B, T]
        *,
        return_logits: bool = False,
        document: Tensor | None = None,  # [B, T]
        token_weight: Tensor | None = None,  # [B, T]
        divisor: float | Tensor | None = None,
    ) -> tuple[Tensor | None, Tensor | None]:
        """(logits [B, T, V] or None, loss in nats or None).

        Without targets: the logits, and None. With targets (already shifted): the mean loss over the scored ones, and
        no logits, since they are what costs; `return_logits=True` asks for both. Other arguments as in `loss`.

        Raises:
            ArgumentError: a shape or an id breaks its rule, or logits are asked for where ranks share a row's tokens.
        """
        if targets is not None and self.model.context is not None:
            require(not return_logits, "return_logits", "be False where ranks share the tokens of a row", True)
            options: ModelLossKeywords = {"token_weight": token_weight, "divisor": divisor}
            return None, self.loss(ids, targets, document=document, **options)
        hidden = self.hidden(ids, document=document)
        loss = None
        if targets is not None:
            loss = self.lm_head.loss(hidden, targets=targets, token_weight=token_weight, divisor=divisor)
        return (self.lm_head(hidden) if targets is None or return_logits else None), loss

    def _loss(
        self,
        ids: Tensor,  # [B, T]
        targets: Tensor | Targets,  # [B, T]
        document: Tensor | None,  # [B, T]
        return_stats: bool | Literal["nll"],
        options: ModelLossKeywords,
    ) -> Tensor | tuple[Tensor, TokenStatistics] | tuple[Tensor, Tensor]:
        context = self.model.context
        if context is not None:
            whole, left = whole_targets(ids, targets, options, self.vocab_size)
            part = context.part(ids, whole, document)
            hidden = self.model.trunk_of_part(part).hidden
            if return_stats == "nll":
                loss, nll = self.lm_head.loss(hidden, targets=part.targets, return_stats="nll", **left)
                return loss, part.whole_column(nll)
            if return_stats:
                loss, statistics = self.lm_head.loss(hidden, targets=part.targets, return_stats=True, **left)
                return loss, part.whole(statistics)
            return self.lm_head.loss(hidden, targets=part.targets, **left)
        hidden = self.hidden(ids, document=document)
        if return_stats == "nll":
            return self.lm_head.loss(hidden, targets=targets, return_stats="nll", **options)
        if return_stats:
            return self.lm_head.loss(hidden, targets=targets, return_stats=True, **options)
        return self.lm_head.loss(hidden, targets=targets, **options)

    def hidden(
        self,
        ids: Tensor,  # [B, T]
        *,
        document: Tensor | None = None,  # [B, T]
        cache: KVCache | None = None,
    ) -> Tensor:
        """Final hidden states [B, T, D], normalised: what the head multiplies.

        With a cache, `ids` go on where the cache ends, and are added to it.
        """
        hidden: Tensor = self.model(ids, document=document, cache=cache)
        return hidden

    def hidden_and_head(
        self,
        ids: Tensor,  # [B, T]
        *,
        document: Tensor | None = None,  # [B, T]
    ) -> tuple[Tensor, HeadLogits]:
        """(final hidden states [B, T, D], the head as it is now)."""
        hidden = self.hidden(ids, document=document)
        return hidden, self.lm_head.logits_of(hidden)

    def reader(self, room: int) -> Reader:
        """A Reader of one row, with room for so many ids (at most `max_seq_len`)."""
        return _CachedReader(self, room)

    def trunk(
        self,
        ids: Tensor,  # [B, T]
        *,
        document: Tensor | None = None,  # [B, T]
        cache: KVCache | None = None,
    ) -> Trunk:
        """The hidden states with all that a further Layer behind them needs; a cache as in `hidden`."""
        return self.model.trunk(ids, document=document, cache=cache)

    def trunk_for(
        self,
        ids: Tensor,  # [B, T]
        targets: Targets,  # [B, T]
        *,
        document: Tensor | None = None,  # [B, T]
        depth: int = 0,
    ) -> Trunk:
        """`trunk`; of this rank's part of the rows, where ranks share their tokens."""
        context = self.model.context
        if context is None:
            return self.model.trunk(ids, document=document)
        return self.model.trunk_of_part(context.part(ids, targets, document, depth=depth))

    @property
    def scoring_head(self) -> ScoringHead:
        """The head, which owns the loss."""
        return self.lm_head

    @property
    def width(self) -> int:
        """D: of the hidden states."""
        return self.config.embed_dim

    def new_block(self, index: int) -> Layer:
        """A Layer, freshly made: layer(x, *trunk.arguments)."""
        return Layer(self.config, index)

    def new_norm(self) -> nn.Module:
        """A norm of width D of the decoder's own kind."""
        return norm_of(self.config, self.config.embed_dim)

    def module_style(self, family: str | None = None, *, kind: Kind, depth: int) -> MultiTokenStyle:
        """How modules behind the decoder are, of a family; None: of the one that suits the decoder."""
        style = style_for(self.config, family)
        if family is None:
            return replace(style, family=None)  # a checkpoint gets the names that suit the model which it holds
        family_of(self.config, style, kind=kind, depth=depth)  # refuses what no checkpoint could hold
        return style

    def draft_reader(self, *, rows: int, room: int, depth: int) -> DraftReader:
        """A DraftReader of so many rows, each of at most `room` ids, through caches."""
        return CachedDraftReader(self.model, rows=rows, room=room, depth=depth)

    def draw(self, modules: nn.Module) -> None:
        """Initialise modules that stand behind the decoder as its own were, from torch's global generator."""
        _draw(modules, self.config)


def require_gpt(name: str, model: object) -> None:
    """Refuse what is not a GPT, compiled or not.

    Raises:
        ArgumentTypeError: it is something else.
    """
    if not isinstance(getattr(model, "config", None), GPTConfig):
        raise ArgumentTypeError(f"{name} must be an lmhead.GPT, got {type(model).__name__}")


@final
class _CachedReader(Reader):
    """Reads through a KVCache of `room` positions."""

    def __init__(self, model: GPT, room: int) -> None:
        weight = model.model.layers[0].get_parameter("self_attn.k_proj.weight")
        self._model = model
        self._cache = KVCache(replace(model.config, max_seq_len=room), device=weight.device, dtype=weight.dtype)

    @torch.inference_mode()
    def read(self, ids: Sequence[int]) -> Tensor:
        """Logits [V] float32, on the CPU, of what follows all ids read so far and these."""
        hidden = self._model.hidden(torch.tensor([ids], device=self._cache.keys.device), cache=self._cache)
        logits: Tensor = self._model.lm_head(hidden[:, -1])
        return logits[0].float().cpu()


@torch.no_grad()
def _draw(modules: nn.Module, config: GPTConfig) -> None:
    if config.init == "gpt2":  # Radford et al. 2019: the residual stream's variance does not grow with the depth
        for name, parameter in modules.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif parameter.dim() == 2:
                output = name.endswith(("o_proj.weight", "down_proj.weight"))
                parameter.normal_(0.0, config.init_std * ((2 * config.num_layers) ** -0.5 if output else 1.0))
    for module in modules.modules():
        if isinstance(module, Decoder) and config.embedding_std is not None:
            module.embed_tokens.weight.normal_(0.0, config.embedding_std)
        if isinstance(module, Layer) and config.zero_init_projections:
            module.self_attn.o_proj.weight.zero_()
            module.mlp.down_proj.weight.zero_()
        if isinstance(module, LanguageModelingHead) and config.zero_init_head:
            module.weight.zero_()
