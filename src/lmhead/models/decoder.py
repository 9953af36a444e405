"""The decoder below a GPT's head, in two styles: the course's (GPT-2) and today's (Llama, Qwen3). GPTConfig chooses.

    ids [B, T] -> embedding (+ learned positions) -> num_layers x [x + attention(norm(x)), x + mlp(norm(x))]
               -> norm -> hidden [B, T, D]

Modules carry Llama's names in both styles, so that a state dict of today's style is a Llama checkpoint as it is.
Not here: the head (gpt.py), the modules of multi-token prediction behind it (multi_token/), which are Layers too.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import is_fake

from lmhead.errors import require
from lmhead.labels.packing.attention_mask import restarting_positions, sdpa_mask
from lmhead.models.activation import squared_relu
from lmhead.models.attention import attention
from lmhead.models.check_rows import check_rows
from lmhead.models.config import GPTConfig
from lmhead.models.context_parallel import ContextGroup, ContextPart
from lmhead.models.multi_token.trunk import Trunk
from lmhead.models.rms_norm import RMSNorm, rms_norm
from lmhead.models.row_cache import Cache
from lmhead.ops.products.few_rows import Linear

Keys = Cache | ContextGroup  # what gives a layer keys and values beside those of the tokens that it is given

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"silu": F.silu, "relu": F.relu, "gelu": F.gelu}


class Decoder(nn.Module):
    """Everything below the head: ids [B, T] -> hidden states [B, T, D]."""

    context: ContextGroup | None = None  # ranks that share the tokens of the rows whose loss is asked for
    cos: Tensor  # [max_seq_len, head width], as sin: today's style
    sin: Tensor

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.embed_dim)
        if config.style == "course":
            self.embed_positions = nn.Embedding(config.max_seq_len, config.embed_dim)
        else:
            for name, table in zip(("cos", "sin"), _rotary_tables(config), strict=True):
                self.register_buffer(name, table, persistent=False)
        self.layers = nn.ModuleList(Layer(config, index) for index in range(config.num_layers))
        self.norm = norm_of(config, config.embed_dim)

    def reset_buffers(self) -> None:
        """Compute anew what no checkpoint has: the rotary tables, on their device and in their dtype."""
        if self.config.style != "course":
            with torch.device("cpu"):  # as they were made: another device may round otherwise
                tables = _rotary_tables(self.config)
            self.cos, self.sin = (table.to(self.cos) for table in tables)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """As `nn.Module._apply`, beneath `to` and `to_empty`, which leaves garbage in a buffer."""
        before = self._buffers.get("cos")
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        now = self._buffers.get("cos")
        if now is not None and now is not before and not now.is_meta and not is_fake(now):
            self.reset_buffers()
        return self

    def forward(self, ids: Tensor, *, document: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        return self.trunk(ids, document=document, cache=cache).hidden

    def trunk(self, ids: Tensor, *, document: Tensor | None = None, cache: Cache | None = None) -> Trunk:
        """The hidden states with all that a further Layer behind them needs."""
        past = 0 if cache is None else cache.length
        self._check(ids, document, cache, past)
        positions, mask = _places(ids, document, cache)
        made = self._read(self.embed(ids), positions, mask, cache)
        if cache is not None:
            cache.advance(ids.shape[1])
        return made

    def trunk_of_part(self, part: ContextPart) -> Trunk:
        """The hidden states [B, S, D] of one rank's part of some rows, with what stands behind each of its tokens."""
        shard = part.shard
        self._check(shard.row_ids, shard.row_document, None, 0)
        ids, further = part.reach()
        reached = self.embed(ids)
        embedded, *ahead = (reached[:, each] for each in further)
        made = self._read(embedded, shard.positions, shard.sdpa_mask(), part.context)
        return replace(made, arguments=(*made.arguments[:2], part.context), part=part, ahead=tuple(ahead))

    def _read(self, embedded: Tensor, positions: Tensor, mask: Tensor | None, keys: Keys | None) -> Trunk:
        x = embedded
        if self.config.style == "course":
            x = x + self.embed_positions(positions)
        rotation = self.rotation(positions)
        x = F.dropout(_narrow(x), self.config.dropout, self.training)
        for layer in self.layers:
            x = layer(x, rotation, mask, keys)
        return Trunk(
            hidden=self.norm(x), unnormed=x, embedded=embedded, positions=positions, arguments=(rotation, mask, None)
        )

    def rotation(self, positions: Tensor) -> tuple[Tensor, Tensor] | None:
        """Cosine and signed sine [.., head width] of positions; None in the course's style, which adds them once."""
        return None if self.config.style == "course" else (self.cos[positions], self.sin[positions])

    def embed(self, ids: Tensor) -> Tensor:
        """The embeddings [B, T, D] of ids [B, T], without their positions."""
        x: Tensor = self.embed_tokens(ids)
        return rms_norm(x, None, self.config.norm_eps) if self.config.norm_embedding else x

    def _check(self, ids: Tensor, document: Tensor | None, cache: Cache | None, past: int) -> None:
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
        self.input_layernorm = norm_of(config, config.embed_dim)
        self.self_attn = Attention(config, index)
        self.post_attention_layernorm = norm_of(config, config.embed_dim)
        self.mlp = MLP(config)

    def forward(
        self, x: Tensor, rotation: tuple[Tensor, Tensor] | None, mask: Tensor | None, cache: Keys | None
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
        self.q_proj = Linear(D, query_dim, bias=False)
        self.k_proj = Linear(D, kv_dim, bias=False)
        self.v_proj = Linear(D, kv_dim, bias=False)
        self.o_proj = Linear(query_dim, D, bias=False)
        if config.qk_norm:
            self.q_norm: nn.Module | None = norm_of(config, self.width)
            self.k_norm: nn.Module | None = norm_of(config, self.width)
        else:
            self.q_norm = self.k_norm = None

    def forward(
        self, x: Tensor, rotation: tuple[Tensor, Tensor] | None, mask: Tensor | None, cache: Keys | None
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
        self.gate_proj = Linear(D, width, bias=False) if config.gated and not self.course else None
        self.up_proj = Linear(D, width, bias=self.course)
        self.down_proj = Linear(width, D, bias=self.course)

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


def norm_of(config: GPTConfig, dim: int) -> nn.Module:
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


def _places(ids: Tensor, document: Tensor | None, cache: Cache | None) -> tuple[Tensor, Tensor | None]:
    """(the position of each id [T] or [B, T], the mask of attention); None: causal."""
    if document is not None:
        return restarting_positions(document), sdpa_mask(document)
    if cache is not None:
        return cache.places(ids.shape[1])
    return torch.arange(ids.shape[1], device=ids.device), None
