"""Models of transformers by family and size, freshly initialised, and batches for them."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

Batch = dict[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A model and the batch that it is trained on. Heads are of width 64, at most 4 of them hold keys."""

    family: str  # of FAMILIES
    D: int
    layers: int
    V: int
    rows: int
    length: int  # tokens a row
    tied: bool = True

    @property
    def tokens(self) -> int:
        """N, of a batch."""
        return self.rows * self.length

    def __str__(self) -> str:
        return f"{FAMILIES[self.family]}, D {self.D}, {self.layers} layers, V {self.V}, N {self.tokens}"

    def tiny(self) -> "Size":
        """For `--quick`: does it run?"""
        return replace(self, D=64, layers=1, V=self.V // 64, rows=2, length=16)

    def short(self) -> "Size":
        """The same model and few tokens, to warm it up."""
        return replace(self, rows=2, length=16)


FAMILIES = {  # class, by family
    "llama": "Llama",
    "gemma2": "Gemma2",
    "qwen3": "Qwen3",
    "gpt2": "GPT2",
    "mixtral": "Mixtral",
}


def build(size: Size, dtype: torch.dtype = torch.float32, *, seed: int = 0, **options: Any) -> Any:
    """A causal LM in training mode, without dropout; `options` go to its config."""
    import transformers

    name = FAMILIES[size.family]
    head = "LMHeadModel" if name == "GPT2" else "ForCausalLM"
    config = getattr(transformers, f"{name}Config")(**_config(size), **options)
    torch.manual_seed(seed)
    return getattr(transformers, name + head)(config).to(dtype).train()


def _config(size: Size) -> dict[str, Any]:
    heads = max(1, size.D // 64)
    shared = {"vocab_size": size.V, "use_cache": False, "tie_word_embeddings": size.tied}
    if size.family == "gpt2":
        none = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
        positions = {"n_embd": size.D, "n_layer": size.layers, "n_head": heads, "n_positions": max(1024, size.length)}
        return {**shared, **positions, **none, "bos_token_id": 0, "eos_token_id": 0}
    config = {
        **shared,
        "hidden_size": size.D,
        "intermediate_size": 4 * size.D if size.family == "gemma2" else 8 * size.D // 3 // 64 * 64,
        "num_hidden_layers": size.layers,
        "num_attention_heads": heads,
        "num_key_value_heads": next(count for count in (4, 2, 1) if heads % count == 0),
        "head_dim": 64,
        "pad_token_id": None,
    }
    if size.family == "gemma2":
        config |= {"query_pre_attn_scalar": 64, "bos_token_id": 0, "eos_token_id": 0}
    if size.family == "mixtral":
        config |= {"num_local_experts": 4, "num_experts_per_tok": 2}
    return config


def batch(size: Size, *, scored: float = 1.0, seed: int = 0) -> Batch:
    """Drawn ids [rows, length] and their labels, `scored` of which are not ignored, spread at random."""
    generator = torch.Generator().manual_seed(seed)
    shape = (size.rows, size.length)
    ids = torch.randint(size.V, shape, generator=generator)
    ignored = torch.rand(shape, generator=generator) >= scored
    return {"input_ids": ids, "labels": ids.masked_fill(ignored, -100)}
