"""The kernels with tensors around them: what is made once for a problem, and a launch for each chunk or tile."""

import math
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from lmhead.ops.problem import Problem, Solved
from lmhead.ops.products.logit_transform import LogitTransform
from lmhead.ops.row_terms import RowCoefficients, needs_moment

_BLOCK = 4096  # columns that a program of rows_kernel holds at a time: 8 for each of its 512 threads
_WARPS = 16
GROUP_ROWS = 256  # that a program of gradient_kernel goes through; each group has a row of column sums
_TILE_ROWS, _TILE_COLUMNS, _TILE_WARPS = 8, 256, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RowState:
    """A running softmax of n rows, between two tiles of the vocabulary."""

    sums: Tensor  # [n, 4]
    z_target: Tensor  # [n, K]
    best: Tensor  # [n]

    @staticmethod
    def of(problem: Problem, n: int) -> "RowState":
        """Filled by the first tile; of rows that nobody scores, 0."""
        floats = problem.weight.new_zeros(n, 4, dtype=torch.float32)
        K = problem.targets.shape[1]
        return RowState(sums=floats, z_target=floats.new_zeros(n, K), best=floats.new_zeros(n, dtype=torch.int64))

    def __getitem__(self, rows: slice) -> "RowState":
        """Of some rows."""
        return RowState(sums=self.sums[rows], z_target=self.z_target[rows], best=self.best[rows])


@dataclass(frozen=True, slots=True, kw_only=True)
class RowParameters:
    """What the gradient of n rows is made of, once they have been read whole."""

    numbers: Tensor  # [n, 4]: top, factor, slope, share
    at_target: Tensor  # [n, K]

    @staticmethod
    def of(problem: Problem, n: int) -> "RowParameters":
        """Uninitialised: the last tile fills it."""
        numbers = problem.weight.new_empty(n, 4, dtype=torch.float32)
        return RowParameters(numbers=numbers, at_target=numbers.new_empty(n, problem.targets.shape[1]))

    def __getitem__(self, rows: slice) -> "RowParameters":
        """Of some rows."""
        return RowParameters(numbers=self.numbers[rows], at_target=self.at_target[rows])


