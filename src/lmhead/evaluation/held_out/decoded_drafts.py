"""Decoded drafts: what is counted where a model goes on to write behind held-out beginnings, and drafts for itself.

Held-out text is not what a model writes: where it would have written something else, drafts are judged on a way that
decoding does not go. Here it goes its own way for some tokens, greedily or by sampling.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Final

from lmhead.batches.contract import HeldOut, Part
from lmhead.generation.draft_counts import DraftCounts
from lmhead.generation.speculative import speculate
from lmhead.models.multi_token.multi_token_model import MultiTokenModel

TEXTS: Final = 32
_NEW: Final = 64  # tokens of each, at most
_TOGETHER: Final = 8  # texts of a batch


def decoded_drafts(
    model: MultiTokenModel,
    held_out: HeldOut,
    *,
    temperature: float,
    texts: int = TEXTS,
    each: Callable[[], None] = lambda: None,
) -> DraftCounts:
    """What is counted of speculative decoding that goes on from the beginnings of held-out rows; the same every time.

    Args:
        temperature: 0 is greedy.
        texts: so many at most.
        each: called behind each batch; it may end this by raising.
    """
    counts = DraftCounts.of_depths(model.depth)
    alike = defaultdict[int, list[list[int]]](list)
    for prompt, length in _beginnings(held_out, texts, model.max_seq_len):
        alike[length].append(prompt)
    for length, prompts in alike.items():
        for first in range(0, len(prompts), _TOGETHER):
            batch = prompts[first : first + _TOGETHER]
            made = speculate(model, batch, max_new_tokens=length, temperature=temperature, seed=counts.forwards)
            counts.merge(made.counts)
            each()
    return counts


def _beginnings(held_out: HeldOut, texts: int, longest: int) -> Iterator[tuple[list[int], int]]:
    """(ids, tokens to write) of rows spread over the data: what stands before what is scored, and at most as much."""
    rows = [
        (ids, scored)
        for batch in held_out.batches(Part())
        for ids, scored in zip(batch.ids.tolist(), batch.targets.scored.tolist(), strict=True)
        if any(scored)
    ]
    for ids, scored in rows[:: -(-len(rows) // texts) or 1]:
        first = scored.index(True)
        run = [*scored[first:], False].index(False)
        count = min(run, _NEW, longest - first - 1)
        if count > 0:
            yield ids[: first + 1], count
