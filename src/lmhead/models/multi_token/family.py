"""Which family's names a decoder's modules get in a checkpoint, and which decoders a family can hold. No torch.

    family        the folder is a        who drafts from it
    mellum        MellumForCausalLM      transformers: of a decoder with qk_norm
    glm4_moe      Glm4MoeForCausalLM     vLLM and SGLang where the activation is silu; transformers: docs/loss/mtp.md
    mimo          MiMoForCausalLM        vLLM and SGLang: one module, no qk_norm, silu
    deepseek_v3   what it is without     nobody: DeepSeek-V3's attention is another; the names alone
    qwen3_next    what it is without     nobody: Qwen3-Next's attention is another; the names alone
    none          what it is without     lmhead alone: the parallel kind, the course's style, another style of modules

Not here: the names themselves, and what stands in config.json (transformers/formats/).
"""

from dataclasses import replace
from typing import Final

from lmhead.errors import ArgumentError
from lmhead.models.config import GPTConfig
from lmhead.models.multi_token.style import FAMILIES, Kind, MultiTokenStyle, require_family
from lmhead.options import option

_ONE_MODULE: Final = ("qwen3_next", "mimo")


def style_for(config: GPTConfig, family: str | None = None) -> MultiTokenStyle:
    """The style of the modules behind a decoder: the family's, or that of the family which suits the decoder best.

    The latter names no family: which one can hold the modules, `family_of` says when they are written.

    Raises:
        ArgumentError: there is no such family; the nearest is suggested.
    """
    if family is not None:
        require_family(family)
        return FAMILIES[family]
    suiting = _suiting(config)
    return MultiTokenStyle() if suiting is None else replace(FAMILIES[suiting], family=None)


def family_of(config: GPTConfig, style: MultiTokenStyle, *, kind: Kind, depth: int) -> str | None:
    """The family whose names the weights get in a checkpoint; None for those of this library.

    Args:
        config: of the decoder.

    Raises:
        ArgumentError: `style.family` cannot hold the decoder, or its modules.
    """
    if style.family is not None:
        if refusal := _refusal(style.family, config, kind, depth):
            raise ArgumentError(
                f"{option('family')} must be one that can hold the model, got {style.family}: {refusal}"
            )
        return style.family
    family = _suiting(config)
    if family is None or kind == "parallel":
        return None
    own, chained = FAMILIES[family], depth > 1
    same = (style.order, style.main, style.zero_first) == (own.order, own.main, own.zero_first)
    return family if same and (style.chain == own.chain or not chained) else None


def _suiting(config: GPTConfig) -> str | None:
    """The family whose model of transformers the decoder is, so that it drafts there."""
    if config.style == "course":
        return None
    return "mellum" if config.qk_norm else "glm4_moe"


def _refusal(family: str, config: GPTConfig, kind: Kind, depth: int) -> str | None:
    """Why the family cannot hold modules behind the decoder, and the remedy; None where it can."""
    suiting = _suiting(config)
    if kind == "parallel":
        return "heads of the parallel kind have this library's names alone; leave the family out"
    if suiting is None:
        return "it has no learned positions; leave the family out, or take the modern style"
    if family in _ONE_MODULE and kind == "sequential" and depth > 1:
        return f"its checkpoints have one module, not {depth}; take depth 1, the recurrent kind, or {suiting}"
    if family == "mellum" and not config.qk_norm:
        return "its attention has norms of queries and keys; take glm4_moe, or qk_norm"
    if family == "mimo":
        plain = config.head_dim is None or config.head_dim * config.num_heads == config.embed_dim
        if config.qk_norm or config.activation != "silu" or not plain:
            return (
                f"it is a Qwen2: without qk_norm, with silu, heads of embed_dim / num_heads; be that, or take {suiting}"
            )
    return None
