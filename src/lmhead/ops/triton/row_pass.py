# mypy: ignore-errors
"""A program's way through a row of products, a block of columns at a time: there to read, and back to write."""

import triton
import triton.language as tl

from lmhead.ops.triton.row_math import (
    INFINITY,
    LEAST_LOGIT,
    LEAST_MARGIN,
    before_the_cap,
    gradient_entry,
    is_a_target,
    joined_counts,
    of_columns,
    transformed,
)
from lmhead.ops.triton.row_top import with_block


@triton.jit
def target_logits(here, ids, offset, mine, bias, column_scale, logit_scale, softcap):
    """The logits [LANES] at a row's targets, those that are `mine`: in this tile.

    The same arithmetic as on the way through the row, and bit for bit the same, as no product is fused into a sum
    (launch.py): a target that is the largest logit is equal to it.
    """
    x = tl.load(here + (ids - offset), mask=mine, other=0.0).to(tl.float32)
    z, _ = transformed(x, of_columns(column_scale, ids, mine), of_columns(bias, ids, mine), logit_scale, softcap)
    return z


@triton.jit
def read_row(
    here,
    ids,
    lanes,
    z_target,
    top,  # the largest logit so far
    rest,  # sum of exp(logit - top) over all that are no target
    moment,  # sum of exp(x) * x over the same, x = logit - top
    logits_sum,  # over all, where labels are smoothed
    best,  # column of the first of the largest, where hits are wanted
    top_z,  # the list of the most probable tokens so far (row_top.py), where one is wanted
    top_ids,
    bias,
    column_scale,
    hit,
    rank,
    offset,
    width,
    reach,
    logit_scale,
    softcap,
    smoothing,
    K: tl.constexpr,
    LANES: tl.constexpr,
    TOP_K: tl.constexpr,
    TOP_LANES: tl.constexpr,
    BLOCK: tl.constexpr,
    NEEDS_MOMENT: tl.constexpr,
):
    """The running softmax of a row, joined by a tile of it; and how many of its logits are larger than each target."""
    larger = tl.zeros([LANES], tl.int32)
    for start in range(0, width, BLOCK):  # [BLOCK] columns at a time
        local = start + tl.arange(0, BLOCK)
        inside = local < width  # V is a multiple of nothing
        columns = offset + local
        x = tl.load(here + local, mask=local < reach, other=0.0).to(tl.float32)
        scale = of_columns(column_scale, columns, inside)
        z, _ = transformed(x, scale, of_columns(bias, columns, inside), logit_scale, softcap)
        if smoothing is not None:
            logits_sum += tl.sum(tl.where(inside, z, 0.0), 0)
        z = tl.where(inside, z, -INFINITY)
        if TOP_K > 0:
            top_z, top_ids = with_block(z, columns, inside, top_z, top_ids, TOP_K, TOP_LANES)
        if rank is not None:
            larger = joined_counts(larger, z, z_target, lanes, K)
        block_top = tl.maximum(tl.max(z, 0), LEAST_LOGIT)
        if hit is not None:
            found = tl.min(tl.where(z == block_top, columns, 2147483647), 0)
            best = tl.where((block_top > top) & (found < 2147483647), found, best)
        new_top = tl.maximum(top, block_top)
        margin = tl.where(is_a_target(columns, ids, lanes, K), -INFINITY, z - new_top)
        e = tl.exp(margin)
        shift = top - new_top
        decay = tl.exp(shift)
        if NEEDS_MOMENT:
            moment = decay * (moment + tl.maximum(shift, LEAST_MARGIN) * rest)
            moment += tl.sum(e * tl.maximum(margin, LEAST_MARGIN), 0)
        rest = rest * decay + tl.sum(e, 0)
        top = new_top
    return top, rest, moment, logits_sum, best, larger, top_z, top_ids


@triton.jit
def overwrite_row(
    here,
    target,
    at_target,
    top,
    factor,
    slope,
    share,
    bias,
    column_scale,
    width,
    reach,
    logit_scale,
    softcap,
    BLOCK: tl.constexpr,
    HAS_SLOPE: tl.constexpr,
    HAS_SHARE: tl.constexpr,
):
    """Write a row's gradient over its products, from the end: what was read last is the likeliest to be cached."""
    blocks = (width + BLOCK - 1) // BLOCK
    for index in range(blocks):
        local = (blocks - 1 - index) * BLOCK + tl.arange(0, BLOCK)
        inside = local < width
        x = tl.load(here + local, mask=local < reach, other=0.0).to(tl.float32)
        scale = of_columns(column_scale, local, inside)
        z, tanh = transformed(x, scale, of_columns(bias, local, inside), logit_scale, softcap)
        gradient = gradient_entry(z, top, factor, slope, share, HAS_SLOPE, HAS_SHARE)
        gradient = before_the_cap(tl.where(local == target, at_target, gradient), tanh, softcap)
        if column_scale is not None:
            gradient = gradient * scale
        gradient = tl.where(inside, gradient, 0.0).to(here.dtype.element_ty)
        tl.store(here + local, gradient, mask=local < reach)
