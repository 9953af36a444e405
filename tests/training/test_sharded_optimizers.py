"""The optimisers of a sharded model step as those of one process do, whatever its parameters lie on."""

import pytest
import torch
from tests.ranks.launched import on_ranks
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from lmhead.models.gpt import GPT
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.training.config.optimizer_config import OptimizerConfig
from lmhead.training.optimizers.optimizer import Optimizers, parameter_groups
from lmhead.training.weights.average import WeightAverage

STYLES = ("modern", "course")


def model(*, tied: bool = False, style: str = "modern", modules: bool = False) -> GPT | MultiTokenModel:
    torch.manual_seed(3)
    built = GPT(11, 8, 2, 2, style=style, tie_weights=tied)
    kind = "parallel" if style == "course" else "sequential"
    return MultiTokenModel.behind(built, depth=2, kind=kind) if modules else built


def sharded(built: nn.Module, mesh, *, head_mesh=None, ignored: set[nn.Parameter] | None = None) -> nn.Module:
    main = built.main if isinstance(built, MultiTokenModel) else built
    for layer in main.model.layers:
        fully_shard(layer, mesh=mesh, ignored_params=ignored)
    if head_mesh is not None:
        fully_shard(main.lm_head, mesh=head_mesh)
    fully_shard(built, mesh=mesh, ignored_params=ignored)
    return built


def names_of_groups(built: nn.Module, *, apart: bool) -> dict[str, list[str]]:
    names = {id(parameter): name for name, parameter in built.named_parameters()}
    groups = parameter_groups(built, modules_apart=apart)
    return {kind: [names[id(parameter)] for parameter in group] for kind, group in groups.items()}


def whole(tensor: Tensor) -> Tensor:
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().clone()  # else perhaps its own


def trained(built: nn.Module, optimizers: Optimizers) -> tuple[list[Tensor], list[Tensor]]:
    """(the weights, their average) after three steps by gradients that every rank draws alike."""
    average = WeightAverage(built)
    for step in range(3):
        generator = torch.Generator().manual_seed(step)
        for parameter in built.parameters():
            gradient = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
            parameter.grad = (
                distribute_tensor(gradient, parameter.device_mesh, parameter.placements, src_data_rank=None)
                if isinstance(parameter, DTensor)
                else gradient
            )
        optimizers.step(1.0 - 0.2 * step)
        average.add(since=0)
    own = [whole(parameter) for parameter in built.parameters()]
    with average.in_place():
        means = [whole(parameter) for parameter in built.parameters()]
    back = [whole(parameter) for parameter in built.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(own, back, strict=True))
    return own, means


def compared(ranks) -> list[str]:
    different = []
    for style, tied, modules in [(style, tied, modules) for style in STYLES for tied in (0, 1) for modules in (0, 1)]:
        case = {"style": style, "tied": bool(tied), "modules": bool(modules)}
        for apart in (False, True):
            expected = names_of_groups(model(**case), apart=apart)
            if names_of_groups(sharded(model(**case), ranks.body), apart=apart) != expected:
                different.append(f"groups of {case}")
    other_mesh = init_device_mesh("cpu", (ranks.size,), mesh_dim_names=("another",))
    for name in ("adamw", "muon"):
        for dtype in (torch.float32, torch.bfloat16):
            for meshes in ("one", "two", "some plain"):
                config = OptimizerConfig(name=name, weight_decay=0.01)
                alone, many = model().to(dtype), model().to(dtype)
                plain = {each for number, each in enumerate(many.parameters()) if number % 3 == 0}
                sharded(
                    many,
                    ranks.body,
                    head_mesh=other_mesh if meshes == "two" else None,
                    ignored=plain if meshes == "some plain" else None,
                )
                one, other = trained(alone, Optimizers(alone, config)), trained(many, Optimizers(many, config))
                for what, ours, theirs in zip(("weights", "means"), other, one, strict=True):
                    if not all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True)):
                        different.append(f"{what} of {name}, {dtype}, {meshes}")
    return different


def evaluated(ranks) -> list[bool]:
    """Whether each forward has the weights that are in place, though FSDP2 keeps whole ones of the root behind it."""
    alone, many = model(), sharded(model(), ranks.body)
    ids = torch.arange(11)[None]
    averages = WeightAverage(alone), WeightAverage(many)
    said: list[list[Tensor]] = []
    for built, average in zip((alone, many), averages, strict=True):
        average.add(since=0)
        outputs = []
        with torch.no_grad():
            for parameter in built.parameters():
                parameter.mul_(2)
            outputs.append(built(ids))
            with average.in_place():
                outputs.append(built(ids))
            outputs.append(built(ids))
        said.append([logits for logits, _ in outputs])
    return [torch.allclose(a, b, atol=1e-5) for a, b in zip(*said, strict=True)] + [
        bool((said[0][0] - said[0][1]).abs().max() > 0.1)
    ]


def test_an_average_is_in_place_whatever_was_evaluated_before() -> None:
    assert on_ranks(2, evaluated) == [[True] * 4] * 2


@pytest.mark.parametrize("mesh", [None, "dp=2"])
def test_groups_steps_masters_and_averages_are_those_of_one_process(mesh: str | None) -> None:
    assert on_ranks(2, compared, mesh=mesh) == [[], []]
