"""A readable decoder in two styles: the course's (GPT-2) and today's (Llama, Qwen3). GPTConfig chooses.

Modules carry Llama's names in both styles, so that a state dict of today's style is a Llama checkpoint as it is.
Not here: the head's maths (lmhead.heads, lmhead.ops), files (transformers/formats/), sampling (lmhead.generation).

    ids [B, T] -> embedding (+ learned positions) -> num_layers x [x + attention(norm(x)), x + mlp(norm(x))]
               -> norm -> hidden [B, T, D] -> head -> loss, or logits [B, T, V]
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any, Self, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmhead.errors import ArgumentTypeError, require, require_kind
from lmhead.heads.language_modeling import LanguageModelingHead
from lmhead.labels.packing.attention_mask import restarting_positions, sdpa_mask
from lmhead.labels.targets import Targets
from lmhead.models.activation import squared_relu
from lmhead.models.attention import attention
from lmhead.models.causal_lm import CausalLM, Reader
from lmhead.models.check_rows import check_rows
from lmhead.models.config import GPTConfig
from lmhead.models.kv_cache import KVCache
from lmhead.models.rms_norm import RMSNorm, rms_norm
from lmhead.ops.keywords import ModelLossKeywords
from lmhead.ops.problem import TokenStatistics

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"silu": F.silu, "relu": F.relu, "gelu": F.gelu}


@final
class GPT(CausalLM):
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
        _initialise(self)

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
        """The model that `config` describes, freshly initialised from torch's global generator."""
        require_kind("config", config, GPTConfig)
        return cls(**asdict(config))

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """As `nn.Module.to`; what is there already is not touched, since torch moves no parameter that is fake."""
        device, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
        tensors = (*self.parameters(), *self.buffers())
        there = all(device in (None, tensor.device) and dtype in (None, tensor.dtype) for tensor in tensors)
        return self if there else super().to(*args, **kwargs)

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
        """
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
        return_stats: bool,
        options: ModelLossKeywords,
    ) -> Tensor | tuple[Tensor, TokenStatistics]:
        hidden = self.hidden(ids, document=document)
        if return_stats:
            return self.lm_head.loss(hidden, targets=targets, return_stats=True, **options)
        loss: Tensor = self.lm_head.loss(hidden, targets=targets, **options)
        return loss

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

    def reader(self, room: int) -> Reader:
        """A Reader of one row, with room for so many ids (at most `max_seq_len`)."""
        return _CachedReader(self, room)


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


class Decoder(nn.Module):
    """Everything below the head: ids [B, T] -> hidden states [B, T, D]."""

    cos: Tensor  # [max_seq_len, head width], as sin: today's style
    sin: Tensor

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.embed_dim)
        if config.style == "course":
            self.embed_positions = nn.Embedding(config.max_seq_len, config.embed_dim)
        else:
            cos, sin = _rotary_tables(config)
            self.register_buffer("cos", cos, persistent=False)
            self.register_buffer("sin", sin, persistent=False)
        self.layers = nn.ModuleList(Layer(config, index) for index in range(config.num_layers))
        self.norm = _norm(config, config.embed_dim)

    def forward(self, ids: Tensor, *, document: Tensor | None = None, cache: KVCache | None = None) -> Tensor:
        past = 0 if cache is None else cache.length
        self._check(ids, document, cache, past)
        positions = torch.arange(past, past + ids.shape[1], device=ids.device)
        mask = _cached_mask(past, ids.shape[1], ids.device) if past and ids.shape[1] > 1 else None
        if document is not None:
            mask, positions = sdpa_mask(document), restarting_positions(document)

        x: Tensor = self.embed_tokens(ids)
        rotation = None
        if self.config.style == "course":
            x = x + self.embed_positions(positions)
        else:
            if self.config.norm_embedding:
                x = rms_norm(x, None, self.config.norm_eps)
            rotation = (self.cos[positions], self.sin[positions])
        x = F.dropout(_narrow(x), self.config.dropout, self.training)
        for layer in self.layers:
            x = layer(x, rotation, mask, cache)
        if cache is not None:
            cache.length += ids.shape[1]
        normed: Tensor = self.norm(x)
        return normed

    def _check(self, ids: Tensor, document: Tensor | None, cache: KVCache | None, past: int) -> None:
        config = self.config
        check_rows(ids, document, vocab_size=config.vocab_size, max_seq_len=config.max_seq_len, past=past)
        if cache is not None:
            require(document is None, "document", "be None where a cache is used", "both")
            require(not torch.is_grad_enabled(), "cache", "be used under torch.no_grad()", "gradients recorded")


class Layer(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: GPTConfig, index: int) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.input_layernorm = _norm(config, config.embed_dim)
        self.self_attn = Attention(config, index)
        self.post_attention_layernorm = _norm(config, config.embed_dim)
        self.mlp = MLP(config)

    def forward(
        self, x: Tensor, rotation: tuple[Tensor, Tensor] | None, mask: Tensor | None, cache: KVCache | None
    ) -> Tensor:
        attended = self.self_attn(_narrow(self.input_layernorm(x)), rotation, mask, cache)
        x = x + F.dropout(attended, self.dropout, self.training)
        return x + F.dropout(self.mlp(_narrow(self.post_attention_layernorm(x))), self.dropout, self.training)


class Attention(nn.Module):
    """Causal attention of several heads; keys and values may be shared by groups of query heads."""

    def __init__(self, config: GPTConfig, index: int) -> None:
        super().__init__()
        self.index, self.dropout, self.width = index, config.dropout, config.head_width
        D, query_dim, kv_dim = config.embed_dim, config.num_heads * self.width, config.kv_heads * self.width
        self.heads = (config.num_heads, config.kv_heads, config.kv_heads)
        self.q_proj = nn.Linear(D, query_dim, bias=False)
        self.k_proj = nn.Linear(D, kv_dim, bias=False)
        self.v_proj = nn.Linear(D, kv_dim, bias=False)
        self.o_proj = nn.Linear(query_dim, D, bias=False)
        if config.qk_norm:
            self.q_norm: nn.Module | None = _norm(config, self.width)
            self.k_norm: nn.Module | None = _norm(config, self.width)
        else:
            self.q_norm = self.k_norm = None

    def forward(
        self, x: Tensor, rotation: tuple[Tensor, Tensor] | None, mask: Tensor | None, cache: KVCache | None
    ) -> Tensor:
        B, T, _ = x.shape
        projections = (self.q_proj, self.k_proj, self.v_proj)
        q, k, v = (proj(x).view(B, T, heads, self.width) for proj, heads in zip(projections, self.heads, strict=True))
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if rotation is not None:
            q, k = _rotate(q, *rotation), _rotate(k, *rotation)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # [B, heads, T, width]
        causal = mask is None and (cache is None or cache.length == 0)
        if cache is not None:
            k, v = cache.extend(self.index, k, v)
            q = q.to(k.dtype)
        attended = attention(q, k, v, mask=mask, causal=causal, dropout=self.dropout if self.training else 0.0)
        out: Tensor = self.o_proj(attended.transpose(1, 2).flatten(2))
        return out


class MLP(nn.Module):
    """down(activation(gate) * up); ungated, up is its own gate; the course's: down(gelu(up)), with biases."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.course = config.style == "course"
        D, width = config.embed_dim, config.mlp_width
        self.activation: Callable[[Tensor], Tensor] = _ACTIVATIONS["gelu" if self.course else config.activation]
        self.gate_proj = nn.Linear(D, width, bias=False) if config.gated and not self.course else None
        self.up_proj = nn.Linear(D, width, bias=self.course)
        self.down_proj = nn.Linear(width, D, bias=self.course)

    def forward(self, x: Tensor) -> Tensor:
        up = self.up_proj(x)
        if self.course:
            inner = self.activation(up)
        elif self.gate_proj is not None:
            inner = self.activation(self.gate_proj(x)) * up
        else:
            inner = squared_relu(up) if self.activation is F.relu else self.activation(up) * up
        out: Tensor = self.down_proj(inner)
        return out


