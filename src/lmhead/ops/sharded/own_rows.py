"""Ranks with rows of their own before a vocabulary-parallel head: gathered for it, and each given back what is its own.

    hidden [N_r, D] of rank r -- all-gather --> [sum N_r, D] x this rank's columns --> the ranks' mean loss
    its gradient     <-- reduce-scatter --      partial, of this rank's columns

Gradients are those of data parallel ranks whose weights' gradients are averaged: hidden states get that of their own
rank's loss, and the head's rows the mean over the ranks of theirs. (FSDP averages over the other ranks.)
"""

from dataclasses import dataclass, replace

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from lmhead.errors import require
from lmhead.ops.problem import Problem, Solved
from lmhead.ops.sharded.row_exchange import gathered, scaled_gradient


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRows:
    """Where this rank's rows stand among those of all ranks, each of which is padded to the longest."""

    group: dist.ProcessGroup
    count: int  # of this rank
    longest: int  # of any rank

    @staticmethod
    def of(count: int, group: dist.ProcessGroup, device: torch.device) -> "OwnRows":
        """Of this many rows here: one all-reduce."""
        most = torch.tensor([count], device=device)
        dist.all_reduce(most, dist.ReduceOp.MAX, group=group)
        return OwnRows(group=group, count=count, longest=int(most))

    def all(self, rows: Tensor, fill: float = 0.0) -> Tensor:
        """[size * longest, ..], from this rank's [N, ..]; the gradient is summed over the ranks."""
        padding = (0, 0) * (rows.dim() - 1) + (0, self.longest - self.count)
        return gathered(F.pad(rows, padding, value=fill), self.group)

    def own(self, rows: Tensor) -> Tensor:
        """This rank's [N, ..] of all ranks'."""
        return rows.narrow(0, self.group.rank() * self.longest, self.count)

    def problem(self, own: Problem) -> Problem:
        """The problem of all ranks' rows, from this rank's, which does not score the padding."""
        hidden = scaled_gradient(own.hidden, self.group.size())  # the loss below is the ranks' mean
        adapted = own.adapter_hidden
        return replace(
            own,
            hidden=self.all(hidden),
            targets=self.all(own.targets, own.ignore_index),
            adapter_hidden=None if adapted is None else self.all(adapted),  # all of its gradient on every rank
        )

    def coefficient(self, own: Tensor | None) -> Tensor:
        """What the losses [size * longest, 1] are multiplied with for the mean over the ranks.

        Raises:
            ArgumentError: each token's loss is asked for.
        """
        require(own is not None, "reduction", 'be "mean" or "sum" where each rank has rows of its own', "none")
        assert own is not None
        return self.all(own) / self.group.size()

    def solved(self, every: Solved) -> Solved:
        """The mean loss, and the outputs of this rank's rows."""
        return Solved(loss=every.loss, rows={name: self.own(column) for name, column in every.rows.items()})
