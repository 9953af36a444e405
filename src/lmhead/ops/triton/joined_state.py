"""What ranks of a vocabulary-parallel head join: the running softmax of each row, its top tokens, its targets' ranks.

    all-reduce MAX  [N]              the largest logit
    all-reduce SUM  [1 + K + .., n]  sum of exponentials, the targets' logits; where wanted the moment (entropy), the
                                     sum of the logits (smoothing), and who is before each target (hits)
    all-gather      [2, n, k]        where wanted, each rank's list of its k most probable tokens
    all-reduce SUM  [N, K]           where wanted, how many logits are larger than each target's

The twin of sharded/join.py, for several targets a row too.
"""

import torch
from torch import Tensor

from lmhead.ops.problem import Problem, Solved
from lmhead.ops.row_terms import LEAST
from lmhead.ops.sharded.collectives import add_up
from lmhead.ops.sharded.join import add_up_parts, largest_of_all
from lmhead.ops.top_tokens import first_of_all_ranks
from lmhead.ops.triton.launch import RowKernels, RowState
from lmhead.ops.triton.scored_rows import ScoredRows

_NO_ID = 2**31 - 1  # row_top.py: of a lane that holds no token
_NO_COLUMN = -(2**31) + 1  # below every target's column, which may be another rank's: counted from this one's first


def join(problem: Problem, rows: ScoredRows, kernels: RowKernels, state: RowState) -> None:
    """Make the states of n rows those of the whole vocabulary, in place.

    Raises:
        ArgumentError: on all ranks, where their targets differ, one is out of range, or their columns are not the whole
            vocabulary. Where nothing is waited for, every loss is NaN instead.
    """
    waits = rows.scored is None
    own_top, rest, moment, logits_sum = state.sums.unbind(1)
    top = largest_of_all(own_top, problem, rows.picked(slice(0, rows.n)), waits=waits)
    if not rows.n:
        return
    targets, z_target = _of_scored(problem.targets, rows), state.z_target.unbind(1)
    columns = targets - problem.shard.start
    shift = own_top - top
    decay = shift.exp()
    of_targets = {f"z_target of {k}": z for k, z in enumerate(z_target)}  # 0 where another rank has the target
    parts = {"rest": rest * decay, **of_targets}
    if kernels.needs_moment:
        parts["moment"] = decay * (moment + shift.clamp(min=LEAST) * rest)
    if problem.options.label_smoothing:
        parts["logits_sum"] = logits_sum
    if "hit" in problem.outputs:
        beaten = _beaten(columns, problem.weight.shape[0], state, shift == 0).to(rest.dtype)
        parts |= {f"beaten of {k}": of_target for k, of_target in enumerate(beaten.unbind(1))}
    add_up_parts(parts, problem, waits=waits)
    own_top.copy_(top)
    for name, column in {"rest": rest, "moment": moment, "logits_sum": logits_sum, **of_targets}.items():
        if name in parts:
            column.copy_(parts[name])
    if "hit" in problem.outputs:
        beaten = torch.stack([parts[f"beaten of {k}"] for k in range(len(z_target))], 1)
        hit = (beaten == 0) & (targets != problem.ignore_index)
        state.best.copy_(columns.where(hit, _NO_COLUMN).amax(1))


def _beaten(columns: Tensor, V: int, state: RowState, is_top: Tensor) -> Tensor:
    """bool [n, K]: this rank has a logit that is larger than the target's, or as large and before it.

    A rank behind the target's says nothing: the target's own knows whether something larger is anywhere.
    """
    here, before = (columns >= 0) & (columns < V), columns >= V
    of_own = (state.best[:, None] != columns) | ~is_top[:, None]
    return (here & of_own) | (before & is_top[:, None])


def join_top(problem: Problem, rows: ScoredRows, out: Solved) -> None:
    """Make each row's list of tokens [k], as rows_kernel leaves it between tiles, that of the whole vocabulary."""
    logits, ids = (_of_scored(out.rows[name], rows) for name in ("top_logprobs", "top_ids"))
    V = problem.vocab_size
    logits, ids = first_of_all_ranks(
        logits, torch.where(ids == _NO_ID, V, ids + problem.shard.start), ids.shape[1], problem.shard
    )
    _put(out.rows["top_logprobs"], logits, rows)
    _put(out.rows["top_ids"], ids.where(ids < V, _NO_ID), rows)


def join_ranks(problem: Problem, out: Solved) -> None:
    """Add up how many logits are larger than each target's [N, K]; 0 of those that are ignored."""
    counts = out.rows["rank"]
    add_up(counts, problem.shard.group)
    counts.masked_fill_(~problem.scored, 0)


def _of_scored(column: Tensor, rows: ScoredRows) -> Tensor:
    return column if rows.index is None else column[rows.index]


def _put(column: Tensor, values: Tensor, rows: ScoredRows) -> None:
    """Write what belongs to the n rows; of those among them that nobody scores, 0."""
    if rows.index is not None:
        column[rows.index] = values
    else:
        column.copy_(values if rows.scored is None else values.where(rows.scored, 0))