def _norm(config: GPTConfig, dim: int) -> nn.Module:
    if config.style == "course":
        return nn.LayerNorm(dim, eps=config.norm_eps)
    return RMSNorm(dim, eps=config.norm_eps, weight=config.norm_weight)


def _narrow(x: Tensor) -> Tensor:
    """x in autocast's dtype, once for all matrices that read it: autocast by itself casts it for each of them."""
    device = x.device.type
    on = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)  # there is none for meta tensors
    return x.to(torch.get_autocast_dtype(device)) if on and x.dtype == torch.float32 else x


def _rotary_tables(config: GPTConfig) -> tuple[Tensor, Tensor]:
    """Cosine and signed sine [max_seq_len, head width] of each position's angles (Su et al. 2021), Llama's layout."""
    half = config.head_width // 2
    frequency = config.rope_theta ** -(torch.arange(half, dtype=torch.float32) / half)
    angle = torch.outer(torch.arange(config.max_seq_len, dtype=torch.float32), frequency)
    return torch.cat((angle.cos(), angle.cos()), -1), torch.cat((-angle.sin(), angle.sin()), -1)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [B, T, heads, width], each pair (i, i + width/2) turned by its position's angle; cos, sin [.., T, width]."""
    cos, sin = cos.unsqueeze(-2).to(x.dtype), sin.unsqueeze(-2).to(x.dtype)
    return x * cos + x.roll(x.shape[-1] // 2, -1) * sin


def _cached_mask(past: int, T: int, device: torch.device) -> Tensor:
    """[T, past + T], True where a query may look: at all that is cached, and causally at the new."""
    return torch.ones(T, past + T, dtype=torch.bool, device=device).tril(past)


@torch.no_grad()
def _initialise(model: GPT) -> None:
    config = model.config
    if config.init == "gpt2":  # Radford et al. 2019: the residual stream's variance does not grow with the depth
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif parameter.dim() == 2:
                output = name.endswith(("o_proj.weight", "down_proj.weight"))
                parameter.normal_(0.0, config.init_std * ((2 * config.num_layers) ** -0.5 if output else 1.0))
    if config.embedding_std is not None:
        model.model.embed_tokens.weight.normal_(0.0, config.embedding_std)
    if config.zero_init_projections:
        for layer in model.model.layers:
            assert isinstance(layer, Layer)
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
    if config.zero_init_head:
        model.lm_head.weight.zero_()
