"""Context length, how many tokens a model of transformers can read."""

from typing import Any, Final

from torch import nn

UNBOUNDED: Final = 2**31 - 1  # no config names a bound: recurrent, or positions that are only differences
_NAMES: Final = ("max_position_embeddings", "n_positions", "max_target_positions", "max_seq_len", "n_ctx")


def context_length(model: nn.Module) -> int:
    """Tokens that the model can read at most, as its config and its table of positions say."""
    config: Any = model.config
    text = config.get_text_config(decoder=True)
    named = [getattr(text, name, None) for name in _NAMES]
    sizes = [size for size in named if isinstance(size, int) and size > 0]
    longest = sizes[0] if sizes else UNBOUNDED
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and "position" in name and module.padding_idx is not None:
            longest = min(longest, module.num_embeddings - module.padding_idx - 1)  # RoBERTa's count from behind it
    return longest
