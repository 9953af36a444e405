"""Simulated drafts: how many tokens a forward of greedy speculative decoding writes, from one pass over texts.

A cycle of decoding drafts behind the newest token, verifies in one forward, keeps the drafts that the main head would
have chosen, and writes one token more. Over a text that the model wrote itself by greedy decoding the cycles are those
of decoding, one by one; over another text they are those of a decoder that is held to it.

Not here: decoding itself (generation/speculative.py).
"""

from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from lmhead.errors import require, require_kind
from lmhead.evaluation.held_out.draft_scores import accepted_drafts
from lmhead.generation.draft_counts import DraftCounts
from lmhead.generation.next_token import prompt_of
from lmhead.labels.targets import Targets
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.ops.checks import require_sizes

_TOKENS: Final = 8192  # read at once, padding included


@torch.no_grad()
def simulate_drafts(
    model: MultiTokenModel, rows: Sequence[Sequence[int] | Tensor], *, begin: int | Sequence[int] = 1
) -> DraftCounts:
    """What speculative decoding counts that writes each row's tokens from `begin` on, without decoding.

    The first token behind a prompt comes from the read of the prompt; the last cycle of a row drafts no more than there
    is to write.

    Args:
        rows: ids, each at most `model.max_seq_len` of them. Where those from `begin` on are what
            `sample(model, row[:begin], temperature=0)` yields, the counts are those of `speculate`.
        begin: how many ids of each row are its prompt, at least one: of all rows, or of each.

    Raises:
        ArgumentError: a row is too long, or its prompt is.
        ArgumentTypeError: `model` has no modules that draft, or rows are no lists of ids.

    Example:
        >>> from lmhead import GPT
        >>> _ = torch.manual_seed(0)
        >>> model = MultiTokenModel.behind(GPT(vocab_size=4, embed_dim=4, num_heads=2, num_layers=2), depth=2)
        >>> counts = simulate_drafts(model, [[0, 1, 2, 3, 0, 1]], begin=2)
        >>> counts.tokens, counts.forwards <= 4
        (4, True)
    """
    require_kind("model", model, MultiTokenModel)
    require_kind("rows", rows, Sequence, "a list of rows; one is [ids]")
    require(len(rows) > 0, "rows", "hold at least one row", "none")
    ids = [torch.tensor(prompt_of(row, vocab_size=model.vocab_size)) for row in rows]
    if not isinstance(begin, Sequence):
        begin = [begin] * len(ids)
    require(len(begin) == len(ids), "begin", f"be one number, or {len(ids)}, one a row", len(begin))
    for row, prompt in zip(ids, begin, strict=True):
        require_sizes(begin=prompt)
        require(prompt <= len(row), "begin", f"be at most {len(row)}, the tokens of its row", prompt)
        require(len(row) <= model.max_seq_len, "rows", f"have at most {model.max_seq_len} tokens", len(row))
    was_training = model.training
    model.eval()
    counts = DraftCounts.of_depths(model.depth)
    try:
        for places in _together([len(row) for row in ids]):
            for place, accepted in zip(places, _accepted(model, [ids[place] for place in places]), strict=True):
                _count(counts, accepted, len(ids[place]), begin[place])
    finally:
        model.train(was_training)
    return counts


def _together(lengths: Sequence[int]) -> list[list[int]]:
    """Places of rows that are read at once, the longest first."""
    groups: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        if not groups or (len(groups[-1]) + 1) * lengths[groups[-1][0]] > _TOKENS:
            groups.append([])
        groups[-1].append(place)
    return groups


def _accepted(model: MultiTokenModel, rows: Sequence[Tensor]) -> list[list[int]]:
    """Of each row, how many drafts in a row are accepted from each position."""
    device = next(model.parameters()).device
    longest = max(max(map(len, rows)), model.depth + 1)  # padding stands behind, where a causal model does not look
    ids = torch.stack([F.pad(row, (0, longest - len(row))) for row in rows]).to(device)
    targets = Targets.from_targets(ids.roll(-1, 1))  # any will do: what is asked for are the most probable tokens
    _, statistics = model.multi_token_loss(ids, targets, top_k=1)
    lengths: list[list[int]] = accepted_drafts(statistics)[0].tolist()
    return lengths


def _count(counts: DraftCounts, accepted: Sequence[int], length: int, begin: int) -> None:
    """Add a row: the read of its prompt, then the cycles, each going on behind what the one before has written."""
    if begin == length:
        return
    newest = begin  # place of the newest token, which the main model has not read yet
    counts.forwards, counts.tokens = counts.forwards + 1, counts.tokens + length - begin
    while newest < length - 1:
        drafted = min(len(counts.drafted), length - newest - 2)  # the cycle writes one token more
        kept = min(accepted[newest - 1], drafted)
        counts.add(drafted, kept)
        counts.forwards += 1
        newest += kept + 1
