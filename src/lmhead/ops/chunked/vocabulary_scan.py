"""A row's columns from tiles of the vocabulary, with a running softmax: the forward where no whole row is needed.

    for each chunk of rows, some thousand:
        for each tile of the vocabulary:                 some thousand columns
            logits = hidden @ weight[tile].T             a product of this form runs faster than one over all columns,
            top, sum of exponentials of each row         and what it leaves is read while it is still in a cache
            joined to those of the tiles before
    where the head is cut over ranks:                    joined to those of the other ranks, all rows at once

The target's logit is taken out of its tile before the sum, so that what is summed is the others' exponentials.
Not here: several targets for a row, and ranks, which compare every logit with the target's: it is known only in the
target's tile, and made by another product it would differ in the last digits (both need the row whole: row_softmax.py).
But of a head that is cut no rank has the row whole: ranks are counted in the same tiles, made a second time.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lmhead.ops.problem import Problem
from lmhead.ops.products.head_products import HeadProducts
from lmhead.ops.products.logit_transform import LogitTransform
from lmhead.ops.products.tiles import Tiles, slices
from lmhead.ops.row_terms import LEAST, RowCoefficients, RowTerms, needs_moment
from lmhead.ops.sharded import collectives
from lmhead.ops.sharded.join import ColumnSums, rebased

_ROWS, _COLUMNS = 4096, 4096  # of a tile: beyond these no product gets faster (benchmarks/LOG.md, 2026-11-23)


def runs(problem: Problem) -> bool:
    """Whether a scan gives all that is wanted of this problem."""
    if problem.shard.group:
        return True
    return problem.targets.shape[1] == 1 and "rank" not in problem.outputs


def scan(
    problem: Problem,
    products: HeadProducts,
    rows: Tensor | None,  # [n] indices, None for all
    n: int,
    coefficients: RowCoefficients | None,
) -> Iterator[tuple[slice | Tensor, RowTerms]]:
    """Which rows, and their columns, chunk by chunk of the n scored rows."""
    tiles = Tiles.of(problem, n, most_rows=_ROWS, most_columns=_COLUMNS, copied=products.copies(rows))
    transform = LogitTransform(problem, (), differentiated=False)
    wide = problem.dtype
    copies = int(problem.compute_dtype != wide) + int(needs_moment(problem, coefficients))
    of_chunks: list[tuple[slice | Tensor, _Running]] = []
    nothing = [slice(0, 0)] if problem.shard.group else []  # ranks meet, if only to see that none scores anything
    with tiles.buffers(problem, copies) as (buffer, pieces):
        for chunk in tiles.of_rows() or nothing:
            picked = chunk if rows is None else rows[chunk]
            states = products.rows(picked)
            of_rows = None if coefficients is None else coefficients.of(picked, problem.logit_scale, wide)
            running = _Running(transform, RowTerms(problem, problem.targets[picked], of_rows))
            for tile in tiles.of_vocabulary() if n else ():
                logits = buffer[: chunk.stop - chunk.start, : tile.stop - tile.start]
                products.logits(states, logits, tile)
                running.add(logits, tile, pieces, tiles.piece_rows)
            if problem.shard.group:
                of_chunks.append((picked, running))
            else:
                yield picked, running.finish()
        if of_chunks:
            _join_ranks(problem, rows, [running for _, running in of_chunks])
            if n and "rank" in problem.outputs:
                _count_larger(problem, products, transform, tiles, of_chunks, buffer, pieces)
    for picked, running in of_chunks if n else ():
        yield picked, running.finish()


def _join_ranks(problem: Problem, rows: Tensor | None, runs: Sequence["_Running"]) -> None:
    """Of the rows of all chunks at once: every rank cuts them as its own columns need it."""
    sizes = [len(running.targets) for running in runs]

    def of_all(name: str) -> Tensor:
        return torch.cat([getattr(running, name) for running in runs])

    sums = ColumnSums(
        **{name: of_all(name) for name in ("targets", "top", "rest", "z_target")},
        moment=of_all("moment") if runs[0].needs_moment else None,
        sum=of_all("sum") if problem.options.label_smoothing else None,
        beaten=of_all("beaten") if "hit" in problem.outputs else None,
    )
    sums.join(problem, rows)
    for name in ("top", "rest", "z_target", "moment", "sum", "beaten"):
        joined = getattr(sums, name)
        if joined is not None:
            for running, part in zip(runs, torch.split(joined, sizes), strict=True):
                getattr(running, name).copy_(part)  # in place: z_target is a view of the columns
    if not sum(sizes):
        return
    for of_rows in zip(*(running.columns.readers for running in runs), strict=True):
        type(of_rows[0]).join(of_rows, problem.shard)


def _count_larger(
    problem: Problem,
    products: HeadProducts,
    transform: LogitTransform,
    tiles: Tiles,
    of_chunks: Sequence[tuple[slice | Tensor, "_Running"]],
    buffer: Tensor,
    pieces: list[Tensor],
) -> None:
    """How many logits of all ranks are larger than each target's, which one of them has."""
    counts = []
    for picked, running in of_chunks:
        states, z_target, own = products.rows(picked), running.z_target[:, None], running.targets[:, None]
        count = torch.zeros_like(running.z_target)
        for tile in tiles.of_vocabulary():
            logits = buffer[: len(count), : tile.stop - tile.start]
            products.logits(states, logits, tile)
            columns = torch.arange(tile.start, tile.stop, device=own.device)
            for rows in slices(len(count), tiles.piece_rows):
                x = logits[rows]
                if pieces:
                    x = pieces[0][: len(x), : x.shape[1]].copy_(x)
                transform.forward(x, [], tile)
                count[rows] += ((x > z_target[rows]) & (columns != own[rows])).sum(1)
        counts.append(count)
    of_all = torch.cat(counts)
    collectives.add_up(of_all, problem.shard.group)
    for (_, running), count in zip(of_chunks, torch.split(of_all, [len(count) for count in counts]), strict=True):
        running.columns.rank[:, 0] = count


