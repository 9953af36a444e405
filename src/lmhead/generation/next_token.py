"""The distribution of the next token: temperature, top-k and top-p, and what may not be drawn."""

import operator
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Self, TypedDict

import numpy as np
import torch
from torch import Tensor

from lmhead.errors import ArgumentError, ArgumentTypeError, NonFiniteError, require
from lmhead.options import option

# Logits near 16 are 1e-6 apart in float32: divided by less than this, their last bits would decide. vLLM's limit too.
_GREEDY_BELOW: Final = 1e-5


def next_token_probabilities(
    logits: Tensor,  # [..., V]
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Tensor:
    """The distribution [..., V], float32, that `sample` draws from.

    softmax(logits / temperature) on the `top_k` largest logits; then on the fewest of the most probable tokens whose
    probabilities reach `top_p` together, at least one. A temperature below 1e-5 is 0: everything on the largest logit,
    on the first of equal ones. A logit of -inf is a token that is never taken.

    Raises:
        ArgumentError: temperature < 0, top_k < 1, or top_p outside (0, 1].
        NonFiniteError: a logit is NaN or +inf, or all of a row are -inf.

    Source: Holtzman et al., "The Curious Case of Neural Text Degeneration" (2019), for top-p.
    """
    check_options(temperature, top_k, top_p)
    require_numbers(logits)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if temperature < _GREEDY_BELOW or top_k == 1:
        return torch.zeros_like(logits, dtype=torch.float32).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
    if top_k is not None and top_k < logits.shape[-1]:
        values, places = logits.topk(top_k)
        logits = torch.full_like(logits, -torch.inf).scatter_(-1, places, values)
    hottest = torch.finfo(logits.dtype).max  # divided by infinity, what is masked would be 0 times infinity
    probabilities = ((logits - logits.amax(-1, keepdim=True)) / min(temperature, hottest)).softmax(-1)
    if top_p is not None and top_p < 1:
        values, places = probabilities.sort(descending=True, stable=True)
        kept = values.cumsum(-1) - values < top_p  # the tokens that are more probable do not reach it
        kept[..., 0] = True  # however small top_p is: a float32 may not hold it
        probabilities = torch.zeros_like(probabilities).scatter_(-1, places, values.where(kept, 0))
        probabilities = probabilities / probabilities.sum(-1, keepdim=True)
    return probabilities.float()


def require_numbers(logits: Tensor) -> None:
    """Refuse rows that no distribution is of. A logit of -inf is a token that is never taken."""
    broken = logits.isnan() | logits.isposinf()
    if not broken.any() and not (logits.amax(-1) == -torch.inf).any():
        return
    got = f"{logits[broken][0]} for {int(broken.sum())} of {logits.numel()}" if broken.any() else "-inf for all"
    raise NonFiniteError(
        f"the logits of the next token must be finite, got {got}: the weights are damaged, or their training diverged; "
        "take an earlier checkpoint"
    )


def check_options(temperature: float, top_k: int | None, top_p: float | None) -> None:
    if not 0 <= temperature < float("inf"):
        raise ArgumentError(
            f"{option('temperature')} must be finite and >= 0, got {temperature}: 0 takes the most probable token"
        )
    require(top_k is None or top_k >= 1, option("top_k"), "be >= 1", top_k, "None is off")
    require(top_p is None or 0 < top_p <= 1, option("top_p"), "be in (0, 1]", top_p, "None is off")


def banned_ids(vocabulary: Collection[int], vocab_size: int) -> Tensor | None:
    """[V], True where an id is none of the vocabulary; None where all are in it."""
    inside = [id for id in vocabulary if 0 <= id < vocab_size]
    require(len(inside) > 0, "vocabulary", f"hold an id in [0, {vocab_size})", f"{len(vocabulary)} others")
    banned = torch.ones(vocab_size, dtype=torch.bool)
    banned[inside] = False
    return banned if banned.any() else None


class DistributionKeywords(TypedDict, total=False):
    """What tokens are drawn from, as keywords for who only passes them on; `sample` says what each means."""

    temperature: float
    top_k: int | None
    top_p: float | None
    vocabulary: Collection[int] | None


class DrawKeywords(DistributionKeywords, total=False):
    """How they are drawn from it."""

    seed: int | None
    stop_ids: Collection[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawOptions:
    """How tokens are drawn, checked; made by `of`."""

    temperature: float
    top_k: int | None
    top_p: float | None
    banned: Tensor | None  # [V], True where an id is none of the vocabulary; None where all are in it

    @classmethod
    def of(
        cls,
        vocab_size: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        vocabulary: Collection[int] | None = None,
    ) -> Self:
        """The options of `sample`.

        Raises:
            ArgumentError: one breaks its rule.
        """
        check_options(temperature, top_k, top_p)
        banned = None if vocabulary is None else banned_ids(vocabulary, vocab_size)
        return cls(temperature=temperature, top_k=top_k, top_p=top_p, banned=banned)

    @property
    def greedy(self) -> bool:
        """Whether the most probable token is taken each time."""
        return self.temperature < _GREEDY_BELOW or self.top_k == 1

    def probabilities(self, logits: Tensor) -> Tensor:
        """The distribution [.., V] float32 that is drawn from.

        Raises:
            NonFiniteError: the logits are NaN or infinite.
        """
        if self.banned is not None:  # what is masked is not seen below
            require_numbers(logits)
        return next_token_probabilities(
            self._allowed(logits), temperature=self.temperature, top_k=self.top_k, top_p=self.top_p
        )

    def most_probable(self, logits: Tensor) -> Tensor:
        """The id [..] of the largest of the logits [.., V], the first of equal ones: what greedy decoding takes.

        Raises:
            NonFiniteError: the logits are NaN or infinite.
        """
        largest, ids = self._allowed(logits).max(-1)
        if self.banned is not None or not largest.isfinite().all():  # the largest of a row with a NaN is NaN
            require_numbers(logits)
        return ids

    def _allowed(self, logits: Tensor) -> Tensor:
        return logits if self.banned is None else logits.masked_fill(self.banned.to(logits.device), -torch.inf)


def prompt_of(ids: object, *, vocab_size: int) -> list[int]:
    """The ids of a prompt, each in [0, vocab_size).

    Raises:
        ArgumentError: none, an id that the model has not, or a Tensor with more than one dimension.
        ArgumentTypeError: they are no ids.
    """
    prompt = _listed(ids)
    require(len(prompt) > 0, "ids", "hold at least one token", "an empty prompt", "begin with the end-of-text token")
    outside = [id for id in prompt if not 0 <= id < vocab_size]
    require(not outside, "ids", f"be in [0, {vocab_size})", outside[:1])
    return prompt


def _listed(ids: object) -> list[int]:
    if isinstance(ids, Tensor):
        require(ids.dim() == 1, "ids", "be [T], one prompt", tuple(ids.shape))
        ids = ids.tolist()
    if isinstance(ids, str) or not isinstance(ids, Sequence | np.ndarray):
        raise ArgumentTypeError(f"ids must be a list of token ids, got {type(ids).__name__}: encode the text")
    try:
        return [operator.index(id) for id in ids]
    except TypeError:
        raise ArgumentTypeError("ids must be a list of token ids, got one with other things in it") from None
