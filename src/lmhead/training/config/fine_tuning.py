"""What a run says of a model that transformers loads: its rows, and how it is fine-tuned. Imports no torch."""

import math
from dataclasses import dataclass
from typing import Final, Literal

from lmhead.errors import require
from lmhead.options import option

MAY_BE_SAID: Final = ("max_seq_len",)  # of the model; all else is what its weights are


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainedModel:
    """What is known of a model that is fine-tuned without being this library's decoder; its rows may be chosen."""

    style: Literal["pretrained"] = "pretrained"
    kind: str = ""  # its type, as transformers names it
    vocab_size: int = 1  # V: rows of the head
    max_seq_len: int = 1024  # tokens of a row
    max_positions: int = 2**31 - 1  # tokens that the model can read at most
    width: int = 1  # D: of the hidden states that the head reads
    parameters: int = 0  # without adapters
    embedding: int = 0  # of these, those that are looked up and not multiplied
    linear: int = 0  # of these, those of the linear layers but the head, which `quantize` is for
    layer: int = 0  # parameters of one that modules of multi-token prediction are like; 0 where none can be
    trained: int = 0  # parameters: all, or the adapters', without such modules

    def check(self) -> None:
        """Raise ArgumentError for rows that the model cannot read."""
        length = self.max_seq_len
        require(length >= 1, option("model.max_seq_len"), "be >= 1", length)
        rule = f"be at most the {self.max_positions:,} tokens that {option('init')} can read"
        require(length <= self.max_positions, option("model.max_seq_len"), rule, length)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraConfig:
    """Low-rank adapters: the model's own weights stay as they are, and are not saved again."""

    rank: int | None = None
    """Train adapters of this rank beside the model's matrices (needs peft). None: all of the model is trained."""
    alpha: float = 32.0
    """What an adapter adds is multiplied by alpha / rank, so that one rate does for all ranks."""
    dropout: float = 0.0
    """Of the adapters' inputs."""
    targets: tuple[str, ...] = ()
    """Ends of the names of the layers that get one: q_proj v_proj. None given: every linear layer but the head."""

    def check(self) -> None:
        """Raise ArgumentError for adapters that cannot be."""
        if self.rank is None:
            for name, default in (("alpha", 32.0), ("dropout", 0.0), ("targets", ())):
                value = getattr(self, name)
                require(
                    value == default,
                    option(f"lora.{name}"),
                    f"come with {option('lora.rank')}",
                    f"{value} alone",
                    f"add {option('lora.rank', 16)}",
                )
            return
        require(1 <= self.rank < 2**31, option("lora.rank"), "be >= 1", self.rank)
        require(0 < self.alpha < math.inf, option("lora.alpha"), "be finite and > 0", self.alpha)
        require(0 <= self.dropout < 1, option("lora.dropout"), "be in [0, 1)", self.dropout)
