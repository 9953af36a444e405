"""The join of a vocabulary-parallel softmax: what each rank finds in its own columns becomes what all columns hold.

    all-reduce MAX    [N]         the largest logit of each row
    all-reduce SUM    [c, n]      of the n rows that are scored: the others' exponentials below it, the target's logit;
                                  where wanted what entropy, smoothed labels and hits are made of: packed into one

Beside each go a few numbers that tell whether the ranks do the same thing: they raise together where they do not. (So
the MAX is of all rows: ranks that were given other targets may score another number of them.)
Where ranks are asked for, one more SUM [n]: they count what is above a logit that one rank alone has.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lmhead.errors import require
from lmhead.ops.checks import require_targets_in_range
from lmhead.ops.problem import Problem
from lmhead.ops.row_terms import LEAST
from lmhead.ops.sharded import collectives

_HASHES = 2**20  # exact in float32


@dataclass(slots=True, kw_only=True)
class ColumnSums:
    """Of n rows with one target each, over some columns; the sums leave the target out where it is among them."""

    targets: Tensor  # [n] int64, counted from the first of this rank's columns: < 0, or too large, is another rank's
    top: Tensor  # [n], the largest logit; finite
    rest: Tensor  # [n], sum of exp(logit - top)
    z_target: Tensor  # [n], the target's logit; -inf where another rank has it
    moment: Tensor | None = None  # [n], sum of exp(x) * x, x = logit - top; where entropy is needed
    sum: Tensor | None = None  # [n], of all logits, the target's too; where labels are smoothed
    beaten: Tensor | None = None  # bool [n]: one of these columns is above the target, or equal and before it

    def join(self, problem: Problem, rows: Tensor | None) -> None:
        """Make them those of all ranks' columns, in place of this rank's; `top` is then that of the target too.

        Args:
            rows: [n] indices of the problem's N rows; None where these are all.

        Raises:
            ArgumentError: on all ranks, where their targets differ, one is neither in [0, V) nor ignore_index, or their
                rows are not the whole head.
        """
        own_top = torch.maximum(self.top, self.z_target)
        top = largest_of_all(own_top, problem, slice(None) if rows is None else rows)
        if not len(top):
            return
        shift = self.top - top
        here = (self.targets >= 0) & (self.targets < problem.weight.shape[0])
        parts = {"rest": self.rest * shift.exp(), "z_target": self.z_target.where(here, 0)}
        if self.moment is not None:
            parts["moment"] = rebased(self.moment, self.rest, shift)
        if self.sum is not None:
            parts["sum"] = self.sum
        if self.beaten is not None:  # a rank before the target's beats it by a logit that is the largest
            before = (self.targets >= problem.weight.shape[0]) & (own_top == top)
            parts["beaten"] = torch.where(here, self.beaten | (self.z_target < top), before).to(top.dtype)
        add_up_parts(parts, problem)
        self.top, self.rest, self.z_target = top, parts["rest"], parts["z_target"]
        self.moment, self.sum = parts.get("moment"), parts.get("sum")
        self.beaten = parts["beaten"] > 0 if "beaten" in parts else None


def rebased(moment: Tensor, rest: Tensor, shift: Tensor) -> Tensor:
    """sum of e^(x - a) (x - a) for another a: `shift` <= 0 is added to every x - a."""
    return shift.exp() * (moment + shift.clamp(min=LEAST) * rest)


def largest_of_all(top: Tensor, problem: Problem, rows: slice | Tensor, *, waits: bool = True) -> Tensor:
    """The largest [n] of all ranks', who have the same targets [N, K].

    Args:
        waits: refuse what is wrong with the targets; else ranks that have others get NaN, and nothing is waited for.

    Raises:
        ArgumentError: on all ranks, where their targets differ or one is neither in [0, V) nor ignore_index.
    """
    ids = problem.targets.reshape(-1)
    hashed = ((ids * 7919 + torch.arange(len(ids), device=ids.device) * 104729) % _HASHES).sum() % _HASHES
    largest = top.new_full(problem.targets.shape[:1], torch.finfo(top.dtype).min)
    largest[rows] = top
    packed = torch.cat([largest, torch.stack([hashed, -hashed]).to(top.dtype)])
    collectives.maximum(packed, problem.shard.group)
    if not waits:
        return torch.where(packed[-2] == -packed[-1], packed[:-2][rows], torch.nan)
    most, least = packed[-2:].tolist()
    require(
        most == -least,
        "targets",
        "be the same on all ranks that share a head",
        "others on some rank",
        "gather hidden states and targets of the group before, and give every rank all of them",
    )
    require_targets_in_range(problem.targets, problem.vocab_size, problem.ignore_index)
    return packed[:-2][rows]


def add_up_parts(parts: dict[Any, Tensor], problem: Problem, *, waits: bool = True) -> None:
    """The sums [n] over all ranks, in one collective, in place of each rank's.

    Args:
        waits: refuse rows that are not the whole head's; else the sums are NaN then, and nothing is waited for.

    Raises:
        ArgumentError: on all ranks, where they have fewer rows of the head together than it has, or more.
    """
    columns = torch.stack(list(parts.values()))
    rows = columns.new_tensor([problem.weight.shape[0]])
    packed = torch.cat([columns.reshape(-1), rows])
    collectives.add_up(packed, problem.shard.group)
    V = problem.vocab_size
    if waits:
        held = int(packed[-1].item())
        rule = f"have {V} rows on all ranks of the group together, as shard.vocab_size says"
        require(held == V, "weight", rule, held)
    else:
        packed[:-1] += torch.where(packed[-1] == V, 0.0, torch.nan)
    parts.update(zip(parts, packed[:-1].reshape(columns.shape), strict=True))
