# mypy: ignore-errors
"""A program's list of its row's most probable tokens, in lanes: the twin of top_tokens.py, whose order it keeps.

Most blocks of a row have nothing that is larger than the last of the list: a block costs one comparison then, and what
is larger is taken out of it one by one.
"""

import triton
import triton.language as tl

from lmhead.ops.triton.row_math import INFINITY

NO_ID = tl.constexpr(2147483647)  # above every token: of a lane that holds none yet


@triton.jit
def empty_list(LANES: tl.constexpr):
    """(logits, ids) [LANES] of no token."""
    return tl.full([LANES], -INFINITY, tl.float32), tl.full([LANES], NO_ID, tl.int32)


@triton.jit
def with_block(z, columns, left, top_z, top_ids, TOP_K: tl.constexpr, LANES: tl.constexpr):
    """The list [LANES], in no order, joined by a block of higher columns [BLOCK], of those that are `left`."""
    lanes = tl.arange(0, LANES)
    best, column = _first_largest(z, columns, left)
    last_z, last_id = _last(top_z, top_ids, lanes, TOP_K)
    # an equal logit comes after those in the list, whose ids are lower: it takes the place of none
    while (best > last_z) | ((best == last_z) & (last_id == NO_ID) & (column < NO_ID)):
        is_last = (lanes < TOP_K) & (top_z == last_z) & (top_ids == last_id)
        here = lanes == tl.min(tl.where(is_last, lanes, LANES), 0)  # of several that hold none, one
        top_z = tl.where(here, best, top_z)
        top_ids = tl.where(here, column, top_ids)
        left = left & (columns != column)
        best, column = _first_largest(z, columns, left)
        last_z, last_id = _last(top_z, top_ids, lanes, TOP_K)
    return top_z, top_ids


@triton.jit
def places(top_z, top_ids, TOP_K: tl.constexpr, LANES: tl.constexpr):
    """The place of each lane in the list by (logit falling, id rising), and which lanes have one.

    Of a row of NaN, lanes that hold no token come by their own order.
    """
    lanes = tl.arange(0, LANES)
    larger = top_z[None, :] > top_z[:, None]
    lower = (top_ids[None, :] < top_ids[:, None]) | (
        (top_ids[None, :] == top_ids[:, None]) & (lanes[None, :] < lanes[:, None])
    )
    earlier = (top_z[None, :] == top_z[:, None]) & lower
    before = (lanes < TOP_K)[None, :] & (larger | earlier)
    return tl.sum(before.to(tl.int32), 1), lanes < TOP_K


@triton.jit
def top_logprobs(top_z, top, log_total, z_target, scored, nll):
    """log p of each lane; of a target, and of what is as probable, -nll to the last digit."""
    is_target = (top_z[:, None] == z_target[None, :]) & scored[None, :]
    of_target = tl.max(tl.where(is_target, -nll[None, :], -INFINITY), 1)
    return tl.where(tl.max(is_target.to(tl.int32), 1) > 0, of_target, top_z - top - log_total)


@triton.jit
def _first_largest(z, columns, left):
    """The largest of the logits that are left, and the first of its columns; NO_ID where none is."""
    best = tl.max(tl.where(left, z, -INFINITY), 0)
    return best, tl.min(tl.where(left & (z == best), columns, NO_ID), 0)


@triton.jit
def _last(top_z, top_ids, lanes, TOP_K: tl.constexpr):
    """The logit and the id of what comes last in the list."""
    held = lanes < TOP_K
    last_z = tl.min(tl.where(held, top_z, INFINITY), 0)
    return last_z, tl.max(tl.where(held & (top_z == last_z), top_ids, -1), 0)
