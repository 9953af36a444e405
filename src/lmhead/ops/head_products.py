"""The matrix products of a head: a chunk's logits, and from their gradient the gradients of what made them."""

from collections.abc import Callable, Collection
from contextlib import ExitStack

import torch
from torch import Tensor

from lmhead.ops.problem import Problem, accumulation_dtype
from lmhead.ops.weight_gradient import WeightGradient
from lmhead.ops.workspace import buffer

_PRODUCT_COLUMNS = 8192


class HeadProducts:
    """hidden @ weight.T, plus adapter_hidden @ adapter_weight.T where there is an adapter, chunk by chunk."""

    def __init__(
        self, problem: Problem, wanted: Collection[str], rows: int, chunks: int, kept: ExitStack | None = None
    ) -> None:
        """For `rows` scored rows in `chunks` chunks; accumulators are the workspace's until `kept` closes."""
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
            WeightGradient(parameter, self.dtype, chunks, accumulator=self._accumulator(parameter, name, kept))
            if name in wanted
            else None
            for name, parameter in zip(("weight", "adapter_weight"), parameters, strict=False)
        ]

    def _accumulator(self, parameter: Tensor, name: str, kept: ExitStack | None) -> Callable[[], Tensor] | None:
        if kept is None:
            return None
        V, D = parameter.shape
        wide = accumulation_dtype(self.dtype)
        return lambda: kept.enter_context(buffer(f"sum of {name}'s gradients", (V, D), wide, parameter.device))

    def rows(self, picked: slice | Tensor) -> list[Tensor]:
        """The hidden states of a chunk, in the products' dtype."""
        return [state.detach()[picked].to(self.dtype) for state in self.states]

    def logits(self, states: list[Tensor], out: Tensor, columns: slice = slice(None)) -> None:
        """Write states @ weights.T [n, V] (or `columns` of it)."""
        weight = self.weights[0][columns]
        for tile in _column_tiles(out):
            torch.mm(states[0], weight[tile].t(), out=out[:, tile])
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


def _column_tiles(logits: Tensor) -> list[slice]:
    """Columns that are multiplied at once: oneDNN's 16-bit product is the faster for it (benchmarks/LOG.md)."""
    V = logits.shape[1]
    tiled = logits.device.type == "cpu" and logits.dtype.itemsize == 2
    step = _PRODUCT_COLUMNS if tiled else V
    return [slice(start, min(start + step, V)) for start in range(0, V, step)]


def _gradient_of_rows(gradient: Tensor, weight: Tensor) -> Tensor:
    """gradient @ weight [n, D], in as many products as run fastest."""
    n, D = gradient.shape[0], weight.shape[1]
    out = gradient.new_empty(n, D)
    step = _rows_at_once(gradient, D)
    for start in range(0, n, step):
        rows = slice(start, start + step)
        torch.mm(gradient[rows], weight, out=out[rows])
    return out


def _rows_at_once(gradient: Tensor, D: int) -> int:
    """oneDNN's 16-bit product of some hundred rows runs at half the rate where D is small (benchmarks/LOG.md)."""
    n = gradient.shape[0]
    slow = gradient.device.type == "cpu" and gradient.dtype.itemsize == 2 and n < 1536 and D < 1024
    return max(1, n) if not slow else 512 if D > 512 else 256
