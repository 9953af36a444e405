# mypy: ignore-errors
"""The Triton kernels: a pass over rows, one over tiles of a gradient, and one that counts.

    rows_kernel         one program for each row of a chunk of products [n, width]
                          reads the row once:  largest logit, sum of exponentials, what the statistics need
                          writes per row:      loss, nll, lse, entropy, hit, max_logprob, rank, top tokens, at its place
                          and then either      reads the row again, from its end, and writes the gradient over it
                          or                   writes what the gradient is made of, for the other kernel
    gradient_kernel     one program for a tile of the products: the gradient over it; column sums for bias and scale
    count_kernel        one program for each row: how many logits are larger than its targets', which it is given

`width` may be less than V: the row comes in tiles then, and its running softmax waits in `state` between them. Of a
head that is cut over ranks the rank's tiles are not all: `state` is joined over the ranks (joined_state.py), and what
makes outputs of it is rows_kernel on a last tile of no columns.
Products and gradients are of the products' dtype, everything else float32. No program reads what another one writes.
launch.py launches them; row_pass.py is the way through a row, row_math.py its arithmetic.
"""

import triton
import triton.language as tl

from lmhead.ops.triton.row_math import (
    INFINITY,
    LEAST_LOGIT,
    LEAST_MARGIN,
    NAN,
    before_the_cap,
    gradient_entry,
    joined_counts,
    log_of_total,
    masked_ids,
    nll_of,
    of_columns,
    row_gradient,
    target_sums,
    transformed,
)
from lmhead.ops.triton.row_pass import overwrite_row, read_row, target_logits
from lmhead.ops.triton.row_top import NO_ID, empty_list, places, top_logprobs


