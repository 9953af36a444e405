"""The hidden states' gradient of a vocabulary-parallel head: the sum of what each rank's columns give."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lmhead.ops.problem import Problem
from lmhead.ops.sharded import collectives


def add_up_states(gradients: Mapping[str, Tensor], problem: Problem) -> None:
    """Make the gradients of a problem's states those of all ranks' columns, in place; a partial one stays as it is."""
    shard = problem.shard
    if not shard.group:
        return
    for name in ("adapter_hidden",) if shard.partial_hidden_gradient else ("hidden", "adapter_hidden"):
        if name in gradients:
            collectives.add_up(gradients[name], shard.group)


def part_of_gradient(states: Tensor, ranks: int) -> Tensor:
    """The same states; of their gradient, equal on all ranks, each passes on its part of the sum."""
    part: Tensor = _Part.apply(states, ranks)  # type: ignore[no-untyped-call]
    return part


class _Part(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(states: Tensor, ranks: int) -> Tensor:
        return states.view_as(states)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.ranks = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient / ctx.ranks, None
