"""Rounds of speculative decoding: the modules draft, the model reads the drafts at once, and what it agrees with stays.

    window  t_0 .. t_{n-1}     read by the model up to t_{n-2}: its state there, h, predicted t_{n-1}, which is pending
    draft   module 1 (h, t_{n-1}) -> d_1, module 2 (its state, d_1) -> d_2, ..      at the place n - 2, each in turn
    verify  the model reads t_{n-1}, d_1 .. d_K at once: what it says behind each is compared with the next
    then    a drafts and a token more are in the window; the rest is read over

What a module has read with a draft that was wrong, it reads again with the true token before it drafts anew: so drafts
are those of a module that sees the row's own tokens, as in training. Not here: the public calls (speculative.py).
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from lmhead.generation.acceptance import accept
from lmhead.generation.draft_counts import DraftCounts
from lmhead.generation.next_token import DrawOptions
from lmhead.heads.parallel_multi_token import MultiTokenPredictionHead
from lmhead.models.multi_token.draft_reader import Span
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.models.multi_token.predictor import MultiTokenPredictor


@dataclass(slots=True, kw_only=True, eq=False)
class _Row:
    index: int  # among the reader's rows
    window: list[int]  # what the model sees; the last is pending, once it has read one
    made: int = 0  # tokens
    begun: bool = False  # the model has read the window but its pending token
    drafted_to: int = 0  # places of which the modules have read the true tokens, at every depth
    ended: bool = False


@dataclass(slots=True, kw_only=True)
class _Drafts:
    ids: Tensor  # [B, K]
    probabilities: list[Tensor] = field(default_factory=list)  # K of [B, V], on the CPU; none where greedy


@final
class Speculator:
    """The rows of a batch, taken from round to round."""

    def __init__(
        self,
        model: MultiTokenModel,
        prompts: Sequence[list[int]],
        *,
        max_new_tokens: int,
        draft_tokens: int,
        options: DrawOptions,
        seed: int | None,
        stop_ids: Collection[int],
    ) -> None:
        longest = model.max_seq_len
        self._model, self._limit, self._depth = model, max_new_tokens, draft_tokens
        self._options, self._stop_ids, self._longest = options, frozenset(stop_ids), longest
        self._generator = None if seed is None else torch.Generator().manual_seed(seed)
        self._rows = [_Row(index=index, window=prompt[-longest:]) for index, prompt in enumerate(prompts)]
        self._room = min(longest, max(len(row.window) for row in self._rows) + max_new_tokens)
        modules = 0 if isinstance(model.mtp, MultiTokenPredictionHead) else draft_tokens
        self._reader = model.main.draft_reader(rows=len(prompts), room=self._room, depth=modules)
        self._states: Tensor | None = None  # [rows, room, D]: of the model, those that the modules read
        self._device = next(model.parameters()).device
        self.counts = DraftCounts.of_depths(draft_tokens)

    def rounds(self) -> Iterator[list[tuple[int, list[int]]]]:
        """(row, its new tokens) of each row that a round was for; a stop id ends a row and is not among them."""
        if self._limit == 0:
            return
        was_training = self._model.training
        self._model.eval()
        try:
            while active := [row for row in self._rows if not row.ended]:
                fresh = [row for row in active if not row.begun or len(row.window) > self._longest]
                if fresh:
                    yield self._begin(fresh)
                    active = [row for row in active if not row.ended and len(row.window) <= self._longest]
                if active:
                    yield self._verified(active, self._drafted(active))
        finally:
            self._model.train(was_training)

    @torch.inference_mode()
    def _begin(self, rows: list[_Row]) -> list[tuple[int, list[int]]]:
        """Read windows from their beginning: prompts, or the last half of what is full."""
        for row in rows:
            if row.begun:
                row.window = row.window[-max(1, self._longest // 2) :]
            row.begun, row.drafted_to = True, 0
        span = Span([row.index for row in rows], [0] * len(rows), [len(row.window) for row in rows])
        normed = self._read(self._tensor([row.window for row in rows]), span)
        last = _last(normed, span)
        logits = self._model.lm_head(last)
        if self._options.greedy:
            drawn = self._options.most_probable(logits)
        else:
            drawn = torch.multinomial(self._options.probabilities(logits.cpu()), 1, generator=self._generator)[:, 0]
        return [(row.index, self._said(row, [token])) for row, token in zip(rows, drawn.tolist(), strict=True)]

    def _room_for_drafts(self, row: _Row) -> int:
        """Drafts that fit into the row's context, and into what is still to be made beside the token behind them."""
        return min(self._depth, self._longest - len(row.window), self._limit - row.made - 1)

    @torch.inference_mode()
    def _drafted(self, rows: list[_Row]) -> _Drafts:
        """The drafts of each row behind its pending token; those that a row has no room for are not looked at."""
        depth = max(map(self._room_for_drafts, rows))
        if depth < 1:
            return _Drafts(ids=torch.empty(len(rows), 0, dtype=torch.long, device=self._device))
        # Rows that were begun have all their places to be read by the modules, others the last ones: not in one tensor.
        far = [len(row.window) - 1 - row.drafted_to > depth + 1 for row in rows]
        if all(far) or not any(far):
            return self._drafted_together(rows, depth)
        places = [[at for at, each in enumerate(far) if each is which] for which in (True, False)]
        parts = [self._drafted_together([rows[at] for at in part], depth) for part in places]
        order = torch.tensor(places[0] + places[1]).argsort()
        pairs = zip(parts[0].probabilities, parts[1].probabilities, strict=True)
        return _Drafts(
            ids=torch.cat([part.ids for part in parts])[order.to(self._device)],
            probabilities=[torch.cat(pair)[order] for pair in pairs],
        )

    def _drafted_together(self, rows: list[_Row], depth: int) -> _Drafts:
        mtp = self._model.mtp
        if isinstance(mtp, MultiTokenPredictionHead):
            return self._drafted_by_heads(mtp, rows, depth)
        return self._drafted_by_modules(mtp, rows, depth)

    def _drafted_by_heads(self, mtp: MultiTokenPredictionHead, rows: list[_Row], depth: int) -> _Drafts:
        at = [len(row.window) - 2 for row in rows]
        state = self._stored(Span([row.index for row in rows], at, [1] * len(rows)))[:, 0]
        chosen = [self._choose(head(state)) for head in mtp.heads[:depth]]
        probabilities = [q for _, q in chosen if q is not None]
        return _Drafts(ids=torch.stack([ids for ids, _ in chosen], 1), probabilities=probabilities)

    def _drafted_by_modules(self, mtp: MultiTokenPredictor, rows: list[_Row], depth: int) -> _Drafts:
        start = [row.drafted_to for row in rows]
        span = Span([row.index for row in rows], start, [len(row.window) - 1 - row.drafted_to for row in rows])
        hidden = self._stored(span)
        known = [row.window[row.drafted_to + 1 :] for row in rows]
        ahead = self._reader.embed(self._tensor(known))  # of the token behind each place
        made = _Drafts(ids=torch.empty(0))
        ids: list[Tensor] = []
        for k in range(1, depth + 1):
            if k > 1:
                ahead = _moved_on(ahead, self._reader.embed(ids[-1][:, None]), span)
            read = _zeroed(ahead, span) if mtp.style.zero_first else ahead
            states, normed = self._reader.module(k, mtp.module(k), hidden, read, span)
            hidden = normed if mtp.style.chain == "normed" else states
            token, q = self._choose(self._model.lm_head(_last(normed, span)))
            ids.append(token)
            if q is not None:
                made.probabilities.append(q)
        made.ids = torch.stack(ids, 1)
        return made

    def _choose(self, logits: Tensor) -> tuple[Tensor, Tensor | None]:
        """A draft of each row [B], and the distribution [B, V] that it was drawn from."""
        if self._options.greedy:
            return self._options.most_probable(logits), None
        q = self._options.probabilities(logits.cpu())
        return torch.multinomial(q, 1, generator=self._generator)[:, 0].to(logits.device), q

    @torch.inference_mode()
    def _verified(self, rows: list[_Row], drafts: _Drafts) -> list[tuple[int, list[int]]]:
        """Read the pending tokens and the drafts; what is taken of them, and the token behind that."""
        room = [max(0, min(self._room_for_drafts(row), drafts.ids.shape[1])) for row in rows]
        span = Span([row.index for row in rows], [len(row.window) - 1 for row in rows], [1 + count for count in room])
        pending = torch.tensor([row.window[-1:] for row in rows], device=self._device)
        normed = self._read(torch.cat([pending, drafts.ids[:, : span.width - 1]], 1), span)
        logits = self._model.lm_head(normed)
        new = self._greedy(logits, drafts, room) if self._options.greedy else self._drawn(logits, drafts, room)
        depth = drafts.ids.shape[1]
        said = []
        for row, count, tokens in zip(rows, room, new, strict=True):
            accepted = len(tokens) - 1
            self.counts.add(count, accepted)
            if depth:  # depth k read, at the place n - 2 and the k - 2 before it, what was drafted
                row.drafted_to = max(0, len(row.window) - 1 - max(0, depth - 1 - accepted))
            said.append((row.index, self._said(row, tokens)))
        return said

    def _greedy(self, logits: Tensor, drafts: _Drafts, room: list[int]) -> list[list[int]]:
        """The drafts of each row that the model would have taken, and the token that it takes behind them."""
        wanted, drafted = self._options.most_probable(logits).tolist(), drafts.ids.tolist()
        new = []
        for want, draft, count in zip(wanted, drafted, room, strict=True):
            accepted = 0
            while accepted < count and draft[accepted] == want[accepted]:
                accepted += 1
            new.append(want[: accepted + 1])
        return new

    def _drawn(self, logits: Tensor, drafts: _Drafts, room: list[int]) -> list[list[int]]:
        """The same for tokens that are drawn."""
        p = self._options.probabilities(logits.cpu())
        looked_at = p.shape[1] - 1
        q = torch.stack(drafts.probabilities[:looked_at], 1) if looked_at else p[:, :0]
        ids = drafts.ids[:, :looked_at].cpu()
        taken, behind = accept(ids, q, p, torch.tensor(room), generator=self._generator)
        rows = zip(ids.tolist(), taken.tolist(), behind.tolist(), strict=True)
        return [[*draft[:accepted], token] for draft, accepted, token in rows]

    def _said(self, row: _Row, tokens: list[int]) -> list[int]:
        """The tokens up to a stop id, which are the row's now."""
        stop = next((at for at, token in enumerate(tokens) if token in self._stop_ids), None)
        said = tokens if stop is None else tokens[:stop]
        row.window += said
        row.made += len(said)
        row.ended = stop is not None or row.made >= self._limit
        self.counts.tokens += len(said) + (stop is not None)
        return said

    def _read(self, ids: Tensor, span: Span) -> Tensor:
        """The model's states [B, T, D] behind its final norm; those that the modules read are kept."""
        normed, unnormed = self._reader.read(ids, span)
        self.counts.forwards += len(span.rows)
        mtp = self._model.mtp
        kept = unnormed if isinstance(mtp, MultiTokenPredictor) and mtp.style.main == "unnormed" else normed
        if self._states is None:
            self._states = kept.new_zeros(len(self._rows), self._room, kept.shape[-1])
        for at, (row, start, count) in enumerate(zip(span.rows, span.start, span.count, strict=True)):
            self._states[row, start : start + count] = kept[at, :count]
        return normed

    def _stored(self, span: Span) -> Tensor:
        """The kept states [B, T, D] of places that the model has read."""
        assert self._states is not None
        if len(span.rows) == 1:
            return self._states[span.rows[0], span.start[0] : span.start[0] + span.width][None]
        places = torch.tensor(span.start)[:, None] + torch.arange(span.width)
        places = places.clamp_(max=self._room - 1).to(self._device)
        return self._states[torch.tensor(list(span.rows), device=self._device)[:, None], places]

    def _tensor(self, rows: list[list[int]]) -> Tensor:
        """Ids [B, T] of rows of different lengths, with zeros behind."""
        longest = max(map(len, rows))
        return torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=self._device)


def _last(states: Tensor, span: Span) -> Tensor:
    """The states [B, D] of each row's last place."""
    if len(span.rows) == 1:
        return states[:, -1]
    return states[torch.arange(len(states)), [count - 1 for count in span.count]]


def _moved_on(ahead: Tensor, further: Tensor, span: Span) -> Tensor:
    """The embeddings [B, T, D] of one token further, which is `further` [B, 1, D] at each row's last place."""
    moved = torch.cat([ahead[:, 1:], further], 1)
    if len(set(span.count)) > 1:
        moved[torch.arange(len(moved)), [count - 1 for count in span.count]] = further[:, 0]
    return moved


def _zeroed(ahead: Tensor, span: Span) -> Tensor:
    """The same with zeros at the place 0 of each row."""
    first = torch.tensor([start == 0 for start in span.start], device=ahead.device)
    zeroed = ahead.clone()
    zeroed[first, 0] = 0.0
    return zeroed
