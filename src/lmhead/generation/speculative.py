"""Speculative decoding: the modules of multi-token prediction draft, the model verifies several tokens in one pass.

Greedy, it gives the tokens that plain greedy decoding gives; drawn, tokens of the same distribution (acceptance.py). So
the drafts decide how long it takes, never what comes out; only where two logits are equal up to rounding may another of
them win, since several rows are summed in another order than one.

Not here: the rounds (speculator.py).
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Unpack, final

from torch import Tensor

from lmhead.errors import ArgumentTypeError, require, require_kind
from lmhead.generation.draft_counts import DraftCounts
from lmhead.generation.next_token import DistributionKeywords, DrawKeywords, DrawOptions, prompt_of
from lmhead.generation.speculator import Speculator
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.ops.checks import require_sizes
from lmhead.ops.keywords import require_known
from lmhead.options import option


@dataclass(frozen=True, slots=True, kw_only=True)
class Speculation:
    """What `speculate` made."""

    tokens: list[list[int]]  # of each prompt, in its order
    counts: DraftCounts


def speculate(
    model: MultiTokenModel,
    prompts: Sequence[Sequence[int] | Tensor],  # each [T]
    *,
    max_new_tokens: int,
    draft_tokens: int | None = None,
    **options: Unpack[DrawKeywords],
) -> Speculation:
    """Token ids that continue each of a batch of prompts, as `sample` continues one, in fewer passes of the model.

    Args:
        draft_tokens: drafted before each pass; None: as many as the model has depths. A module that stands alone drafts
            any number, on its own states; several, or heads, as many as there are.
        options: `temperature`, `top_k`, `top_p`, `stop_ids`, `vocabulary`, for model and drafts alike, and `seed`, of
            the draws of the whole batch, as in `sample`.

    Raises:
        ArgumentError: a prompt is empty or longer than the context, or an option breaks its rule.
        NonFiniteError: the model's logits are NaN or infinite.
        ArgumentTypeError: `model` has no modules that draft, or prompts are no lists of ids.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> from lmhead import GPT
        >>> model = MultiTokenModel.behind(GPT(vocab_size=4, embed_dim=4, num_heads=2, num_layers=2), depth=2)
        >>> made = speculate(model, [[0, 1], [2]], max_new_tokens=20, temperature=0)
        >>> [len(tokens) for tokens in made.tokens], made.counts.forwards <= 40
        ([20, 20], True)

    Source: Leviathan et al., "Fast Inference from Transformers via Speculative Decoding" (2023).
    """
    speculator = _speculator(model, prompts, max_new_tokens=max_new_tokens, draft_tokens=draft_tokens, **options)
    tokens: list[list[int]] = [[] for _ in prompts]
    for made in speculator.rounds():
        for row, new in made:
            tokens[row] += new
    return Speculation(tokens=tokens, counts=speculator.counts)


@final
class SpeculativeTokens(Iterator[int]):
    """The tokens of one prompt as they come, and `counts` so far; made by `speculative_sample`."""

    def __init__(self, speculator: Speculator) -> None:
        self._tokens = (token for made in speculator.rounds() for _, new in made for token in new)
        self.counts = speculator.counts

    def __next__(self) -> int:
        return next(self._tokens)


def speculative_sample(
    model: MultiTokenModel,
    ids: Sequence[int] | Tensor,  # [T]
    *,
    max_new_tokens: int,
    draft_tokens: int | None = None,
    **options: Unpack[DrawKeywords],
) -> SpeculativeTokens:
    """Token ids that continue `ids`, one by one, as `sample` gives them; arguments as in `speculate`.

    Raises:
        ArgumentError: a prompt that is empty or longer than the context, or an option breaks its rule; at the call,
            before anything is drawn.
        NonFiniteError: the model's logits are NaN or infinite; when the token is drawn.
        ArgumentTypeError: `model` has no modules that draft, or `ids` are none.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> from lmhead import GPT
        >>> model = MultiTokenModel.behind(GPT(vocab_size=4, embed_dim=4, num_heads=2, num_layers=2), depth=2)
        >>> tokens = speculative_sample(model, [0, 1], max_new_tokens=20, temperature=0)
        >>> len(list(tokens)), tokens.counts.tokens
        (20, 20)
    """
    speculator = _speculator(model, [ids], max_new_tokens=max_new_tokens, draft_tokens=draft_tokens, **options)
    return SpeculativeTokens(speculator)


def _speculator(
    model: object,
    prompts: object,
    *,
    max_new_tokens: int,
    draft_tokens: int | None,
    seed: int | None = None,
    stop_ids: Collection[int] = (),
    **options: Unpack[DistributionKeywords],
) -> Speculator:
    require_known("speculate", options, DistributionKeywords)
    model = require_drafts("model", model)
    if isinstance(prompts, str | Tensor) or not isinstance(prompts, Sequence):
        raise ArgumentTypeError(f"prompts must be a list of prompts, got {type(prompts).__name__}: one is [ids]")
    require(len(prompts) > 0, "prompts", "hold at least one prompt", "none")
    ids = [prompt_of(prompt, vocab_size=model.vocab_size) for prompt in prompts]
    context = model.max_seq_len
    for at, prompt in enumerate(ids):
        rule, remedy = f"hold at most the {context} tokens of the model's context", f"give its last {context}"
        require(len(prompt) <= context, f"prompts[{at}]", rule, len(prompt), remedy)
    require_sizes(max_new_tokens=max_new_tokens, least=0)
    return Speculator(
        model,
        ids,
        max_new_tokens=max_new_tokens,
        draft_tokens=_checked_depth(model, draft_tokens),
        options=DrawOptions.of(model.vocab_size, **options),
        seed=seed,
        stop_ids=stop_ids,
    )


def _checked_depth(model: MultiTokenModel, draft_tokens: int | None) -> int:
    if draft_tokens is None:
        return model.depth
    require_sizes(draft_tokens=draft_tokens, least=0)
    require(draft_tokens >= 1, option("draft_tokens"), "be >= 1", draft_tokens)
    require(
        model.most_drafts is None or draft_tokens <= model.most_drafts,
        option("draft_tokens"),
        f"be at most {model.depth}, the model's depths",
        draft_tokens,
        "a module that stands alone drafts any number",
    )
    return draft_tokens


def require_drafts(name: str, model: object) -> MultiTokenModel:
    """The model, where it drafts.

    Raises:
        ArgumentTypeError: it has no modules of multi-token prediction.
    """
    require_kind(
        name, model, MultiTokenModel, "only a model trained with multi-token prediction (lmhead train --mtp 1) drafts"
    )
    assert isinstance(model, MultiTokenModel)
    return model
