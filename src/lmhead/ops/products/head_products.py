"""The matrix products of a head: a chunk's logits, and from their gradient the gradients of what made them."""

from collections.abc import Callable, Collection
from contextlib import ExitStack

import torch
from torch import Tensor

from lmhead.ops.problem import Problem, accumulation_dtype
from lmhead.ops.products.weight_gradient import WeightGradient
from lmhead.ops.products.workspace import buffer

_PRODUCT_COLUMNS = 8192


class HeadProducts:
    """hidden @ weight.T, plus adapter_hidden @ adapter_weight.T of an adapter, for some rows and columns."""

    def __init__(self, problem: Problem) -> None:
        self.dtype = problem.compute_dtype
        self.states = {"hidden": problem.hidden}
        self.parameters = {"weight": problem.weight}
        if problem.adapter_hidden is not None and problem.adapter_weight is not None:
            self.states["adapter_hidden"] = problem.adapter_hidden
            self.parameters["adapter_weight"] = problem.adapter_weight
        self.weights = [parameter.detach().to(self.dtype) for parameter in self.parameters.values()]

    def copies(self, rows: Tensor | None) -> bool:
        """Whether `rows` makes new memory: where not all rows are picked, or they have another dtype."""
        return rows is not None or any(state.dtype != self.dtype for state in self.states.values())

    def rows(self, picked: slice | Tensor) -> list[Tensor]:
        """The hidden states of a chunk, in the products' dtype."""
        return [state.detach()[picked].to(self.dtype) for state in self.states.values()]

    def logits(self, states: list[Tensor], out: Tensor, columns: slice = slice(None)) -> None:
        """Write states @ weights.T [n, V] (or `columns` of it)."""
        weight = self.weights[0][columns]
        for tile in _column_tiles(out):
            torch.mm(states[0], weight[tile].t(), out=out[:, tile])
        for state, weight in zip(states[1:], self.weights[1:], strict=True):
            out.addmm_(state, weight[columns].t())


class HeadGradients:
    """The gradients of what a head multiplies, from those of its products, chunk by chunk of whole rows."""

    def __init__(
        self,
        products: HeadProducts,
        wanted: Collection[str],
        rows: int,
        chunks: int,
        kept: ExitStack,
        *,
        rounding: bool = False,
    ) -> None:
        """For `rows` scored rows in `chunks` chunks; accumulators are the workspace's until `kept` closes.

        `rounding`: see WeightGradient.
        """
        self.products = products
        self.of_states = {
            name: state.new_empty(state.shape) if rows == state.shape[0] else state.new_zeros(state.shape)
            for name, state in products.states.items()
            if name in wanted
        }
        self.of_weights = {
            name: WeightGradient(
                parameter,
                products.dtype,
                chunks,
                accumulator=self._accumulator(parameter, name, kept),
                rounding=rounding,
            )
            for name, parameter in products.parameters.items()
            if name in wanted
        }

    def _accumulator(self, parameter: Tensor, name: str, kept: ExitStack) -> Callable[[], Tensor]:
        V, D = parameter.shape
        wide = accumulation_dtype(self.products.dtype)
        return lambda: kept.enter_context(buffer(f"sum of {name}'s gradients", (V, D), wide, parameter.device))

    def add(self, gradient: Tensor, states: list[Tensor], picked: slice | Tensor) -> None:
        """Make or add to every wanted gradient, from a chunk's gradient [n, V] of the products."""
        for name, weight in zip(self.products.states, self.products.weights, strict=True):
            if name in self.of_states:
                d_state = self.of_states[name]
                d_state[picked] = _gradient_of_rows(gradient, weight).to(d_state.dtype)
        for name, state in zip(self.products.parameters, states, strict=True):
            if name in self.of_weights:
                self.of_weights[name].add(gradient, state)

    def result(self) -> dict[str, Tensor]:
        """Those that were wanted, by name, in their tensors' dtypes."""
        return self.of_states | {name: gradient.result for name, gradient in self.of_weights.items()}


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