@triton.jit
def rows_kernel(
    products,  # [n, width], rows `products_stride` apart
    rows,  # [n] int64, the rows' places among all N; None where they are the first n
    targets,  # [N, K] int64
    bias,  # [V] or None
    column_scale,  # [V] or None
    of_loss,  # [N, K], the coefficients; None where no gradient is wanted
    of_lse,  # [N] or None
    of_entropy,  # [N] or None
    state,  # [n, 4]: top, rest, moment, sum of the logits; None where the row comes whole
    state_z,  # [n, K]: the targets' logits; with state
    state_best,  # [n] int64: the first of the largest logits; with state
    parameters,  # [n, 4]: top, factor, slope, share; None where no other kernel makes the gradient
    at_target,  # [n, K]; with parameters
    loss,  # [N, K]
    nll,  # [N, K]
    lse,  # [N]
    entropy,  # [N] or None
    hit,  # [N, K] uint8 or None
    max_logprob,  # [N] or None
    rank,  # [N, K] int64 or None
    top_ids,  # [N, TOP_K] int64 or None; between two tiles the list so far waits in both, in no order
    top_of_row,  # [N, TOP_K], its log p; with top_ids
    products_stride,
    first_row,  # of the chunk
    offset,  # of the first column
    width,
    reach,  # width, rounded up to 16: what lies in the rows' padding is read and written, and counts for nothing
    V,  # of the whole head
    first_id,  # of a head that is cut over ranks: the token of this rank's first column; None: 0
    ignore_index,
    logit_scale,  # None: 1
    softcap,
    smoothing,
    z_loss,
    K: tl.constexpr,
    LANES: tl.constexpr,  # the power of two from K on
    TOP_K: tl.constexpr,  # 0 where no top tokens are wanted
    TOP_LANES: tl.constexpr,  # the power of two from TOP_K on
    BLOCK: tl.constexpr,  # columns at a time
    NEEDS_MOMENT: tl.constexpr,
    FIRST: tl.constexpr,  # the tile is the first of its rows
    LAST: tl.constexpr,
    WRITES_GRADIENT: tl.constexpr,  # over the products; K is 1 then
):
    program = tl.program_id(0).to(tl.int64)
    row = first_row + program
    if rows is not None:
        row = tl.load(rows + row)
    here = products + program * products_stride
    lanes, ids, scored, wrong = masked_ids(targets, row, ignore_index, V, first_id, K, LANES)

    if tl.max(scored.to(tl.int32), 0) > 0:
        if FIRST:
            top = tl.full([], LEAST_LOGIT, tl.float32)
            rest = tl.full([], 0.0, tl.float32)
            moment = tl.full([], 0.0, tl.float32)
            logits_sum = tl.full([], 0.0, tl.float32)
            z_target = tl.zeros([LANES], tl.float32)
            best = tl.full([], -1, tl.int32)
            top_z, top_id = empty_list(TOP_LANES)
        else:
            top = tl.load(state + program * 4)
            rest = tl.load(state + program * 4 + 1)
            moment = tl.load(state + program * 4 + 2)
            logits_sum = tl.load(state + program * 4 + 3)
            z_target = tl.load(state_z + program * K + lanes, mask=lanes < K, other=0.0)
            best = tl.load(state_best + program).to(tl.int32)
            top_z, top_id = empty_list(TOP_LANES)
            if TOP_K > 0:
                of_top = tl.arange(0, TOP_LANES)
                top_z = tl.load(top_of_row + row * TOP_K + of_top, mask=of_top < TOP_K, other=-INFINITY)
                top_id = tl.load(top_ids + row * TOP_K + of_top, mask=of_top < TOP_K, other=NO_ID).to(tl.int32)

        mine = (ids >= offset) & (ids < offset + width)
        found = target_logits(here, ids, offset, mine, bias, column_scale, logit_scale, softcap)
        z_target = tl.where(wrong, NAN, tl.where(mine, found, z_target))  # out of range: never read, and loud
        top, rest, moment, logits_sum, best, larger, top_z, top_id = read_row(
            here,
            ids,
            lanes,
            z_target,
            top,
            rest,
            moment,
            logits_sum,
            best,
            top_z,
            top_id,
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
            K,
            LANES,
            TOP_K,
            TOP_LANES,
            BLOCK,
            NEEDS_MOMENT,
        )
        if LAST:
            e, others, first, same, total = target_sums(ids, scored, lanes, z_target, top, rest)
            log_total = log_of_total(scored, z_target, top, others, total)
            of_nll = nll_of(e, others, log_total, z_target - top)
            of_row = top + log_total
            of_targets = of_nll
            if smoothing is not None:
                of_targets = (1.0 - smoothing) * of_nll + smoothing * (of_row - logits_sum / V)
            if z_loss is not None:
                of_targets = of_targets + z_loss * of_row * of_row
            tl.store(loss + row * K + lanes, of_targets, mask=scored)
            tl.store(nll + row * K + lanes, of_nll, mask=scored)
            tl.store(lse + row, of_row)
            spread = tl.full([], 0.0, tl.float32)
            if NEEDS_MOMENT:
                of_firsts = tl.where(first, e * tl.maximum(z_target - top, LEAST_MARGIN), 0.0)
                spread = log_total - (moment + tl.sum(of_firsts, 0)) / total
            if entropy is not None:
                tl.store(entropy + row, spread)
            if hit is not None:
                tl.store(hit + row * K + lanes, (ids == best).to(tl.uint8), mask=scored)
            if max_logprob is not None:
                tl.store(max_logprob + row, -log_total)
            if rank is not None:
                tl.store(rank + row * K + lanes, larger.to(tl.int64), mask=scored)
            if TOP_K > 0:
                place, held = places(top_z, top_id, TOP_K, TOP_LANES)
                of_list = top_logprobs(top_z, top, log_total, z_target, scored, of_nll)
                tl.store(top_of_row + row * TOP_K + place, of_list, mask=held)
                known = tl.where(top_id == NO_ID, 0, top_id)  # of a row of NaN: any token, whose log p is NaN
                tl.store(top_ids + row * TOP_K + place, known.to(tl.int64), mask=held)

            if of_loss is not None:
                scale_by = tl.full([], 1.0, tl.float32)
                if logit_scale is not None:
                    scale_by = scale_by * logit_scale
                c = tl.load(of_loss + row * K + lanes, mask=scored, other=0.0) * scale_by
                c_lse, c_entropy = None, None
                if of_lse is not None:
                    c_lse = tl.load(of_lse + row) * scale_by
                if of_entropy is not None:
                    c_entropy = tl.load(of_entropy + row) * scale_by
                factor, slope, share, at = row_gradient(
                    c, c_lse, c_entropy, e, others, same, total, log_total, of_nll, of_row, spread, smoothing, z_loss, V
                )
                if parameters is not None:
                    tl.store(parameters + program * 4, top)
                    tl.store(parameters + program * 4 + 1, factor)
                    tl.store(parameters + program * 4 + 2, slope)
                    tl.store(parameters + program * 4 + 3, share)
                    tl.store(at_target + program * K + lanes, at, mask=lanes < K)
                if WRITES_GRADIENT:
                    overwrite_row(
                        here,
                        tl.max(ids, 0),
                        tl.sum(at, 0),
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
                        BLOCK,
                        of_entropy is not None,
                        smoothing is not None,
                    )
        else:
            tl.store(state + program * 4, top)
            tl.store(state + program * 4 + 1, rest)
            tl.store(state + program * 4 + 2, moment)
            tl.store(state + program * 4 + 3, logits_sum)
            tl.store(state_z + program * K + lanes, z_target, mask=lanes < K)
            tl.store(state_best + program, best.to(tl.int64))
            if TOP_K > 0:
                of_top = tl.arange(0, TOP_LANES)
                tl.store(top_of_row + row * TOP_K + of_top, top_z, mask=of_top < TOP_K)
                tl.store(top_ids + row * TOP_K + of_top, top_id.to(tl.int64), mask=of_top < TOP_K)
    else:
        # A row that nobody scores, among those that are not dropped: its gradient is 0. Its outputs are 0 already.
        if parameters is not None:
            tl.store(parameters + program * 4, INFINITY)
        if WRITES_GRADIENT:
            for start in range(0, width, BLOCK):
                local = start + tl.arange(0, BLOCK)
                tl.store(here + local, tl.zeros([BLOCK], products.dtype.element_ty), mask=local < reach)


