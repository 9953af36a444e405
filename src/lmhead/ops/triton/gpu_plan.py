"""How many rows at a time on a GPU: as many as there is memory for, as each chunk reads and writes d_weight whole.

A chunk of c rows multiplies 6cDV numbers and moves 8DV bytes of a float32 accumulator: the more rows, the less that
counts. Two sources of memory: the budget; and, where the weight's gradient is summed in float32, the gradient itself,
whose memory stands idle until the last chunk and is as large as D rows of logits (WeightGradient.idle_result).
"""

import math
from collections.abc import Collection
from dataclasses import dataclass

import torch

from lmhead.ops.problem import Problem
from lmhead.ops.products import mixed_product
from lmhead.ops.products.workspace import padded_columns

_TILE = 128  # rows of a product's tile: chunks are multiples of it
_LEAST_ROWS = {torch.float32: 128}  # else 512; fewer of many chunks: the vocabulary's order is taken. Not measured yet


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuPlan:
    """How the rows are cut, and where their logits lie."""

    chunk_rows: int
    chunks: int
    in_gradient: bool  # the logits lie in the memory of the weight's gradient
    starved: bool  # so few rows to so many chunks that going by the vocabulary is taken to be faster

    @staticmethod
    def of(problem: Problem, n: int, wanted: Collection[str], *, rounding: bool) -> "GpuPlan":
        """For n rows."""
        V, D = problem.weight.shape
        R = 0 if problem.adapter_weight is None else problem.adapter_weight.shape[1]
        dtype = problem.compute_dtype
        logit_bytes = padded_columns(V, dtype) * dtype.itemsize
        row_bytes = 3 * (D + R) * dtype.itemsize + V // 32  # states and their gradient; sums of columns
        rows = problem.memory_budget // (logit_bytes + row_bytes)
        lent = 0
        if "weight" in wanted and n > rows and _lends(problem, rounding=rounding):
            lent = min(V * D // padded_columns(V, dtype), problem.memory_budget // row_bytes)
        most = max(1, min(max(rows, lent), max(n, 1)))
        most = most // _TILE * _TILE if most > _TILE and most < n else most
        chunks = math.ceil(n / most)
        even = math.ceil(n / chunks) if chunks else 1
        chunk_rows = min(most, math.ceil(even / _TILE) * _TILE)
        least = _LEAST_ROWS.get(dtype, 512)
        return GpuPlan(
            chunk_rows=chunk_rows,
            chunks=chunks,
            in_gradient=lent > rows and chunks > 1,
            starved=chunks > 2 and chunk_rows < least,
        )


def _lends(problem: Problem, *, rounding: bool) -> bool:
    """Whether the weight's gradient is of the logits' dtype, and written once, from a float32 sum."""
    mixed = mixed_product.runs(problem.compute_dtype, problem.weight.device)
    return mixed and problem.weight.dtype == problem.compute_dtype and not rounding
