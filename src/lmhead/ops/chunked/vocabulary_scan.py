"""A row's columns from tiles of the vocabulary, with a running softmax: the forward where no whole row is needed.

    for each chunk of rows, some thousand:
        for each tile of the vocabulary:                 some thousand columns
            logits = hidden @ weight[tile].T             a product of this form runs faster than one over all columns,
            top, sum of exponentials of each row         and what it leaves is read while it is still in a cache
            joined to those of the tiles before

The target's logit is taken out of its tile before the sum, so that what is summed is the others' exponentials.
Not here: several targets for a row, and ranks, which compare every logit with the target's: it is known only in the
target's tile, and made by another product it would differ in the last digits (both need the row whole: row_softmax.py).
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from lmhead.ops.problem import Problem
from lmhead.ops.products.head_products import HeadProducts
from lmhead.ops.products.logit_transform import LogitTransform
from lmhead.ops.products.tiles import Tiles, slices
from lmhead.ops.row_terms import LEAST, RowCoefficients, RowTerms, needs_moment

_ROWS, _COLUMNS = 4096, 4096  # of a tile: beyond these no product gets faster (benchmarks/LOG.md, 2026-11-23)


def runs(problem: Problem) -> bool:
    """Whether a scan gives all that is wanted of this problem."""
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
    with tiles.buffers(problem, copies) as (buffer, pieces):
        for chunk in tiles.of_rows():
            picked = chunk if rows is None else rows[chunk]
            states = products.rows(picked)
            of_rows = None if coefficients is None else coefficients.of(picked, problem.logit_scale, wide)
            running = _Running(transform, RowTerms(problem, problem.targets[picked], of_rows))
            for tile in tiles.of_vocabulary():
                logits = buffer[: chunk.stop - chunk.start, : tile.stop - tile.start]
                products.logits(states, logits, tile)
                running.add(logits, tile, pieces, tiles.piece_rows)
            yield picked, running.finish()


class _Running:
    """The softmax of a chunk's rows [n] over the tiles so far, the targets left out."""

    def __init__(self, transform: LogitTransform, columns: RowTerms) -> None:
        self.transform, self.columns = transform, columns
        self.needs_moment = needs_moment(columns.problem, columns.coefficient)
        self.targets, self.z_target = columns.targets[:, 0], columns.z_target[:, 0]
        self.least = torch.finfo(columns.top.dtype).min
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
            self.moment = _rebased(self.moment, self.rest, before) + _rebased(moment, rest, now)
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
        columns.mean[:, 0] = self.sum / columns.problem.weight.shape[0]
        columns.moment[:, 0] = _rebased(self.moment, self.rest, below)
        columns.hit[:, 0] = ~self.beaten & (z_target >= self.top)
        return columns


def _rebased(moment: Tensor, rest: Tensor, shift: Tensor) -> Tensor:
    """sum of e^(x - a) (x - a) for another a: `shift` <= 0 is added to every x - a."""
    return shift.exp() * (moment + shift.clamp(min=LEAST) * rest)
