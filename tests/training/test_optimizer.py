"""Every parameter is trained once, in its own group; the schedule warms up, holds and falls to nothing."""

import copy
import math

import pytest
import torch

from lmhead.errors import ArgumentError
from lmhead.models.gpt import GPT
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.models.multi_token.style import KINDS, Kind
from lmhead.training.config.optimizer_config import OptimizerConfig
from lmhead.training.optimizers.optimizer import Optimizers, parameter_groups, schedule


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


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_modules_are_matrices_and_vectors_and_parallel_heads_are_heads(kind: Kind, apart: bool) -> None:
    behind = MultiTokenModel.behind(model(tie_weights=False), depth=2, kind=kind)
    groups = parameter_groups(behind, modules_apart=apart)
    ids = [id(parameter) for group in groups.values() for parameter in group]
    assert sorted(ids) == sorted(id(parameter) for parameter in behind.parameters())
    alone = {name: len(group) for name, group in parameter_groups(behind.main).items()}
    modules = {"head": 2} if kind == "parallel" else _of_modules(1 if kind == "recurrent" else 2)
    if apart:
        assert {name: len(group) for name, group in groups.items()} == alone | {
            f"mtp_{name}": count for name, count in modules.items()
        }
    else:
        assert all(len(groups[name]) == alone[name] + modules.get(name, 0) for name in groups)


def _of_modules(count: int) -> dict[str, int]:
    """The projection, four matrices of attention and three of the MLP; three norms, and two of the block."""
    return {"matrix": 8 * count, "vector": 5 * count}


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_modules_apart_have_a_rate_of_their_own(name: str) -> None:
    behind = MultiTokenModel.behind(model(tie_weights=False), isolated=True)
    optimizers = Optimizers(behind, OptimizerConfig(name=name, mtp_rate=0.5))  # type: ignore[arg-type]
    rates = {id(p): group["lr"] for part in optimizers.parts for group in part.param_groups for p in group["params"]}
    usual = OptimizerConfig(name=name).rates()  # type: ignore[arg-type]
    assert {rates[id(p)] for p in behind.mtp.parameters() if p.dim() == 2} == {0.5}
    vector = pytest.approx(0.5 * usual["vector"] / usual["matrix"])
    assert [rates[id(p)] for p in behind.mtp.parameters() if p.dim() == 1] == [vector] * 5
    assert {rates[id(p)] for p in behind.main.parameters()} == set(usual.values())


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_modules_of_matrices_alone_behind_a_frozen_model_are_trained(name: str) -> None:
    behind = MultiTokenModel.behind(model(norm_weight=False))
    behind.main.requires_grad_(False)
    before = [parameter.detach().clone() for parameter in behind.parameters()]
    behind.mtp.requires_grad_(True)
    for parameter in behind.mtp.parameters():
        parameter.grad = torch.randn_like(parameter)
    Optimizers(behind, OptimizerConfig(name=name)).step(1.0)  # type: ignore[arg-type]
    moved = [bool((old != new).any()) for old, new in zip(before, behind.parameters(), strict=True)]
    assert moved == [parameter.requires_grad for parameter in behind.parameters()]


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


def narrow() -> tuple[torch.nn.Linear, Optimizers]:
    """Weights of 1 in bfloat16, whose steps of 2^-12 are a sixteenth of what it could keep."""
    layer = torch.nn.Linear(2, 2, bias=False, dtype=torch.bfloat16)
    torch.nn.init.ones_(layer.weight)
    return layer, Optimizers(layer, OptimizerConfig(name="adamw", matrix_rate=2**-12))


def test_small_steps_of_narrow_weights_add_up() -> None:
    layer, optimizers = narrow()
    for _ in range(64):
        layer.weight.grad = torch.ones_like(layer.weight)
        optimizers.step(1.0)
        assert layer.weight.grad is None
    torch.testing.assert_close(layer.weight.float(), torch.full((2, 2), 1 - 64 * 2**-12), rtol=0, atol=2**-9)


