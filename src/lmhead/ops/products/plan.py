"""How many rows at a time: from the memory budget, the device and the shape."""

import math
from dataclasses import dataclass

import torch

from lmhead.ops.problem import Problem, accumulation_dtype
from lmhead.ops.products.workspace import padded_columns

_MIB = 2**20
BLOCK_ELEMENTS = 450_000  # 1.6 MiB of float32: the second-level cache of a core (benchmarks/LOG.md, 2026-11-23)
_CHUNK_ROWS = {torch.bfloat16: 4096, torch.float16: 4096}  # beyond these no product gets faster; else 512
_LEAST_ROWS = {torch.bfloat16: 400, torch.float16: 400}  # fewer of many make slow products; else 112 (same entry)
TILE_ROWS = 1024  # of a weight's gradient, where 16-bit products are added to a float32 accumulator


def default_memory_budget(device: torch.device, rows: int, vocab_size: int) -> int:
    """Bytes that a call may take beyond its gradients where nobody says.

    On a CPU a third of what float32 logits would take, but 120 MiB at least and 256 MiB at most; elsewhere 512 MiB.
    """
    if device.type != "cpu":
        return 512 * _MIB
    return min(max(rows * vocab_size * 4 // 3, 120 * _MIB), 256 * _MIB)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How many rows at a time: what the budget allows, never more than what makes the products faster."""

    chunk_rows: int
    block_rows: int
    block_copies: int  # float32 copies of a block that the options need at once
    chunks: int
    starved: bool  # so few rows to so many chunks that going by the vocabulary is faster (vocabulary_major.py)

    @staticmethod
    def of(problem: Problem, n: int, *, copies: int) -> "Plan":
        """The plan for n scored rows whose blocks need `copies` float32 buffers at once."""
        V, D = problem.weight.shape
        R = 0 if problem.adapter_weight is None else problem.adapter_weight.shape[1]
        narrow, wide = problem.compute_dtype, accumulation_dtype(problem.compute_dtype)
        block_bytes = padded_columns(V, wide) * wide.itemsize * copies
        fitting = min(BLOCK_ELEMENTS // V, problem.memory_budget // 8 // max(block_bytes, 1))
        block_rows = max(1, fitting // 2 * 2)  # even, so that two threads have as much to do
        tile_bytes = 0 if narrow == wide else min(TILE_ROWS, V) * D * (narrow.itemsize + 2 * wide.itemsize)
        left = problem.memory_budget - block_rows * block_bytes - tile_bytes
        row_bytes = padded_columns(V, narrow) * narrow.itemsize + 3 * (D + R) * narrow.itemsize
        most = max(1, min(left // row_bytes, _CHUNK_ROWS.get(narrow, 512), max(n, 1)))
        chunks = math.ceil(n / most)
        even = math.ceil(n / chunks) if chunks else 1
        rounded = min(most, math.ceil(even / 16) * 16)
        return Plan(
            chunk_rows=rounded,
            block_rows=min(block_rows, rounded),
            block_copies=copies,
            chunks=chunks,
            starved=chunks > 2 and rounded < _LEAST_ROWS.get(narrow, 112),
        )
