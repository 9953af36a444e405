"""The GPU path: torch's matrix products, and Triton kernels for what stands between them.

    one wait              how many rows are scored: the others are dropped       scored_rows.py; "triton_masked": none
    for each chunk of rows, as many as the memory budget takes:                  gpu_plan.py
        logits = hidden @ weight.T                 cuBLAS; the products' dtype, one buffer, reused
        rows_kernel                                kernels.py; float32 inside: loss and statistics of each row,
                                                   then the gradient over the logits
        d_hidden  = gradient @ weight              cuBLAS; the products' dtype
        d_weight += gradient.T @ hidden            cuBLAS; 16-bit products, float32 sum (mixed_product.py)

The same problem, the same autograd contract (ops/autograd.py), the same formulas (row_terms.py) as `chunked`.
Where the budget leaves chunks of too few rows: by_vocabulary.py, which keeps no chunk of logits. Where the head is cut
over ranks: by_shard.py, the same with one join of what the ranks have read.

Triton itself is imported when the first kernel is launched, never before.
"""

from lmhead.ops.triton.forms import FORMS, only_by_name, refusal
from lmhead.ops.triton.sweep import sweep

__all__ = ["FORMS", "only_by_name", "refusal", "sweep"]
