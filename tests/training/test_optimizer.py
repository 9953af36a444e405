"""Every parameter is trained once, in its own group; the schedule warms up, holds and falls to nothing."""

import copy

import pytest
import torch

from lmhead.models.gpt import GPT
from lmhead.training.optimizer import Optimizers, parameter_groups, schedule
from lmhead.training.optimizer_config import OptimizerConfig


def model(**options: object) -> GPT:
    return GPT(11, 8, 2, 2, style="modern", **options)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("style", ["modern", "course"])
def test_every_parameter_is_in_one_group(tied: bool, style: str) -> None:
    built = GPT(11, 8, 2, 2, style=style, tie_weights=tied)
    groups = parameter_groups(built)
    ids = [id(parameter) for group in groups.values() for parameter in group]
    assert sorted(ids) == sorted(id(parameter) for parameter in built.parameters())
    assert len(groups["head"]) == (0 if tied else 1)
    assert all(parameter.dim() == 2 for parameter in groups["matrix"])
    positions = [p for name, p in built.named_parameters() if "embed_positions" in name]
    assert all(any(p is vector for vector in groups["vector"]) for p in positions)
    assert all(parameter.dim() == 1 or any(parameter is p for p in positions) for parameter in groups["vector"])


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_only_matrices_are_decayed(name: str) -> None:
    built = model(tie_weights=False, qk_norm=True)
    optimizers = Optimizers(built, OptimizerConfig(name=name, weight_decay=0.1))  # type: ignore[arg-type]
    decay = {
        id(p): group["weight_decay"]
        for part in optimizers.parts
        for group in part.param_groups
        for p in group["params"]
    }
    assert {decay[id(p)] for p in built.parameters() if p.dim() == 2} == {0.1}
    assert {decay[id(p)] for p in built.parameters() if p.dim() == 1} == {0.0}


def test_a_step_moves_every_parameter_and_drops_the_gradients() -> None:
    built = model(tie_weights=False)
    before = [parameter.detach().clone() for parameter in built.parameters()]
    ids = torch.arange(10).reshape(1, 10)
    built.loss(ids, ids).backward()
    Optimizers(built, OptimizerConfig()).step(1.0)
    assert all((old != new).any() for old, new in zip(before, built.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in built.parameters())


def test_the_state_survives_a_round_trip() -> None:
    torch.manual_seed(0)
    ids = torch.arange(10).reshape(1, 10)
    built = model()
    optimizers = Optimizers(built, OptimizerConfig())
    for _ in range(2):
        built.loss(ids, ids).backward()
        optimizers.step(1.0)
    other = model()
    other.load_state_dict(built.state_dict())
    again = Optimizers(other, OptimizerConfig())
    again.load_state_dict(copy.deepcopy(optimizers.state_dict()))
    for trained, by in ((built, optimizers), (other, again)):
        trained.loss(ids, ids).backward()
        by.step(0.5)
    assert all(torch.equal(a, b) for a, b in zip(built.parameters(), other.parameters(), strict=True))


def test_the_schedule_warms_up_holds_and_falls_to_nothing() -> None:
    config = OptimizerConfig(warmup_steps=10, decay_share=0.5)
    factors = [schedule(step, 100, config) for step in range(100)]
    assert factors[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert set(factors[10:50]) == {1.0}
    assert factors[75] == pytest.approx(0.5)
    assert 0 < factors[99] <= 0.02
    assert schedule(50, None, config) == 1.0
