"""Plain torch on any device, in bounded memory: the algorithm, without its autograd (chunked_autograd.py).

    rows that are ignored are dropped, before anything is multiplied
    for each chunk of rows:                              some hundred rows: wide enough for full-rate products
        logits = hidden @ weight.T                       one buffer, reused, the only thing of width V
        for each block of rows in the chunk:             a few rows: float32, stays in the second-level cache
            statistics and loss of each row; the gradient overwrites the logits
        d_hidden        = gradient @ weight
        d_weight       += gradient.T @ hidden            float32 across chunks

Gradients are made in the forward for coefficients that are known there: 6NDV flops, no second product of the logits.
The block is why a bf16 step costs little more than its products (benchmarks/README.md, "the op").
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lmhead.ops.checks import require_targets_in_range
from lmhead.ops.problem import Problem, accumulation_dtype
from lmhead.ops.workspace import buffer, padded_columns

_MIB = 2**20
_BLOCK_ELEMENTS = 450_000  # 1.6 MiB of float32: the second-level cache of a core (benchmarks/LOG.md, 2026-11-23)
_CHUNK_ROWS = {torch.bfloat16: 4096, torch.float16: 4096}  # beyond these no product gets faster; else 512
_TILE_ROWS = 1024  # of the weight's gradient, where 16-bit products are added to a float32 accumulator
_PRODUCT_ROWS = 512  # a 16-bit gradient @ weight of 1024 rows ran at 0.6 of the rate of 512 (same entry)


def default_memory_budget(device: torch.device) -> int:
    """Bytes that a call may take beyond its gradients where nobody says: 120 MiB on a CPU, 512 MiB elsewhere."""
    return 120 * _MIB if device.type == "cpu" else 512 * _MIB


def refusal(problem: Problem) -> str | None:
    """None: it runs every option on every device that torch has."""
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which gradients a sweep makes."""

    hidden: bool = False
    weight: bool = False
    bias: bool = False

    def __bool__(self) -> bool:
        return self.hidden or self.weight or self.bias


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What one pass over the rows leaves. Rows that are ignored hold 0."""

    loss: Tensor  # [N] nats
    nll: Tensor  # [N]
    lse: Tensor  # [N]
    entropy: Tensor  # [N], or [0] where no statistics were wanted
    hit: Tensor  # [N] bool, or [0]
    d_hidden: Tensor | None  # [N, D], the hidden states' dtype
    d_weight: Tensor | None  # [V, D], the weight's dtype
    d_bias: Tensor | None  # [V], the bias's dtype


def sweep(problem: Problem, coefficient: Tensor | None, wanted: Wanted) -> Swept:
    """Loss and statistics of every row and the gradients of sum(coefficient * loss).

    Args:
        coefficient: [N], float32 or wider; None where no gradient is wanted.

    Raises:
        ArgumentError: a target is neither in [0, V) nor ignore_index.
    """
    N, D = problem.hidden.shape
    V = problem.weight.shape[0]
    wide = accumulation_dtype(problem.compute_dtype)
    rows = _scored_rows(problem)
    n = N if rows is None else rows.numel()
    out = _Outputs.zeros(problem)
    weight = problem.weight.detach().to(problem.compute_dtype)
    bias = None if problem.bias is None else problem.bias.detach().to(wide)
    d_hidden = _zeros_unless(n == N, (N, D), problem.hidden, wanted.hidden)
    d_bias = torch.zeros(V, dtype=wide, device=weight.device) if wanted.bias else None
    plan = Plan.of(problem, n)
    d_weight = _WeightGradient(problem, chunks=plan.chunks) if wanted.weight else None
    device = problem.hidden.device
    with (
        buffer("logits", (plan.chunk_rows, V), problem.compute_dtype, device) as logits_buffer,
        buffer("block", (plan.block_rows * plan.block_copies, V), wide, device) as block_buffer,
    ):
        for start in range(0, n, plan.chunk_rows):
            stop = min(start + plan.chunk_rows, n)
            picked = slice(start, stop) if rows is None else rows[start:stop]
            hidden = problem.hidden.detach()[picked].to(problem.compute_dtype)
            logits = logits_buffer[: stop - start]
            torch.mm(hidden, weight.t(), out=logits)
            chunk = _Chunk(
                problem,
                logits,
                problem.targets[picked],
                None if coefficient is None or not wanted else coefficient[picked].to(wide),
                bias,
                d_bias,
            )
            out.put(picked, chunk.softmax(block_buffer, plan))
            if d_hidden is not None:
                d_hidden[picked] = _gradient_of_hidden(logits, weight).to(d_hidden.dtype)
            if d_weight is not None:
                d_weight.add(logits, hidden)
    return Swept(
        loss=out.loss,
        nll=out.nll,
        lse=out.lse,
        entropy=out.entropy,
        hit=out.hit,
        d_hidden=d_hidden,
        d_weight=None if d_weight is None else d_weight.result,
        d_bias=None if d_bias is None or problem.bias is None else d_bias.to(problem.bias.dtype),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How many rows at a time: what the budget allows, never more than what makes the products faster."""

    chunk_rows: int
    block_rows: int
    block_copies: int  # float32 copies of a block that the options need at once
    chunks: int

    @staticmethod
    def of(problem: Problem, n: int) -> "Plan":
        """The plan for n scored rows."""
        V, D = problem.weight.shape
        narrow, wide = problem.compute_dtype, accumulation_dtype(problem.compute_dtype)
        copies = int(narrow != wide) + int(problem.softcap is not None) + int(problem.statistics)
        block_bytes = padded_columns(V, wide) * wide.itemsize * copies
        fitting = min(_BLOCK_ELEMENTS // V, problem.memory_budget // 8 // max(block_bytes, 1))
        block_rows = max(1, fitting // 2 * 2)  # even, so that two threads have as much to do
        tile_bytes = 0 if narrow == wide else min(_TILE_ROWS, V) * D * (narrow.itemsize + 2 * wide.itemsize)
        left = problem.memory_budget - block_rows * block_bytes - tile_bytes
        row_bytes = padded_columns(V, narrow) * narrow.itemsize + 3 * D * narrow.itemsize
        most = max(1, min(left // row_bytes, _CHUNK_ROWS.get(narrow, 512), max(n, 1)))
        chunks = math.ceil(n / most)
        even = math.ceil(n / chunks) if chunks else 1
        rounded = min(most, math.ceil(even / 16) * 16)
        return Plan(chunk_rows=rounded, block_rows=min(block_rows, rounded), block_copies=copies, chunks=chunks)


@dataclass(slots=True, kw_only=True)
class _Outputs:
    """Per-row results, of all rows or of one chunk's."""

    loss: Tensor
    nll: Tensor
    lse: Tensor
    entropy: Tensor
    hit: Tensor

    @staticmethod
    def zeros(problem: Problem) -> "_Outputs":
        """Of all rows: 0 where nothing will be written."""
        N = problem.hidden.shape[0]
        rows = problem.hidden.new_zeros(N, dtype=accumulation_dtype(problem.compute_dtype))
        extra = rows[: N if problem.statistics else 0]
        return _Outputs(
            loss=rows,
            nll=rows.clone(),
            lse=rows.clone(),
            entropy=extra.clone(),
            hit=torch.zeros_like(extra, dtype=torch.bool),
        )

    def put(self, picked: "slice | Tensor", chunk: "_Outputs") -> None:
        """Write a chunk's rows where they came from."""
        self.loss[picked], self.nll[picked], self.lse[picked] = chunk.loss, chunk.nll, chunk.lse
        if self.entropy.numel():
            self.entropy[picked], self.hit[picked] = chunk.entropy, chunk.hit


class _Chunk:
    """One chunk's logits [n, V] on their way to being d loss / d (hidden @ weight.T), which they are on exit."""

    def __init__(
        self,
        problem: Problem,
        logits: Tensor,  # [n, V]
        targets: Tensor,  # [n]
        coefficient: Tensor | None,  # [n]; None where no gradient is wanted
        bias: Tensor | None,  # [V]
        d_bias: Tensor | None,  # [V], added to
    ) -> None:
        self.problem = problem
        self.logits = logits
        self.targets = targets[:, None]
        self.coefficient = None if coefficient is None else coefficient[:, None] * problem.logit_scale
        self.bias = bias
        self.d_bias = d_bias
        # What the blocks leave for each row [n, 1]; losses and statistics are made of it for the whole chunk at once.
        column = logits.new_empty(logits.shape[0], 1, dtype=accumulation_dtype(problem.compute_dtype))
        self.top, self.z_target, self.e_target, self.others, self.mean, self.moment = (
            torch.empty_like(column) for _ in range(6)
        )
        self.hit = torch.empty_like(column, dtype=torch.bool)

    def softmax(self, buffer: Tensor, plan: Plan) -> _Outputs:
        """Losses and statistics of all rows; the gradient is left in `logits` where there is a coefficient."""
        copies = list(torch.split(buffer, plan.block_rows)) if plan.block_copies else []
        own = None if self.logits.dtype == buffer.dtype else copies.pop()
        for index, source in enumerate(torch.split(self.logits, plan.block_rows)):
            rows = slice(index * plan.block_rows, index * plan.block_rows + source.shape[0])
            block = source if own is None else own[: source.shape[0]].copy_(source)
            self._block(block, rows, [copy[: source.shape[0]] for copy in copies])
            if block is not source and self.coefficient is not None:
                source.copy_(block)
        return self._outputs()

    def _block(self, x: Tensor, rows: slice, spare: list[Tensor]) -> None:
        """Turn logits x [R, V] into their gradient, in place, and note what the rows' losses are made of.

        The target's exponential is set apart before the sum: others / e_target is exact where p(target) -> 1 and
        1 - p would be 0 in float32.
        """
        problem, target = self.problem, self.targets[rows]
        if self.bias is not None:
            x.add_(self.bias)
        if problem.logit_scale != 1.0:
            x.mul_(problem.logit_scale)
        slope = None if problem.softcap is None else _cap(x, problem.softcap, spare.pop())
        if problem.label_smoothing:
            torch.mean(x, 1, keepdim=True, out=self.mean[rows])
        top = torch.amax(x, 1, keepdim=True, out=self.top[rows])
        torch.gather(x, 1, target, out=self.z_target[rows])
        if problem.statistics:
            self.hit[rows] = _hits(x, target, self.z_target[rows] == top)
        shifted = torch.sub(x, top, out=spare.pop()) if problem.statistics else None
        x.sub_(top).exp_()
        e_target = torch.gather(x, 1, target, out=self.e_target[rows])
        x.scatter_(1, target, 0.0)
        others = torch.sum(x, 1, keepdim=True, out=self.others[rows])
        if shifted is not None:
            self.moment[rows] = _row_dot(x, shifted)
        if self.coefficient is not None:
            self._gradient(x, target, rows, others + e_target)
            if slope is not None:
                x.mul_(slope)
            if self.d_bias is not None:
                self.d_bias.add_(x.sum(0))

    def _gradient(self, x: Tensor, target: Tensor, rows: slice, total: Tensor) -> None:
        """x holds exponentials with 0 at the target; leave coefficient * d loss / d logits.

        d loss / d z_j = k p_j - s / V - (1 - s) [j = target], k = 1 + 2 z_loss lse; at the target it is written as
        -(1 - s) others / total + s (p - 1 / V) + (k - 1) p, which keeps its digits where p -> 1 and where s is large.
        """
        problem = self.problem
        assert self.coefficient is not None
        coefficient = self.coefficient[rows]
        scale = coefficient / total
        at_target = scale * self.others[rows]
        at_target.neg_()
        smoothing = problem.label_smoothing
        share = coefficient * (smoothing / problem.weight.shape[0]) if smoothing else None
        if share is not None:
            at_target *= 1 - smoothing
            at_target += smoothing * scale * self.e_target[rows] - share
        if problem.z_loss:
            excess = 2 * problem.z_loss * (self.top[rows] + total.log())
            at_target += excess * scale * self.e_target[rows]
            scale *= 1 + excess
        x.mul_(scale)
        if share is not None:
            x.sub_(share)
        x.scatter_(1, target, at_target)

    def _outputs(self) -> _Outputs:
        problem = self.problem
        total = self.others + self.e_target
        log_total = total.log()
        margin = self.z_target - self.top
        nll = torch.where(self.e_target > 1e-30, torch.log1p(self.others / self.e_target), log_total - margin)
        lse = self.top + log_total
        loss = nll
        if problem.label_smoothing:
            loss = (1 - problem.label_smoothing) * nll + problem.label_smoothing * (lse - self.mean)
        if problem.z_loss:
            loss = loss + problem.z_loss * lse.square()
        entropy = log_total - (self.moment + self.e_target * margin.clamp(min=-1e4)) / total
        return _Outputs(loss=loss[:, 0], nll=nll[:, 0], lse=lse[:, 0], entropy=entropy[:, 0], hit=self.hit[:, 0])


def _cap(x: Tensor, softcap: float, slope: Tensor) -> Tensor:
    """Cap x in place; into `slope` goes the derivative of the cap, 1 - tanh^2."""
    x.div_(softcap).tanh_()
    torch.mul(x, x, out=slope).neg_().add_(1.0)
    x.mul_(softcap)
    return slope


def _hits(x: Tensor, target: Tensor, candidate: Tensor) -> Tensor:
    """bool [R, 1]: the target is the first of the largest logits. Only rows whose target is one are searched."""
    rows = candidate[:, 0].nonzero()[:, 0]
    candidate[rows] = x[rows].argmax(1, keepdim=True) == target[rows]
    return candidate


def _row_dot(x: Tensor, shifted: Tensor) -> Tensor:
    """sum_j x_j * shifted_j of each row [R, 1]; a logit of -inf (a masked token) counts as 0."""
    return shifted.clamp_(min=-1e4).mul_(x).sum(1, keepdim=True)


def _gradient_of_hidden(gradient: Tensor, weight: Tensor) -> Tensor:
    """gradient @ weight [n, D], in as many products as run fastest."""
    if gradient.device.type != "cpu" or gradient.dtype.itemsize > 2:
        return gradient @ weight
    out = gradient.new_empty(gradient.shape[0], weight.shape[1])
    for start in range(0, gradient.shape[0], _PRODUCT_ROWS):
        rows = slice(start, start + _PRODUCT_ROWS)
        torch.mm(gradient[rows], weight, out=out[rows])
    return out


class _WeightGradient:
    """sum over chunks of gradient.T @ hidden [V, D], kept in float32 (float64) however the chunks are cut.

    A 16-bit product cannot be added to a float32 matrix in one call on a CPU: it is made tile by tile, each added
    while it is in the cache. Of two chunks the first can wait in the result itself, whose 16 bits its product has
    anyway, and the second is added inside its product, which sums in float32 and rounds once; from three on the sum
    waits in a float32 accumulator.
    """

    def __init__(self, problem: Problem, chunks: int) -> None:
        narrow, wide = problem.compute_dtype, accumulation_dtype(problem.compute_dtype)
        self.chunks_left = chunks
        self.started = False
        self.result = torch.empty_like(problem.weight, memory_format=torch.contiguous_format)
        assert narrow != wide or self.result.dtype == wide, "products wider than the weight are made by nobody"
        direct = self.result.dtype == wide or (chunks <= 2 and self.result.dtype == narrow)
        self.sum = self.result if direct else torch.empty_like(self.result, dtype=wide)
        if chunks == 0:
            self.result.zero_()

    def add(self, gradient: Tensor, hidden: Tensor) -> None:
        """Add gradient [n, V].T @ hidden [n, D]."""
        self.chunks_left -= 1
        if not self.started and self.sum.dtype == hidden.dtype:
            torch.mm(gradient.t(), hidden, out=self.sum)
        elif self.sum.dtype != hidden.dtype:
            self._add_tiles(gradient, hidden)
        else:
            self.sum.addmm_(gradient.t(), hidden)
        self.started = True

    def _add_tiles(self, gradient: Tensor, hidden: Tensor) -> None:
        V, D = self.result.shape
        rows = min(_TILE_ROWS if gradient.device.type == "cpu" else V, V)
        product = hidden.new_empty(rows, D)
        widened, before = torch.empty(2, rows, D, dtype=torch.float32, device=hidden.device)
        for start in range(0, V, rows):
            here = slice(start, start + rows)
            total = self.sum[here]
            tile = torch.mm(gradient[:, here].t(), hidden, out=product[: total.shape[0]])
            target = self.result[here] if self.chunks_left == 0 else total
            if not self.started:
                target.copy_(tile)
                continue
            wide = widened[: total.shape[0]].copy_(total)
            wide += before[: total.shape[0]].copy_(tile)  # of one dtype: a mixed sum runs at a third of the rate
            target.copy_(wide)


def _scored_rows(problem: Problem) -> Tensor | None:
    """Indices [n] of the rows that are scored, None where all are."""
    scored = problem.targets != problem.ignore_index
    require_targets_in_range(problem.targets, problem.weight.shape[0], problem.ignore_index)
    return None if bool(scored.all()) else scored.nonzero()[:, 0]


def _zeros_unless(filled: bool, shape: tuple[int, int], like: Tensor, wanted: bool) -> Tensor | None:
    if not wanted:
        return None
    return like.new_empty(shape) if filled else like.new_zeros(shape)
