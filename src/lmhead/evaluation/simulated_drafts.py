"""Simulated drafts: how many tokens a forward of greedy speculative decoding writes, from one pass over texts.

A cycle of decoding drafts behind the newest token, verifies in one forward, keeps the drafts that the main head would
have chosen, and writes one token more. Over a text that the model wrote itself by greedy decoding the cycles are those
of decoding, one by one; over another text they are those of a decoder that is held to it.

Not here: decoding itself (lmhead.generation).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from lmhead.errors import require, require_kind
from lmhead.evaluation.draft_scores import accepted_drafts
from lmhead.labels.targets import Targets
from lmhead.models.multi_token.multi_token_model import MultiTokenModel

_TOKENS: Final = 8192  # read at once, padding included


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedDrafts:
    """The cycles of one or several texts, added up."""

    tokens: int  # written by the cycles
    forwards: int  # cycles: each drafts at every depth, and verifies in one forward of the main model
    accepted: tuple[int, ...]  # of each depth: in how many cycles its draft was kept

    @property
    def tokens_per_forward(self) -> float | None:
        """Between 1 and 1 + K; None of no cycle."""
        return self.tokens / self.forwards if self.forwards else None

    @property
    def acceptance(self) -> tuple[float, ...] | None:
        """Of each depth the share of the cycles that keep its draft, and so all before it; None of no cycle."""
        return tuple(each / self.forwards for each in self.accepted) if self.forwards else None


@torch.no_grad()
def simulate_drafts(
    model: MultiTokenModel, rows: Sequence[Sequence[int] | Tensor], *, begin: int | Sequence[int] = 1
) -> SimulatedDrafts:
    """The cycles of speculative decoding that write each row's tokens from `begin` on, without decoding.

    The first token behind a prompt comes from the forward that reads the prompt, which is no cycle. The last cycle of a
    row may have less to write than it could.

    Args:
        rows: ids, each at most `model.max_seq_len` of them. Where those from `begin` on are what
            `sample(model, row[:begin], temperature=0)` yields, the cycles are those of decoding.
        begin: how many ids of each row are its prompt, at least one: of all rows, or of each.

    Raises:
        ArgumentError: a row is too long, or its prompt is.

    Example:
        >>> from lmhead import GPT
        >>> _ = torch.manual_seed(0)
        >>> model = MultiTokenModel.behind(GPT(vocab_size=4, embed_dim=4, num_heads=2, num_layers=2), depth=2)
        >>> simulate_drafts(model, [[0, 1, 2, 3, 0, 1]], begin=2).tokens  # of the four, one comes with the prompt
        3
    """
    require_kind("model", model, MultiTokenModel)
    require(len(rows) > 0, "rows", "hold at least one row", "none")
    ids = [torch.as_tensor(row) for row in rows]
    begins = [begin] * len(ids) if isinstance(begin, int) else list(begin)
    require(len(begins) == len(ids), "begin", f"be one number, or {len(ids)}, one a row", len(begins))
    for row, prompt in zip(ids, begins, strict=True):
        require(1 <= prompt <= len(row), "begin", f"be from 1 to the {len(row)} tokens of its row", prompt)
        require(len(row) <= model.max_seq_len, "rows", f"have at most {model.max_seq_len} tokens", len(row))
    was_training = model.training
    model.eval()
    try:
        made = [
            _cycles(drafts, len(ids[place]), begins[place], model.depth)
            for places in _together([len(row) for row in ids])
            for place, drafts in zip(places, _accepted(model, [ids[place] for place in places]), strict=True)
        ]
    finally:
        model.train(was_training)
    return SimulatedDrafts(
        tokens=sum(each.tokens for each in made),
        forwards=sum(each.forwards for each in made),
        accepted=tuple(sum(each.accepted[k] for each in made) for k in range(model.depth)),
    )


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


def _cycles(accepted: Sequence[int], length: int, begin: int, depth: int) -> SimulatedDrafts:
    """Of one row; each cycle goes on behind what the one before has written."""
    forwards, kept, newest = 0, [0] * depth, begin  # place of the newest token, which the main model has not read yet
    while newest < length - 1:
        room = length - 1 - newest  # tokens to come
        drafts = min(accepted[newest - 1], room)
        kept = [each + (k < drafts) for k, each in enumerate(kept)]
        forwards += 1
        newest += min(drafts + 1, room)
    return SimulatedDrafts(tokens=max(length - 1 - begin, 0), forwards=forwards, accepted=tuple(kept))
