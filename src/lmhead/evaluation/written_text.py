"""Written text: what a model with multi-token prediction goes on to write behind held-out beginnings, and its drafts.

Held-out text is not what greedy decoding writes: where the model would have written something else, the drafts are
judged on a way that decoding does not go. Here it goes its own way, for some tokens, so that the tokens of a forward
are those of speculative decoding.
"""

from collections.abc import Callable, Iterator
from typing import Final

from lmhead.batches.contract import HeldOut, Part
from lmhead.evaluation.simulated_drafts import simulate_drafts
from lmhead.generation.draft_counts import DraftCounts
from lmhead.generation.sampling import sample
from lmhead.models.multi_token.multi_token_model import MultiTokenModel

TEXTS: Final = 16
_NEW: Final = 64  # tokens of each, at most


def drafts_of_written_text(
    model: MultiTokenModel, held_out: HeldOut, *, texts: int = TEXTS, each: Callable[[], None] = lambda: None
) -> DraftCounts:
    """What is counted of greedy speculative decoding that goes on from the beginnings of some held-out rows.

    Args:
        texts: so many at most.
        each: called behind each text; it may end this by raising.
    """
    rows, begins = [], []
    for prompt, count in _beginnings(held_out, texts, model.max_seq_len):
        rows.append([*prompt, *sample(model, prompt, max_new_tokens=count, temperature=0)])
        begins.append(len(prompt))
        each()
    return simulate_drafts(model, rows, begin=begins) if rows else DraftCounts()


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
        if count:
            yield ids[: first + 1], count
