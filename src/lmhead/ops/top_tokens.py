"""The k largest logits of each row and whose they are, the lower id first among equals: the alternatives to a target.

torch.topk leaves open which of equal numbers it takes, and logits of 16-bit products are often equal. In the order
(logit falling, id rising) no two are. The k first lie within the k blocks of columns that are first by (largest logit
falling, place rising): before an entry of any other block comes at least one of each of these. So all columns are
looked at once, for the blocks' largest, and k blocks of them again: the time of one exponential of the row.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from lmhead.ops.row_reader import KnownRows, RowReader
from lmhead.ops.sharded.collectives import gathered
from lmhead.ops.sharded.held_rows import HeldRows

_BLOCK = 64  # columns: the fastest of 32, 64 and 128 for V from 1,000 to 150,000


class TopTokens(RowReader):
    """The most probable tokens of each row, and their log p, falling, nats."""

    makes: ClassVar[frozenset[str]] = frozenset({"top_ids", "top_logprobs"})

    def __init__(self, counts: Mapping[str, int]) -> None:
        super().__init__(counts)
        self.k = counts["top_ids"]
        self.parts: dict[int, tuple[Tensor, Tensor]] = {}  # by first row: (logits, ids) [R, k] of the columns so far

    def read(self, logits: Tensor, rows: slice, start: int) -> None:
        """Join those of some rows' tile to those of the tiles before."""
        k, before = min(self.k, logits.shape[1]), self.parts.get(rows.start)
        if before is None:
            values, columns = largest(logits, k)
            self.parts[rows.start] = values, columns + start
        elif before[0].shape[1] < self.k:
            values, columns = largest(logits, k)
            self.parts[rows.start] = joined(before, (values, columns + start), self.k)
        else:  # most rows have nothing in a later tile that is larger than the last of their list; equal is not enough
            values, ids = before
            better = (logits.amax(1) > values[:, -1]).nonzero()[:, 0]
            found, columns = largest(logits, k, better)
            values[better], ids[better] = joined((values[better], ids[better]), (found, columns + start), self.k)

    @classmethod
    def join(cls, readers: Sequence[RowReader], shard: HeldRows) -> None:
        """The first of all ranks' lists, in one collective."""
        lists = [reader._list() for reader in readers if isinstance(reader, cls)]
        k = readers[0].counts["top_ids"]
        values, ids = (torch.cat(parts) for parts in zip(*lists, strict=True))
        values, ids = first_of_all_ranks(values, ids + shard.start, k, shard)
        sizes = [len(of_rows) for of_rows, _ in lists]
        for reader, *part in zip(readers, torch.split(values, sizes), torch.split(ids, sizes), strict=True):
            assert isinstance(reader, cls)
            reader.parts = {0: (part[0], part[1])}

    def _list(self) -> tuple[Tensor, Tensor]:
        values, ids = (torch.cat(parts) for parts in zip(*self.parts.values(), strict=True))
        return values, ids

    def outputs(self, known: KnownRows) -> dict[str, Tensor]:
        """Their log p: of a target, and of what is as probable, -nll to the last digit."""
        logits, ids = self._list()
        logprobs = logits - known.top - known.log_total
        for k in range(known.nll.shape[1]):
            of_target = (part[:, k, None] for part in (known.z_target, known.nll, known.scored))
            z_target, nll, scored = of_target
            logprobs = torch.where(scored & (logits == z_target), -nll, logprobs)
        return {"top_ids": ids, "top_logprobs": logprobs}


def largest(
    logits: Tensor,  # [R, W]
    k: int,  # at most W
    rows: Tensor | None = None,  # [r] int64, the rows that are asked for; None: all
) -> tuple[Tensor, Tensor]:
    """(the k largest logits of each row, falling; their columns int64), each [r, k].

    Example:
        >>> largest(torch.tensor([[1.0, 3.0, 2.0, 3.0]]), 3)
        (tensor([[3., 3., 2.]]), tensor([[1, 3, 2]]))
    """
    columns = _among_blocks(logits, k, rows)
    return _first(_at(logits, rows, columns), columns, k)


def joined(
    before: tuple[Tensor, Tensor],  # (values, ids), as `largest` gives them
    after: tuple[Tensor, Tensor],  # the same of columns that come after all of those
    k: int,
) -> tuple[Tensor, Tensor]:
    """(the k largest of both, their ids), each [R, k], or as many as there are."""
    values, ids = (torch.cat(parts, 1) for parts in zip(before, after, strict=True))
    return _first(values, ids, k)


def first_of_all_ranks(
    values: Tensor,  # [n, at most k], as `largest` gives them
    ids: Tensor,  # the same, of the whole head
    k: int,  # at most V
    shard: HeldRows,
) -> tuple[Tensor, Tensor]:
    """(the k largest logits of all ranks' columns, their ids), each [n, k]."""
    dtype, missing = (
        values.dtype,
        k - values.shape[1],
    )  # of a rank with fewer columns: behind every id, however small a logit is
    values = torch.nn.functional.pad(values.double(), (0, missing), value=-torch.inf)
    ids = torch.nn.functional.pad(ids, (0, missing), value=shard.vocab_size)
    parts = gathered(torch.stack([values, ids.double()]), shard.group)
    of_all, whose = torch.cat(parts, 2).unbind()
    order = whose.argsort(dim=1, stable=True)
    of_all, whose = _first(of_all.gather(1, order), whose.gather(1, order), k)
    return of_all.to(dtype), whose.long()


def _first(values: Tensor, ids: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of few, whose ids rise where they are equal."""
    falling, order = torch.sort(values, dim=1, descending=True, stable=True)
    return falling[:, :k], ids.gather(1, order[:, :k])


def _among_blocks(x: Tensor, k: int, rows: Tensor | None) -> Tensor:
    """The columns [r, k] of the k largest, rising."""
    W = x.shape[1]
    if k >= W / (2 * _BLOCK):
        return _among_few(x if rows is None else x[rows], k)
    blocks = W // _BLOCK
    of_blocks = x[:, : blocks * _BLOCK].reshape(-1, blocks, _BLOCK).amax(-1)
    within = torch.arange(_BLOCK, device=x.device)
    columns = (_among_blocks(of_blocks, k, rows)[:, :, None] * _BLOCK + within).flatten(1)
    beyond = torch.arange(blocks * _BLOCK, W, device=x.device).expand(len(columns), -1)  # the last, narrower block
    columns = torch.cat([columns, beyond], 1)
    return columns.gather(1, _among_few(_at(x, rows, columns), k))


def _at(x: Tensor, rows: Tensor | None, columns: Tensor) -> Tensor:
    """The entries of some rows at columns [r, ...] of each."""
    return x.gather(1, columns) if rows is None else x[rows[:, None], columns]


def _among_few(x: Tensor, k: int) -> Tensor:
    """The same, all columns compared with the k-th largest: those above it, and of its equals the first."""
    W = x.shape[1]
    least = x.topk(k, dim=1).values[:, -1:]
    earlier = torch.arange(W, 0, -1, device=x.device)
    place = torch.where(x > least, W + 1, torch.where(x == least, earlier, 0))
    return place.topk(k, dim=1).indices.sort(dim=1).values
