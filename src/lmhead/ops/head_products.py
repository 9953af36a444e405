"""The matrix products of a head: a chunk's logits, and from their gradient the gradients of what made them."""

from collections.abc import Collection

import torch
from torch import Tensor

from lmhead.ops.plan import TILE_ROWS
from lmhead.ops.problem import Problem, accumulation_dtype

_PRODUCT_ROWS = 512  # a 16-bit gradient @ weight of 1024 rows ran at 0.6 of the rate of 512 (benchmarks/LOG.md)


class HeadProducts:
    """hidden @ weight.T, plus adapter_hidden @ adapter_weight.T where there is an adapter, chunk by chunk."""

    def __init__(self, problem: Problem, wanted: Collection[str], rows: int, chunks: int) -> None:
        """For `rows` scored rows in `chunks` chunks."""
        self.dtype = problem.compute_dtype
        self.states = [problem.hidden] if problem.adapter_hidden is None else [problem.hidden, problem.adapter_hidden]
        parameters = [problem.weight] if problem.adapter_weight is None else [problem.weight, problem.adapter_weight]
        self.weights = [parameter.detach().to(self.dtype) for parameter in parameters]
        filled = rows == problem.hidden.shape[0]
        self.d_states = [
            None if name not in wanted else torch.empty_like(state) if filled else torch.zeros_like(state)
            for name, state in zip(("hidden", "adapter_hidden"), self.states, strict=False)
        ]
        self.d_weights = [
            WeightGradient(parameter, self.dtype, chunks) if name in wanted else None
            for name, parameter in zip(("weight", "adapter_weight"), parameters, strict=False)
        ]

    def rows(self, picked: slice | Tensor) -> list[Tensor]:
        """The hidden states of a chunk, in the products' dtype."""
        return [state.detach()[picked].to(self.dtype) for state in self.states]

    def logits(self, states: list[Tensor], out: Tensor, columns: slice = slice(None)) -> None:
        """Write states @ weights.T [n, V] (or `columns` of it)."""
        torch.mm(states[0], self.weights[0][columns].t(), out=out)
        for state, weight in zip(states[1:], self.weights[1:], strict=True):
            out.addmm_(state, weight[columns].t())

    def backward(self, gradient: Tensor, states: list[Tensor], picked: slice | Tensor) -> None:
        """Make or add to every wanted gradient, from a chunk's gradient [n, V] of the products."""
        for state, weight, d_state, d_weight in zip(states, self.weights, self.d_states, self.d_weights, strict=True):
            if d_state is not None:
                d_state[picked] = _gradient_of_rows(gradient, weight).to(d_state.dtype)
            if d_weight is not None:
                d_weight.add(gradient, state)

    def gradients(self) -> dict[str, Tensor]:
        """Those that were wanted, by name, in their tensors' dtypes."""
        states = zip(("hidden", "adapter_hidden"), self.d_states, strict=False)
        weights = zip(("weight", "adapter_weight"), self.d_weights, strict=False)
        return {name: d for name, d in states if d is not None} | {
            name: d.result for name, d in weights if d is not None
        }


def _gradient_of_rows(gradient: Tensor, weight: Tensor) -> Tensor:
    """gradient @ weight [n, D], in as many products as run fastest."""
    if gradient.device.type != "cpu" or gradient.dtype.itemsize > 2:
        return gradient @ weight
    out = gradient.new_empty(gradient.shape[0], weight.shape[1])
    for start in range(0, gradient.shape[0], _PRODUCT_ROWS):
        rows = slice(start, start + _PRODUCT_ROWS)
        torch.mm(gradient[rows], weight, out=out[rows])
    return out


class WeightGradient:
    """sum over chunks of gradient.T @ hidden [V, D], kept in float32 (float64) however the chunks are cut.

    A 16-bit product cannot be added to a float32 matrix in one call on a CPU: it is made tile by tile, each added
    while it is in the cache. Of two chunks the first can wait in the result itself, whose 16 bits its product has
    anyway, and the second is added inside its product, which sums in float32 and rounds once; from three on the sum
    waits in a float32 accumulator.
    """

    def __init__(
        self, parameter: Tensor, compute_dtype: torch.dtype, chunks: int, *, result: Tensor | None = None
    ) -> None:
        """For a parameter [V, D] and a number of chunks; into `result` where one is given."""
        wide = accumulation_dtype(compute_dtype)
        self.chunks_left = chunks
        self.started = False
        self.result = torch.empty_like(parameter, memory_format=torch.contiguous_format) if result is None else result
        assert compute_dtype != wide or self.result.dtype == wide, "products wider than the weight are made by nobody"
        direct = self.result.dtype == wide or (chunks <= 2 and self.result.dtype == compute_dtype)
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
        rows = min(TILE_ROWS if gradient.device.type == "cpu" else V, V)
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