@triton.jit
def gradient_kernel(
    products,  # [n, width], rows `products_stride` apart: their gradient afterwards
    rows,  # [n] int64 or None
    targets,  # [N, K] int64
    bias,  # [V] or None
    column_scale,  # [V] or None
    parameters,  # [n, 4]: what rows_kernel left
    at_target,  # [n, K]
    bias_sums,  # [groups, width], a group of rows summed; or None
    scale_sums,  # [groups, width] or None
    products_stride,
    first_row,
    n,
    offset,
    width,
    reach,
    first_id,
    ignore_index,
    logit_scale,
    softcap,
    K: tl.constexpr,
    HAS_SLOPE: tl.constexpr,
    HAS_SHARE: tl.constexpr,
    GROUP: tl.constexpr,  # rows that a program goes through
    ROWS: tl.constexpr,  # at a time
    BLOCK: tl.constexpr,  # columns of a program
):
    local = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)  # [BLOCK]
    inside = local < width
    columns = offset + local
    scale = of_columns(column_scale, columns, inside)
    shift = of_columns(bias, columns, inside)
    wide_scale, wide_shift = None, None  # [1, BLOCK]
    if column_scale is not None:
        wide_scale = scale[None, :]
    if bias is not None:
        wide_shift = shift[None, :]
    of_bias = tl.zeros([BLOCK], tl.float32)
    of_scale = tl.zeros([BLOCK], tl.float32)
    group = tl.program_id(1).to(tl.int64)
    for start in range(0, tl.minimum(GROUP, n - group * GROUP), ROWS):
        places = group * GROUP + start + tl.arange(0, ROWS)  # [ROWS]
        there = places < n
        tile = products + places[:, None] * products_stride + local[None, :]
        within = there[:, None] & inside[None, :]  # rows beyond the last, columns beyond V
        near = there[:, None] & (local < reach)[None, :]
        x = tl.where(within, tl.load(tile, mask=near, other=0.0).to(tl.float32), 0.0)
        top = tl.load(parameters + places * 4, mask=there, other=INFINITY)
        live = top < INFINITY  # False: a row that nobody scores
        top = tl.where(live, top, 0.0)
        factor = tl.load(parameters + places * 4 + 1, mask=there & live, other=0.0)
        slope = tl.load(parameters + places * 4 + 2, mask=there & live, other=0.0)
        share = tl.load(parameters + places * 4 + 3, mask=there & live, other=0.0)
        z, tanh = transformed(x, wide_scale, wide_shift, logit_scale, softcap)
        gradient = gradient_entry(
            z, top[:, None], factor[:, None], slope[:, None], share[:, None], HAS_SLOPE, HAS_SHARE
        )
        row = first_row + places
        if rows is not None:
            row = tl.load(rows + row, mask=there, other=0)
        for k in range(K):
            ids = tl.load(targets + row * K + k, mask=there, other=ignore_index)
            column_of = ids
            if first_id is not None:
                column_of = ids - first_id
            ids = tl.where(ids == ignore_index, -1, column_of)
            at = tl.load(at_target + places * K + k, mask=there & live, other=0.0)
            gradient = tl.where(columns[None, :] == ids[:, None], at[:, None], gradient)
        gradient = before_the_cap(gradient, tanh, softcap)
        gradient = tl.where(live[:, None] & within, gradient, 0.0)
        if bias_sums is not None:
            of_bias += tl.sum(gradient, 0)
        if scale_sums is not None:
            of_scale += tl.sum(gradient * x, 0)
        if column_scale is not None:
            gradient = gradient * wide_scale
        tl.store(tile, gradient.to(products.dtype.element_ty), mask=near)
    if bias_sums is not None:
        tl.store(bias_sums + group * width + local, of_bias, mask=inside)
    if scale_sums is not None:
        tl.store(scale_sums + group * width + local, of_scale, mask=inside)