class RowKernels:
    """Turns products of a problem's rows into outputs and gradients, on the device that the problem is on."""

    def __init__(
        self,
        problem: Problem,
        rows: Tensor | None,  # [n] indices of the scored rows; None for all
        coefficients: RowCoefficients | None,
        wanted: Collection[str],
        out: Solved,  # of all N rows; those that are scored are written
    ) -> None:
        self.problem, self.rows = problem, rows
        self.needs_moment = needs_moment(problem, coefficients if wanted else None)
        self.transform = LogitTransform(problem, wanted, differentiated=bool(wanted))
        given = coefficients
        self.of_loss, self.of_lse, self.of_entropy = (
            None if tensor is None else tensor.to(torch.float32).contiguous()
            for tensor in ((given.loss, given.lse, given.entropy) if given is not None and wanted else (None,) * 3)
        )
        self.out = out
        self.targets = problem.targets.contiguous()
        self.K = self.targets.shape[1]
        self.first_id = problem.shard.start if problem.shard.group else None

    @property
    def gradient_in_passing(self) -> bool:
        """Whether the program that reads a row can write its gradient: one target, and nothing is summed by column."""
        sums = (self.transform.d_bias, self.transform.d_column_scale)
        return self.of_loss is not None and self.K == 1 and all(tensor is None for tensor in sums)

    def whole_rows(self, products: Tensor, first_row: int) -> None:
        """Outputs of rows from their products [n, V]; the products become their gradient where one is wanted."""
        if self.of_loss is None or self.gradient_in_passing:
            self._read(products, first_row, slice(0, products.shape[1]), None, None, last=True)
            return
        parameters = RowParameters.of(self.problem, products.shape[0])
        self._read(products, first_row, slice(0, products.shape[1]), None, parameters, last=True)
        self.to_gradient(products, first_row, slice(0, products.shape[1]), parameters)

    def tile(
        self, products: Tensor, first_row: int, columns: slice, state: RowState | None, parameters: RowParameters | None
    ) -> None:
        """Join one tile's products [n, width] to the state of rows; the last one gives their outputs and parameters.

        Where there is but one tile, no state is needed.
        """
        last = columns.stop == self.problem.weight.shape[0] and not self.problem.shard.group
        self._read(products, first_row, columns, state, parameters if last else None, last=last)

    def finish(self, state: RowState, parameters: RowParameters | None) -> None:
        """Outputs and parameters of all n rows from their states, which are whole: a tile of no columns joins them."""
        V = self.problem.weight.shape[0]
        self._read(state.sums[:, :0], 0, slice(V, V), state, parameters, last=True)

    def count(self, products: Tensor, first_row: int, columns: slice, state: RowState) -> None:
        """Add to each target's rank how many of one tile's logits are larger than the target's, which is known."""
        problem, (n, width) = self.problem, products.shape
        with _on(products.device):
            _kernels().count_kernel[(n,)](
                products,
                self.rows,
                self.transform.bias,
                self.transform.column_scale,
                state.z_target,
                self.out.rows["rank"],
                products.stride(0),
                first_row,
                columns.start,
                width,
                _reach(products),
                _unless(problem.logit_scale, 1.0),
                problem.softcap,
                K=self.K,
                LANES=_power_of_two(self.K),
                BLOCK=_block(width),
                num_warps=_WARPS,
                enable_fp_fusion=False,
            )

    def to_gradient(self, products: Tensor, first_row: int, columns: slice, parameters: RowParameters) -> None:
        """Write the gradient of products [n, width] over them; bias and column scale get their shares."""
        n, width = products.shape
        groups = math.ceil(n / GROUP_ROWS)
        totals = (self.transform.d_bias, self.transform.d_column_scale)
        sums = [None if total is None else total.new_empty(groups, width) for total in totals]
        grid = (math.ceil(width / _TILE_COLUMNS), groups)
        with _on(products.device):
            _kernels().gradient_kernel[grid](
                products,
                self.rows,
                self.targets,
                self.transform.bias,
                self.transform.column_scale,
                parameters.numbers,
                parameters.at_target,
                *sums,
                products.stride(0),
                first_row,
                n,
                columns.start,
                width,
                _reach(products),
                self.first_id,
                self.problem.ignore_index,
                _unless(self.problem.logit_scale, 1.0),
                self.problem.softcap,
                K=self.K,
                HAS_SLOPE=self.of_entropy is not None,
                HAS_SHARE=self.problem.options.label_smoothing != 0,
                GROUP=GROUP_ROWS,
                ROWS=_TILE_ROWS,
                BLOCK=_TILE_COLUMNS,
                num_warps=_TILE_WARPS,
                enable_fp_fusion=False,
            )
        for total, parts in zip(totals, sums, strict=True):
            if total is not None and parts is not None:
                total[columns].add_(parts.sum(0))

    def _read(
        self,
        products: Tensor,
        first_row: int,
        columns: slice,
        state: RowState | None,
        parameters: RowParameters | None,
        *,
        last: bool,
    ) -> None:
        problem, out = self.problem, self.out
        options, hit, top_k = problem.options, out.rows.get("hit"), problem.outputs.get("top_ids", 0)
        n, width = products.shape
        with _on(products.device):
            _kernels().rows_kernel[(n,)](
                products,
                self.rows,
                self.targets,
                self.transform.bias,
                self.transform.column_scale,
                self.of_loss,
                self.of_lse,
                self.of_entropy,
                *((None,) * 3 if state is None else (state.sums, state.z_target, state.best)),
                *((None,) * 2 if parameters is None else (parameters.numbers, parameters.at_target)),
                out.loss,
                out.rows["nll"],
                out.rows["lse"],
                out.rows.get("entropy"),
                None if hit is None else hit.view(torch.uint8),
                out.rows.get("max_logprob"),
                None if problem.shard.group else out.rows.get("rank"),  # counted later: the target may be another's
                out.rows.get("top_ids"),
                out.rows.get("top_logprobs"),
                products.stride(0),
                first_row,
                columns.start,
                width,
                _reach(products),
                problem.vocab_size,
                self.first_id,
                problem.ignore_index,
                _unless(problem.logit_scale, 1.0),
                problem.softcap,
                _unless(options.label_smoothing, 0.0),
                _unless(options.z_loss, 0.0),
                K=self.K,
                LANES=_power_of_two(self.K),
                TOP_K=top_k,
                TOP_LANES=_power_of_two(max(top_k, 1)),
                BLOCK=_block(width),
                NEEDS_MOMENT=self.needs_moment,
                FIRST=columns.start == 0,
                LAST=last,
                WRITES_GRADIENT=last and parameters is None and self.gradient_in_passing,
                num_warps=_WARPS,
                enable_fp_fusion=False,  # the kernel says why
            )


def _kernels() -> ModuleType:
    """The module that needs Triton."""
    from lmhead.ops.triton import kernels

    return kernels


def _on(device: torch.device) -> AbstractContextManager[None]:
    """Where Triton launches: it takes the current device, not the tensors'."""
    if device.type == "cpu":
        return nullcontext()
    context: AbstractContextManager[None] = torch.get_device_module(device).device(device)
    return context


def _reach(products: Tensor) -> int:
    """Columns that may be read and written: the width rounded up to 16, within the rows' padding (workspace.py).

    A mask at a multiple of 16 lets whole vectors be loaded, whatever V is.
    """
    assert products.stride(1) == 1, "rows are contiguous"
    reach = math.ceil(products.shape[1] / 16) * 16
    assert reach <= products.stride(0), "rows are padded"
    return reach


def _unless(value: float, neutral: float) -> float | None:
    """None, and no arithmetic, for a value that changes nothing."""
    return None if value == neutral else float(value)


def _block(width: int) -> int:
    """Columns that a program of a row holds at a time."""
    return min(_BLOCK, max(16, _power_of_two(max(width, 1))))


def _power_of_two(size: int) -> int:
    return 1 << (size - 1).bit_length()
