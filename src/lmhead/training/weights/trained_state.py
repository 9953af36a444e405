"""Trained state, what training changes of a model: a checkpoint holds it, and knows again what was left alone."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from lmhead.errors import InputError
from lmhead.ops.tensor_values import is_dtensor
from lmhead.options import option

_LOOKED_AT: Final = 1024  # numbers of each frozen tensor, spread over it: all of a large model would take minutes


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """All of the model's state where all of it is trained; else the parameters that are, by name."""
    if _all_trained(model):
        return model.state_dict()
    return {name: parameter.detach() for name, parameter in trained_parameters(model).items()}


def trained_parameters(model: nn.Module) -> dict[str, Tensor]:
    """Each trained parameter once, by its first name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def trained_tensors(model: nn.Module) -> dict[str, Tensor]:
    """`trained_state` with each tensor once, by its first name."""
    if not _all_trained(model):
        return trained_parameters(model)
    buffers = dict(model.named_buffers())
    kept = [name for name in model.state_dict() if name in buffers]
    return {**dict(model.named_parameters()), **{name: buffers[name] for name in kept}}


def load_trained_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put back what `trained_state` gave.

    Raises:
        RuntimeError: it is of another model, or other parameters of it were trained.
    """
    if _all_trained(model):
        model.load_state_dict(state)
        return
    own = trained_state(model)
    if different := sorted(own.keys() ^ state.keys()):
        raise RuntimeError(f"other parameters are trained: {different[0]} is in one of the two alone")
    with torch.no_grad():
        for name, parameter in own.items():
            if parameter.shape != state[name].shape:
                raise RuntimeError(f"{name} has the shape {list(parameter.shape)}, not {list(state[name].shape)}")
            parameter.copy_(state[name])


def require_same_frozen(folder: Path, known: str | None, model: nn.Module) -> None:
    """Refuse frozen parameters that are not those beside which a checkpoint was trained.

    Args:
        known: their `frozen_fingerprint` then.

    Raises:
        InputError: they are others.
    """
    if known != frozen_fingerprint(model):
        raise InputError(
            f"cannot resume from {folder}: the weights of {option('init')} that were frozen in training are not those "
            "that are there now; bring them back"
        )


def frozen_fingerprint(model: nn.Module) -> str | None:
    """Equal for equal frozen parameters, as far as some numbers of each tell; None where there are none.

    Of a sharded model all ranks call it, and get what one process gets.

    What bitsandbytes holds is told by names and shapes alone: processors round it differently.
    """
    digest, found = hashlib.sha256(), False
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            continue
        found = True
        digest.update(f"{name} {list(parameter.shape)} {parameter.dtype}".encode())
        if parameter.is_floating_point():
            whole = parameter.full_tensor() if is_dtensor(parameter) else parameter
            flat = whole.detach().flatten()
            spread = flat[:: max(1, len(flat) // _LOOKED_AT)]
            digest.update(spread.float().cpu().numpy().tobytes())
    return digest.hexdigest() if found else None


def _all_trained(model: nn.Module) -> bool:
    return all(parameter.requires_grad for parameter in model.parameters())