@triton.jit
def count_kernel(
    products,  # [n, width], rows `products_stride` apart
    rows,  # [n] int64 or None
    bias,  # [V] or None
    column_scale,  # [V] or None
    state_z,  # [n, K]: the targets' logits, all known
    rank,  # [N, K] int64: of this rank's columns, so far
    products_stride,
    first_row,
    offset,
    width,
    reach,
    logit_scale,
    softcap,
    K: tl.constexpr,
    LANES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    row = first_row + program
    if rows is not None:
        row = tl.load(rows + row)
    here = products + program * products_stride
    lanes = tl.arange(0, LANES)
    z_target = tl.load(state_z + program * K + lanes, mask=lanes < K, other=0.0)
    larger = tl.zeros([LANES], tl.int32)
    for start in range(0, width, BLOCK):  # [BLOCK] columns at a time
        local = start + tl.arange(0, BLOCK)
        inside = local < width
        x = tl.load(here + local, mask=local < reach, other=0.0).to(tl.float32)
        scale = of_columns(column_scale, offset + local, inside)
        z, _ = transformed(x, scale, of_columns(bias, offset + local, inside), logit_scale, softcap)
        larger = joined_counts(larger, tl.where(inside, z, -INFINITY), z_target, lanes, K)
    place = rank + row * K + lanes
    so_far = tl.load(place, mask=lanes < K, other=0)
    tl.store(place, so_far + larger.to(tl.int64), mask=lanes < K)
