"""All tensors that a run goes on from, by name: what is trained, the optimisers' states and the average of weights.

    model/NAME                a parameter or persistent buffer
    optimizer/NAME/exp_avg    and so on, of the parameter NAME; master: its float32 master
    average/NAME              the mean of its last weights

NAME is the parameter's in the model. A sharded parameter's are sharded as it is.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from lmhead.training.optimizers.optimizer import Optimizers
from lmhead.training.weights.average import WeightAverage
from lmhead.training.weights.trained_state import trained_parameters, trained_tensors

_MODEL, _OPTIMIZER, _AVERAGE = "model/", "optimizer/", "average/"


def state_tensors(model: nn.Module, optimizers: Optimizers, average: WeightAverage | None) -> dict[str, Tensor]:
    """The tensors themselves, not copies."""
    means = {} if average is None else dict(zip(trained_parameters(model), average.state_dict()["means"], strict=False))
    return {
        **_under(_MODEL, trained_tensors(model)),
        **_under(_OPTIMIZER, optimizers.tensors(model)),
        **_under(_AVERAGE, means),
    }


def prepared_tensors(
    like: Mapping[str, Tensor], model: nn.Module, optimizers: Optimizers, average: WeightAverage | None
) -> dict[str, Tensor]:
    """The tensors of a saved state, in the model, its optimisers and its average: to be filled in place.

    Args:
        like: of the saved ones by name: shape and dtype.
        average: a saved one is left out where this is None.

    Raises:
        RuntimeError: they are of another model, or other parameters of it were trained.
    """
    own = trained_tensors(model)
    if different := sorted(own.keys() ^ _of(_MODEL, like).keys()):
        raise RuntimeError(f"other parameters are trained: {different[0]} is in one of the two alone")
    found = {**_under(_MODEL, own), **_under(_OPTIMIZER, optimizers.prepare(model, _of(_OPTIMIZER, like)))}
    if average is not None:
        means = _of(_AVERAGE, like)
        of_each = {
            name: torch.empty_like(parameter, dtype=means[name].dtype)  # in the model's order, as the average has them
            for name, parameter in trained_parameters(model).items()
            if name in means
        }
        found |= _under(_AVERAGE, of_each)
    left_out = () if average is not None else (_AVERAGE,)
    saved = {name for name in like if not name.startswith(left_out)}
    if different := sorted(saved ^ found.keys()):
        raise RuntimeError(f"{different[0]} is in one of the two alone")
    for name, tensor in found.items():
        if tensor.shape != like[name].shape:
            raise RuntimeError(f"{name} has the shape {list(tensor.shape)}, not {list(like[name].shape)}")
    return found


def means_of(tensors: Mapping[str, Tensor]) -> list[Tensor]:
    """The average's, as WeightAverage takes them up."""
    return list(_of(_AVERAGE, tensors).values())


def tensors_of_one(state: Mapping[str, Any], model: nn.Module, optimizers: Optimizers) -> dict[str, Tensor]:
    """Those of one process' training.pt, by the names above."""
    own = trained_tensors(model)
    further = {name for name, _ in model.named_parameters(remove_duplicate=False)} - own.keys()  # of tied weights
    trained = {name: tensor for name, tensor in state["model"].items() if name not in further}
    means = [] if state["average"] is None else state["average"]["means"]
    return {
        **_under(_MODEL, trained),
        **_under(_OPTIMIZER, optimizers.named(model, state["optimizers"])),
        **_under(_AVERAGE, dict(zip(trained_parameters(model), means, strict=False))),
    }


@torch.no_grad()
def fill(tensors: Mapping[str, Tensor], whole: Mapping[str, Tensor]) -> None:
    """Put into each of the tensors this rank's part of the whole one."""
    for name, tensor in tensors.items():
        part, own = whole[name], tensor
        if isinstance(tensor, DTensor):
            shape, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
            for dim, (first, count) in enumerate(zip(offset, shape, strict=True)):
                part = part.narrow(dim, first, count)
            own = tensor.to_local()
        own.copy_(part)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor.detach() for name, tensor in tensors.items()}


def _of(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
