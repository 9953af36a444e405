"""CausalLM: what the loop, the evaluation and sampling ask of a model; the decoder of this library is one (gpt.py), and
any causal language model that transformers loads (transformers/pretrained_causal_lm.py).

Not here: how a model is made, saved and shaped.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, Unpack, overload

from torch import Tensor, nn

from lmhead.errors import ArgumentTypeError
from lmhead.labels.targets import Targets
from lmhead.losses.head_tensors import HeadLogits
from lmhead.ops.keywords import ModelLossKeywords
from lmhead.ops.problem import TokenStatistics


class CausalLM(nn.Module, ABC):
    """A causal language model: it predicts each next token from those before it."""

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """V: rows of the head."""

    @property
    @abstractmethod
    def max_seq_len(self) -> int:
        """Tokens that the model can read at most, the context."""

    @overload
    def loss(
        self,
        ids: Tensor,
        targets: Tensor | Targets,
        *,
        document: Tensor | None = None,
        return_stats: Literal[False] = False,
        **options: Unpack[ModelLossKeywords],
    ) -> Tensor: ...

    @overload
    def loss(
        self,
        ids: Tensor,
        targets: Tensor | Targets,
        *,
        document: Tensor | None = None,
        return_stats: Literal[True],
        **options: Unpack[ModelLossKeywords],
    ) -> tuple[Tensor, TokenStatistics]: ...

    @overload
    def loss(
        self,
        ids: Tensor,
        targets: Tensor | Targets,
        *,
        document: Tensor | None = None,
        return_stats: Literal["nll"],
        **options: Unpack[ModelLossKeywords],
    ) -> tuple[Tensor, Tensor]: ...

    def loss(
        self,
        ids: Tensor,  # [B, T]
        targets: Tensor | Targets,  # [B, T]
        *,
        document: Tensor | None = None,  # [B, T]
        return_stats: bool | Literal["nll"] = False,
        **options: Unpack[ModelLossKeywords],
    ) -> Tensor | tuple[Tensor, TokenStatistics] | tuple[Tensor, Tensor]:
        """The loss in nats, a scalar; with `return_stats` also each position's TokenStatistics. No logits are made.

        With `return_stats="nll"` also the nll of each position [B, T] alone, detached, which costs nothing.

        Args:
            targets: already shifted: targets[t] is the token to predict from ids[..t]; -100 is not scored. Or Targets,
                with their weights; what attention stays within is `document` alone.
            document: the number of each position's document in a packed row. Attention stays within a document.
            options: token_weight, divisor, label_smoothing, z_loss, ranks, top_k, ..., as in `linear_cross_entropy`.

        Raises:
            ArgumentError: an argument breaks its rule.
        """
        return self._loss(ids, targets, document, return_stats, options)

    @abstractmethod
    def _loss(
        self,
        ids: Tensor,  # [B, T]
        targets: Tensor | Targets,  # [B, T]
        document: Tensor | None,  # [B, T]
        return_stats: bool | Literal["nll"],
        options: ModelLossKeywords,
    ) -> Tensor | tuple[Tensor, TokenStatistics] | tuple[Tensor, Tensor]:
        """What `loss` gives."""

    @abstractmethod
    def hidden_and_head(
        self,
        ids: Tensor,  # [B, T]
        *,
        document: Tensor | None = None,  # [B, T]
    ) -> tuple[Tensor, HeadLogits]:
        """(hidden states [B, T, D], what makes logits of them), where the next token's logits themselves cost too much.

        Raises:
            ArgumentError: an argument breaks its rule.
        """

    @abstractmethod
    def reader(self, room: int) -> "Reader":
        """A Reader of one row, with room for so many ids (at most `max_seq_len`)."""


class Reader(ABC):
    """Reads a row of ids as they come, and gives the logits of the next token. No gradient flows through it."""

    @abstractmethod
    def read(self, ids: Sequence[int]) -> Tensor:
        """Logits [V] float32, on the CPU, of what follows all ids read so far and these."""


def require_causal_lm(name: str, model: object) -> None:
    """Refuse what is no CausalLM, compiled or not.

    Raises:
        ArgumentTypeError: it is something else.
    """
    if not isinstance(model, CausalLM) and not isinstance(getattr(model, "_orig_mod", None), CausalLM):
        raise ArgumentTypeError(
            f"{name} must be an lmhead.GPT or an lmhead.PretrainedCausalLM, got {type(model).__name__}"
        )
