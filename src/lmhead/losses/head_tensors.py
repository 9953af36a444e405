"""HeadTensors: what a head multiplies hidden states with; HeadLogits: that, and what it does to the product."""

from dataclasses import dataclass, replace

from torch import Tensor

from lmhead.ops.adapter import LowRankAdapter
from lmhead.ops.sharded.vocabulary_shard import VocabularyShard


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadTensors:
    """What a head multiplies hidden states with, at this moment."""

    weight: Tensor  # [V, D]
    bias: Tensor | None = None  # [V]
    adapters: tuple[LowRankAdapter, ...] = ()
    shard: VocabularyShard | None = None  # of which rows these are this rank's

    def detached(self) -> "HeadTensors":
        """The same numbers; no gradient reaches the head through them."""
        return HeadTensors(
            weight=self.weight.detach(),
            bias=None if self.bias is None else self.bias.detach(),
            adapters=tuple(_detached(each) for each in self.adapters),
            shard=self.shard,
        )

    def first(self, width: int) -> "HeadTensors":
        """Of the first `width` tokens."""
        if self.weight.shape[0] == width:
            return self
        assert self.shard is None, "of a head that is cut over ranks the first rows are one rank's"
        return HeadTensors(
            weight=self.weight[:width],
            bias=None if self.bias is None else self.bias[:width],
            adapters=tuple(_first(each, width) for each in self.adapters),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadLogits:
    """All that a head's logits are made of at this moment, but for the hidden states."""

    tensors: HeadTensors
    softcap: float | None = None
    logit_scale: float = 1.0

    def detached(self) -> "HeadLogits":
        """The same numbers; no gradient reaches the head through them."""
        return replace(self, tensors=self.tensors.detached())


def _first(adapter: LowRankAdapter, width: int) -> LowRankAdapter:
    magnitude = adapter.magnitude
    return replace(adapter, up=adapter.up[:width], magnitude=None if magnitude is None else magnitude[:width])


def _detached(adapter: LowRankAdapter) -> LowRankAdapter:
    scale, magnitude = adapter.scale, adapter.magnitude
    return replace(
        adapter,
        down=adapter.down.detach(),
        up=adapter.up.detach(),
        scale=scale.detach() if isinstance(scale, Tensor) else scale,
        magnitude=None if magnitude is None else magnitude.detach(),
    )
