"""Muon over the rows of several ranks: what one process does, bit for bit, for equal gradients."""

import random
from math import ceil

import pytest
import torch
import torch.distributed as dist
from tests.ranks.launched import on_ranks
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from lmhead.errors import ArgumentError
from lmhead.training.optimizers.muon import StackedMuon
from lmhead.training.optimizers.sharded_muon import ShardedMuon

Shapes = list[tuple[int, int]]
OPTIONS = {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.1}


def shapes_of(seed: int) -> Shapes:
    """Stacks of 1 to 7 matrices: of fewer rows than ranks, of rows that no number of ranks divides, wide and high."""
    drawn = random.Random(seed)
    sizes = [(1, 5), (2, 9), (3, 3), (7, 20), (16, 16), (33, 8), (drawn.randint(1, 70), drawn.randint(1, 70))]
    shapes = [shape for shape in sizes for _ in range(drawn.randint(1, 7))]
    drawn.shuffle(shapes)
    return shapes


def drawn(shapes: Shapes, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def matrices(shapes: Shapes) -> nn.ParameterList:
    return nn.ParameterList(nn.Parameter(tensor) for tensor in drawn(shapes, 0))


def stepped(parameters: nn.ParameterList, shapes: Shapes, optimizer: torch.optim.Optimizer, skip: int) -> None:
    """Three steps by gradients that any number of ranks draws alike; in the second, one matrix has none."""
    for step in range(3):
        for number, (parameter, gradient) in enumerate(zip(parameters, drawn(shapes, 1 + step), strict=True)):
            given = not (step == 1 and number == skip)
            parameter.grad = _placed_as(parameter, gradient) if given else None
        optimizer.step()


def _placed_as(parameter: Tensor, whole: Tensor) -> Tensor:
    if not isinstance(parameter, DTensor):
        return whole.clone()
    return distribute_tensor(whole, parameter.device_mesh, parameter.placements, src_data_rank=None)


def whole(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor.full_tensor() if isinstance(tensor, DTensor) else tensor.detach() for tensor in tensors]


def alone(shapes: Shapes, skip: int) -> tuple[list[Tensor], list[Tensor]]:
    parameters = matrices(shapes)
    optimizer = StackedMuon(parameters, **OPTIONS)
    stepped(parameters, shapes, optimizer, skip)
    return whole(list(parameters)), whole([optimizer.state[each]["momentum"] for each in parameters])


def compared(ranks, seeds: list[int], plain: bool) -> list[tuple[int, str]]:
    """Of each seed what differs from one process: nothing."""
    different = []
    for seed in seeds:
        shapes = shapes_of(seed)
        skip = seed % len(shapes)
        parameters = matrices(shapes)
        ignored = set(list(parameters)[::3]) if plain else set()
        fully_shard(parameters, mesh=ranks.body, ignored_params=ignored)
        assert sum(not isinstance(each, DTensor) for each in parameters) == len(ignored)
        optimizer = ShardedMuon(parameters, **OPTIONS)
        stepped(parameters, shapes, optimizer, skip)
        momenta = [optimizer.state[each]["momentum"] for each in parameters]
        assert [type(each) for each in momenta] == [type(each.data) for each in parameters]
        weights, expected = alone(shapes, skip)
        for name, one, other in (("weight", whole(list(parameters)), weights), ("momentum", whole(momenta), expected)):
            different += [
                (seed, f"{name} {shape}")
                for shape, a, b in zip(shapes, one, other, strict=True)
                if not torch.equal(a, b)
            ]
    return different


@pytest.mark.parametrize(
    ("size", "mesh", "plain"), [(2, None, True), (4, None, False), (4, "dp=2", False), (2, "dp=2", False)]
)
def test_a_step_is_that_of_one_process_bit_for_bit(size: int, mesh: str | None, plain: bool) -> None:
    assert on_ranks(size, compared, [1, 2, 3], plain, mesh=mesh) == [[]] * size


def counted(ranks) -> tuple[list[int], list[str]]:
    """Bytes that leave this rank in a step, and what is refused."""
    sent, real = [], dist.all_to_all_single

    def all_to_all_single(got: Tensor, values: Tensor, received: list[int], given: list[int], *, group: object) -> None:
        away = sum(count for rank, count in enumerate(given) if rank != ranks.rank)
        sent.append(away * values.element_size())
        real(got, values, received, given, group=group)

    shapes = [(16, 8)] * 8 + [(7, 3)] * 3
    parameters = matrices(shapes)
    fully_shard(parameters, mesh=ranks.body)
    optimizer = ShardedMuon(parameters, **OPTIONS)
    dist.all_to_all_single = all_to_all_single
    try:
        stepped(parameters, shapes, optimizer, skip=-1)
    finally:
        dist.all_to_all_single = real
    by_columns = nn.Parameter(distribute_tensor(torch.ones(4, 4), ranks.body, [Shard(1)]))
    by_columns.grad = by_columns.detach().clone()
    with pytest.raises(ArgumentError, match="Muon steps must be cut once, by rows, got placements"):
        ShardedMuon([by_columns], **OPTIONS).step()
    return sent


def test_bytes_are_those_of_the_plan_and_other_cuts_are_refused() -> None:
    size, steps = 2, 3
    for rank, sent in enumerate(on_ranks(size, counted)):
        assert len(sent) == 2 * 2 * steps  # two collectives for each shape
        ones = sent[:2]
        assert sum(ones) == 8 * 16 * 8 / size * (size - 1) / size * (4 + 2)
        rows = [ceil(7 / 2), 7 // 2]
        numbers = [2, 1]  # of the three matrices
        there = numbers[1 - rank] * rows[rank] * 3 * 4
        back = numbers[rank] * rows[1 - rank] * 3 * 2
        assert sent[2:4] == [there, back]


def test_plain_matrices_are_stepped_as_ever() -> None:
    shapes = shapes_of(5)
    parameters = matrices(shapes)
    stepped(parameters, shapes, ShardedMuon(parameters, **OPTIONS), skip=0)
    assert all(torch.equal(a, b) for a, b in zip(parameters, alone(shapes, skip=0)[0], strict=True))
