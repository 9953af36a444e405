"""Loss and statistics without a gradient: one pass over tiles of the vocabulary, with a running softmax.

    for each chunk of rows, some thousand:
        for each tile of the vocabulary:                 some thousand columns
            logits = hidden @ weight[tile].T             a product of this form runs faster than one over all columns,
            top, sum of exponentials of each row         and what it leaves is read while it is still in a cache
            joined to those of the tiles before

The target's logit is taken out of its tile before the sum, so that what is summed is the others' exponentials: exact
where p(target) -> 1. Not here: several targets for a row, ranks (both need the row whole: row_softmax.py).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from lmhead.ops.head_products import HeadProducts
from lmhead.ops.logit_transform import LogitTransform
from lmhead.ops.problem import Problem, accumulation_dtype
from lmhead.ops.row_softmax import LEAST, RowOutputs
from lmhead.ops.tiles import Tiles, slices

_ROWS, _COLUMNS = 4096, 4096  # of a tile: beyond these no product gets faster (benchmarks/LOG.md, 2026-11-23)


def runs(problem: Problem) -> bool:
    """Whether a scan gives all that is wanted of this problem."""
    return problem.targets.shape[1] == 1 and not problem.ranks


def scan(problem: Problem, rows: Tensor | None, n: int, out: RowOutputs) -> RowOutputs:
    """Fill `out` for the n scored `rows` (indices; None for all)."""
    copied = rows is not None or problem.hidden.dtype != problem.compute_dtype
    tiles = Tiles.of(problem, n, most_rows=_ROWS, most_columns=_COLUMNS, copied=copied)
    products = HeadProducts(problem, (), 0, 0)
    transform = LogitTransform(problem, (), differentiated=False)
    widened = problem.compute_dtype != accumulation_dtype(problem.compute_dtype)
    with tiles.buffers(problem, int(widened) + int(problem.entropy)) as (buffer, pieces):
        for chunk in tiles.of_rows():
            picked = chunk if rows is None else rows[chunk]
            states, targets = products.rows(picked), problem.targets[picked][:, 0]
            running = _Running(problem, transform, targets)
            for tile in tiles.of_vocabulary():
                logits = buffer[: targets.numel(), : tile.stop - tile.start]
                products.logits(states, logits, tile)
                running.add(logits, tile, pieces, tiles.piece_rows)
            out.put(picked, running.outputs(), (targets != problem.ignore_index)[:, None])
    return out


class _Running:
    """The softmax of a chunk's rows [n] over the tiles so far, the targets left out."""

    def __init__(self, problem: Problem, transform: LogitTransform, targets: Tensor) -> None:
        self.problem, self.transform, self.targets = problem, transform, targets
        n = targets.numel()
        rows = problem.hidden.new_zeros(n, dtype=accumulation_dtype(problem.compute_dtype))
        self.least = torch.finfo(rows.dtype).min
        self.top = torch.full_like(rows, self.least)  # finite: -inf - -inf would be NaN
        self.rest, self.moment, self.sum, self.z_target = (torch.zeros_like(rows) for _ in range(4))
        self.beaten = torch.zeros_like(targets, dtype=torch.bool)

    def add(self, products: Tensor, tile: slice, pieces: list[Tensor], piece_rows: int) -> None:
        """Join the logits of one tile, from its products [n, width], which are overwritten."""
        top, rest, moment = (self.top.new_empty(self.top.shape[0], 1) for _ in range(3))
        inside = ((self.targets >= tile.start) & (self.targets < tile.stop)).nonzero()[:, 0]
        bounds = torch.searchsorted(inside, torch.arange(0, len(top) + piece_rows, piece_rows, device=inside.device))
        ends = bounds.tolist()
        for index, rows in enumerate(slices(products.shape[0], piece_rows)):
            R, width = products[rows].shape
            spare = [piece[:R, :width] for piece in pieces]
            shifted = spare.pop() if self.problem.entropy else None
            x = spare.pop().copy_(products[rows]) if spare else products[rows]
            self.transform.forward(x, [], tile)
            if self.problem.label_smoothing:
                self.sum[rows] += x.sum(1)
            here = inside[ends[index] : ends[index + 1]]
            if here.numel():
                self._take_targets(x, here, here - rows.start, self.targets[here] - tile.start)
            torch.amax(x, 1, keepdim=True, out=top[rows]).clamp_(min=self.least)
            if here.numel() and self.problem.hits:
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
        if self.problem.entropy:
            self.moment = _rebased(self.moment, self.rest, before) + _rebased(moment, rest, now)
        self.rest = self.rest * before.exp() + rest * now.exp()
        self.top = joint

    def outputs(self) -> RowOutputs:
        """Of the chunk's rows, after the last tile."""
        problem, z_target = self.problem, self.z_target
        others = self.top + self.rest.log()
        nll = F.softplus((self.top - z_target) + self.rest.log(), threshold=50)
        lse = torch.logaddexp(others, z_target)
        loss = nll
        if problem.label_smoothing:
            mean = self.sum / problem.weight.shape[0]
            loss = (1 - problem.label_smoothing) * nll + problem.label_smoothing * (lse - mean)
        if problem.z_loss:
            loss = loss + problem.z_loss * lse.square()
        hit = ~self.beaten & (z_target >= self.top)
        entropy = self._entropy() if problem.entropy else lse[:0]
        return RowOutputs(
            loss=loss[:, None],
            nll=nll[:, None],
            lse=lse,
            entropy=entropy,
            hit=hit[:, None],
            rank=self.targets[:0, None],
        )

    def _entropy(self) -> Tensor:
        top = torch.maximum(self.top, self.z_target)
        below, margin = self.top - top, self.z_target - top
        rest, e_target = self.rest * below.exp(), margin.exp()
        log_total = torch.where(margin == 0, rest.log1p(), (rest + e_target).log())
        moment = _rebased(self.moment, self.rest, below) + e_target * margin.clamp(min=LEAST)
        return log_total - moment / (rest + e_target)


def _rebased(moment: Tensor, rest: Tensor, shift: Tensor) -> Tensor:
    """sum of e^(x - a) (x - a) for another a, `shift` higher: shift <= 0 is what is added to every x - a."""
    return shift.exp() * (moment + shift.clamp(min=LEAST) * rest)