class _Running:
    """The softmax of a chunk's rows [n] over the tiles so far, the targets left out."""

    def __init__(self, transform: LogitTransform, columns: RowTerms) -> None:
        self.transform, self.columns = transform, columns
        self.needs_moment = needs_moment(columns.problem, columns.coefficient)
        self.targets, self.z_target = columns.targets[:, 0], columns.z_target[:, 0]
        self.least = torch.finfo(columns.top.dtype).min
        self.z_target.fill_(-torch.inf)  # stays where another rank has the target
        self.top = torch.full_like(self.z_target, self.least)  # finite: -inf - -inf would be NaN
        self.rest, self.moment, self.sum = (torch.zeros_like(self.top) for _ in range(3))
        self.beaten = torch.zeros_like(self.targets, dtype=torch.bool)

    def add(self, products: Tensor, tile: slice, pieces: list[Tensor], piece_rows: int) -> None:
        """Join the logits of one tile, from its products [n, width], which are overwritten."""
        top, rest, moment = (self.top.new_empty(self.top.shape[0], 1) for _ in range(3))
        inside = ((self.targets >= tile.start) & (self.targets < tile.stop)).nonzero()[:, 0]
        bounds = torch.searchsorted(inside, torch.arange(0, len(top) + piece_rows, piece_rows, device=inside.device))
        ends = bounds.tolist()
        for index, rows in enumerate(slices(products.shape[0], piece_rows)):
            R, width = products[rows].shape
            spare = [piece[:R, :width] for piece in pieces]
            shifted = spare.pop() if self.needs_moment else None
            x = spare.pop().copy_(products[rows]) if spare else products[rows]
            self.transform.forward(x, [], tile)
            if self.columns.problem.options.label_smoothing:
                self.sum[rows] += x.sum(1)
            for reader in self.columns.readers:
                reader.read(x, rows, tile.start)
            here = inside[ends[index] : ends[index + 1]]
            if here.numel():
                self._take_targets(x, here, here - rows.start, self.targets[here] - tile.start)
            torch.amax(x, 1, keepdim=True, out=top[rows]).clamp_(min=self.least)
            if here.numel() and "hit" in self.columns.problem.outputs:
                self._compare(x, top[:, 0], here, here - rows.start, self.targets[here] - tile.start)
            torch.exp(torch.sub(x, top[rows], out=x if shifted is None else shifted), out=x)
            torch.sum(x, 1, keepdim=True, out=rest[rows])
            if shifted is not None:
                torch.sum(shifted.clamp_(min=LEAST).mul_(x), 1, keepdim=True, out=moment[rows])
        self._join(top[:, 0], rest[:, 0], moment[:, 0])

    def _take_targets(self, x: Tensor, rows: Tensor, within: Tensor, columns: Tensor) -> None:
        self.z_target[rows] = x[within, columns]
        x[within, columns] = -torch.inf

    def _compare(self, x: Tensor, top: Tensor, rows: Tensor, within: Tensor, columns: Tensor) -> None:
        """Note which of these targets are not the first of the largest logits, as far as this tile."""
        z_target = self.z_target[rows]
        tied = (top[rows] == z_target).nonzero()[:, 0]
        beaten = (self.top[rows] >= z_target) | (top[rows] > z_target)
        beaten[tied] |= x[within[tied]].argmax(1) < columns[tied]
        self.beaten[rows] = beaten

    def _join(self, top: Tensor, rest: Tensor, moment: Tensor) -> None:
        joint = torch.maximum(self.top, top)
        before, now = self.top - joint, top - joint
        if self.needs_moment:
            self.moment = rebased(self.moment, self.rest, before) + rebased(moment, rest, now)
        self.rest = self.rest * before.exp() + rest * now.exp()
        self.top = joint

    def finish(self) -> RowTerms:
        """The columns, after the last tile: from the largest of the others to the largest of all."""
        columns, z_target = self.columns, self.z_target
        top = torch.maximum(self.top, z_target)
        below = self.top - top
        columns.top[:, 0] = top
        columns.rest[:, 0] = self.rest * below.exp()
        columns.e_target[:, 0] = (z_target - top).exp()
        columns.mean[:, 0] = self.sum / columns.problem.vocab_size
        columns.moment[:, 0] = rebased(self.moment, self.rest, below)
        columns.hit[:, 0] = ~self.beaten & (z_target >= self.top)
        return columns
