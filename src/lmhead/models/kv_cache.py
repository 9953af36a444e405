"""Keys and values of what a decoder has read, so that each further token is read alone."""

from typing import final

import torch
from torch import Tensor

from lmhead.models.config import GPTConfig


@final
class KVCache:
    """Keys and values of the ids read so far, in tensors that are allocated once.

        cache = KVCache(model.config, batch_size=1)
        with torch.no_grad():
            model.hidden(prompt, cache=cache)              # [B, T, D]; cache.length is T
            model.hidden(next_ids[:, None], cache=cache)   # [B, 1, D]; reads one id instead of T + 1

    Gradients do not flow through it, and it is refused where they are recorded.
    """

    def __init__(
        self,
        config: GPTConfig,
        *,
        batch_size: int = 1,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        shape = (config.num_layers, batch_size, config.kv_heads, config.max_seq_len, config.head_width)
        self.keys = torch.empty(shape, device=device, dtype=dtype)
        self.values = torch.empty(shape, device=device, dtype=dtype)
        self.length = 0  # positions held, the same for all rows

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values of `layer` [B, H, length + T, head width], after writing these behind them."""
        end = self.length + keys.shape[2]
        self.keys[layer, :, :, self.length : end] = keys
        self.values[layer, :, :, self.length : end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def places(self, T: int) -> tuple[Tensor, Tensor | None]:
        """(positions [T] of the next T ids, their mask [T, length + T]); None: causal within what is read."""
        end, device = self.length + T, self.keys.device
        mask = causal_behind(self.length, T, device) if self.length and T > 1 else None
        return torch.arange(self.length, end, device=device), mask

    def advance(self, T: int) -> None:
        """Hold T places more, once all layers have written theirs."""
        self.length += T


def causal_behind(past: int, T: int, device: torch.device) -> Tensor:
    """[T, past + T], True where a query may look: at all that is held before, and causally at the new."""
    return torch.ones(T, past + T, dtype=torch.bool, device=device).tril_(past)