def test_what_narrow_weights_have_not_rounded_to_survives_a_round_trip() -> None:
    layer, optimizers = narrow()
    other, again = narrow()
    for step in range(20):
        if step == 5:
            other.load_state_dict(layer.state_dict())
            again.load_state_dict(copy.deepcopy(optimizers.state_dict()))
        trained = [(layer, optimizers)] if step < 5 else [(layer, optimizers), (other, again)]
        for each, by in trained:
            each.weight.grad = torch.ones_like(each.weight)
            by.step(1.0)
    assert torch.equal(layer.weight, other.weight)
    assert float(layer.weight.detach()[0, 0]) < 1


def test_the_schedule_warms_up_holds_and_falls_to_nothing() -> None:
    config = OptimizerConfig(warmup_steps=10, decay_share=0.5)
    factors = [schedule(step, 100, config) for step in range(100)]
    assert factors[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert set(factors[10:50]) == {1.0}
    assert factors[75] == pytest.approx(0.5)
    assert 0 < factors[99] <= 0.02
    assert schedule(50, None, config) == 1.0


def test_the_linear_schedule_is_the_formula_to_the_bit() -> None:
    config = OptimizerConfig()
    for steps in (7, 100, 713):
        for step in range(steps):
            expected = min(min(1.0, (step + 1) / 20), (steps - step) / steps / 0.6, 1.0)
            assert schedule(step, steps, config) == expected


def test_a_cosine_falls_in_half_a_wave_from_the_warm_up_on() -> None:
    config = OptimizerConfig(schedule="cosine", warmup_steps=10)
    factors = [schedule(step, 110, config) for step in range(110)]
    assert factors[9] == factors[10] == 1.0
    assert factors[60] == pytest.approx(0.5)
    assert factors[35] == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert 0 < factors[109] < 0.001
    late = OptimizerConfig(schedule="cosine", decay_share=0.2)
    assert [schedule(step, 100, late) for step in (50, 79, 80, 90)] == pytest.approx([1.0, 1.0, 1.0, 0.5])


def test_a_cosine_is_that_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    theirs = transformers.get_cosine_schedule_with_warmup(optimizer, 10, 50)
    config = OptimizerConfig(schedule="cosine", warmup_steps=10)
    for step in range(50):
        if step >= 10:  # their warm-up begins with a step at 0
            assert schedule(step, 50, config) == pytest.approx(theirs.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        theirs.step()


def test_a_constant_schedule_never_falls() -> None:
    config = OptimizerConfig(schedule="constant", warmup_steps=4)
    assert [schedule(step, 50, config) for step in range(50)] == [0.25, 0.5, 0.75, *[1.0] * 47]


@pytest.mark.parametrize("name", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("share", [None, 0.0, 1e-300, 0.5, 1.0])
@pytest.mark.parametrize("warmup", [0, 1, 5, 50, 2**31 - 1])
@pytest.mark.parametrize("steps", [1, 2, 30])
def test_every_schedule_stays_above_nothing_and_below_its_peak(
    name: str, share: float | None, warmup: int, steps: int
) -> None:
    config = OptimizerConfig(schedule=name, decay_share=share, warmup_steps=warmup)  # type: ignore[arg-type]
    assert all(0 < schedule(step, steps, config) <= 1 for step in range(steps))


@pytest.mark.parametrize("vector", [0.0, 1.0])
def test_rates_that_train_nothing_are_refused(vector: float) -> None:
    config = OptimizerConfig(matrix_rate=0.0, embedding_rate=0.0, head_rate=0.0, vector_rate=vector)
    with pytest.raises(ArgumentError, match="matrix, embedding, head must be > 0"):
        Optimizers(model(tie_weights=False, norm_weight=False), config)  # which has no vectors
    if vector:
        Optimizers(model(norm_weight=True), config)
