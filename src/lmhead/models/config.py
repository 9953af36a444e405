"""GPTConfig: every size and option of the decoder in gpt.py, checked, without importing torch.

Not here: how a model is trained (lmhead.training) and what it costs (estimate.py).
"""

import math
from dataclasses import dataclass, fields
from typing import Literal

from lmhead.errors import ArgumentError, require
from lmhead.options import option

Style = Literal["course", "modern"]
Activation = Literal["silu", "relu", "gelu"]
Init = Literal["gpt2", "torch"]

_MODERN_ONLY = (
    "num_kv_heads",
    "head_dim",
    "activation",
    "gated",
    "qk_norm",
    "norm_weight",
    "norm_embedding",
    "rope_theta",
)
_OPTIONAL_SIZES = ("num_kv_heads", "head_dim", "mlp_dim")
_SIZES = ("vocab_size", "embed_dim", "num_heads", "num_layers", "max_seq_len", *_OPTIONAL_SIZES)


@dataclass(frozen=True, slots=True, kw_only=True)
class GPTConfig:
    """Sizes and options of one decoder.

    The course's style: learned positions, LayerNorm, GELU, a bias in the MLP and the norms. Exported as GPT-2.
    Today's ("modern"): rotary positions, RMSNorm, a gated MLP, no bias. Exported as Llama; with `qk_norm` as Qwen3.

    Raises:
        ArgumentError: a size or an option breaks its rule, or the course's style is given an option that it lacks.

    Example:
        >>> config = GPTConfig(vocab_size=2048, embed_dim=256, num_heads=4, num_layers=4, num_kv_heads=2)
        >>> config.head_width, config.mlp_width, config.kv_heads
        (64, 704, 2)
    """

    vocab_size: int  # V: tokens of the vocabulary
    embed_dim: int  # D: the width
    num_heads: int  # of attention
    num_layers: int  # blocks of attention and MLP
    max_seq_len: int = 64  # tokens of a row, which is the context
    dropout: float = 0.0  # of the embedding, the attention's weights and both branches of each layer
    style: Style = "modern"  # as Llama and Qwen3 (modern) or as GPT-2 (course)
    tie_weights: bool = True  # the head's weight is the embedding's
    mlp_dim: int | None = None  # None: 4 D; where gated 8/3 D, up to the next multiple of 64
    norm_eps: float = 1e-5  # of RMSNorm and LayerNorm

    num_kv_heads: int | None = None  # None: num_heads; fewer is grouped-query attention
    head_dim: int | None = None  # None: embed_dim / num_heads
    activation: Activation = "silu"  # of the MLP
    gated: bool = True  # activation(gate) * up; False: activation(up) * up, which is ReLU^2 for relu
    qk_norm: bool = False  # RMSNorm of each head's queries and keys, as Qwen3
    norm_weight: bool = True  # False: RMSNorm without weights, exported as ones
    norm_embedding: bool = False  # RMSNorm of the embedding's output, folded into its table by the export
    rope_theta: float = 10_000.0  # the base of the rotary positions' wave lengths

    init: Init = "gpt2"  # "gpt2": N(0, init_std), output projections by 1/sqrt(2 layers); "torch": torch's own
    init_std: float = 0.02  # of gpt2's normal distribution
    embedding_std: float | None = None  # None: init_std, or 1 with init="torch"
    zero_init_projections: bool = False  # each layer starts as the identity: o_proj and down_proj are 0
    zero_init_head: bool = False  # the first loss is log V; needs an untied head

    def __post_init__(self) -> None:
        for name in _SIZES:
            size = getattr(self, name)
            if size is not None or name not in _OPTIONAL_SIZES:
                require(isinstance(size, int) and size >= 1, option(name), "be an integer >= 1", repr(size))
                require(size < 2**31, option(name), "be < 2^31", size)
        for name, choices in (
            ("style", ("course", "modern")),
            ("activation", ("silu", "relu", "gelu")),
            ("init", ("gpt2", "torch")),
        ):
            choice = getattr(self, name)
            require(choice in choices, name, f"be one of {', '.join(choices)}", repr(choice))
        require(0.0 <= self.dropout < 1.0, option("dropout"), "be in [0, 1)", self.dropout)
        for name in ("norm_eps", "rope_theta", "init_std", "embedding_std"):
            size = getattr(self, name)
            if size is not None or name != "embedding_std":
                require(0 < size < math.inf, option(name), "be finite and > 0", size)
        self._check_heads()
        self._check_combinations()

    def _check_heads(self) -> None:
        if self.head_dim is None:
            require(
                self.embed_dim % self.num_heads == 0,
                option("embed_dim"),
                f"be a multiple of {option('num_heads', self.num_heads)}",
                self.embed_dim,
                f"or give {option('head_dim')}" if self.style == "modern" else "",
            )
        require(
            self.num_heads % self.kv_heads == 0,
            option("num_heads"),
            f"be a multiple of {option('num_kv_heads', self.kv_heads)}",
            self.num_heads,
        )
        if self.style == "modern":
            require(
                self.head_width % 2 == 0, option("head_dim"), "be even: rotary positions turn pairs", self.head_width
            )

    def _check_combinations(self) -> None:
        if self.style == "course":
            defaults = {field.name: field.default for field in fields(self)}
            given = [name for name in _MODERN_ONLY if getattr(self, name) != defaults[name]]
            if given:
                values = ", ".join(str(getattr(self, name)) for name in given)
                raise ArgumentError(
                    f"{', '.join(map(option, given))} must be left as it is in the course's style, got {values}: "
                    "take the modern style"
                )
        if self.tie_weights:
            on = [name for name in ("norm_embedding", "zero_init_head") if getattr(self, name)]
            require(
                not on,
                " and ".join(map(option, on)),
                "be off where the head is tied",
                True,
                f"or give {option('tie_weights', False)}",
            )

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.num_heads if self.num_kv_heads is None else self.num_kv_heads

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        return self.embed_dim // self.num_heads if self.head_dim is None else self.head_dim

    @property
    def mlp_width(self) -> int:
        """Width of the MLP's hidden layer."""
        if self.mlp_dim is not None:
            return self.mlp_dim
        return usual_mlp_width(self.embed_dim, gated=self.style == "modern" and self.gated)


def usual_mlp_width(embed_dim: int, *, gated: bool) -> int:
    """4 D; where gated 8/3 D, up to the next multiple of 64: as many parameters in three matrices as in two."""
    return -(-8 * embed_dim // (3 * 64)) * 64 if gated else 4 * embed_dim
