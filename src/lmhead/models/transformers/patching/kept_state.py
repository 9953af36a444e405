"""What a forward changes beside its output, kept: random states and buffers."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def random_states_kept(model: nn.Module) -> Iterator[None]:
    """Torch's on the model's devices, Python's and NumPy's are afterwards what they were."""
    python, numpy = random.getstate(), np.random.get_state()
    states = [(generator, generator.get_state()) for generator in _generators(model)]
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        for generator, state in states:
            generator.set_state(state)


def seed(model: nn.Module) -> None:
    """Torch's random state on the model's devices: torch.manual_seed would change that of all others too."""
    for generator in _generators(model):
        generator.manual_seed(0)


def _generators(model: nn.Module) -> list[torch.Generator]:
    devices = {parameter.device for parameter in model.parameters() if parameter.device.type != "cpu"}
    found = [torch.default_generator]
    for device in devices:
        module = torch.get_device_module(device)
        if device.type == "mps":  # one device, and no list
            found.append(module._get_default_mps_generator())
        else:
            found.append(module.default_generators[device.index or 0])
    return found


@contextmanager
def buffers_kept(model: nn.Module) -> Iterator[None]:
    """Buffers are afterwards the same tensors with the same values, and none is there that was not."""
    owned = [(module, dict(module._buffers)) for module in model.modules() if module._buffers]
    tensors = [buffer for _, buffers in owned for buffer in buffers.values() if buffer is not None]
    before = [(buffer, buffer._version, buffer.clone()) for buffer in tensors]
    try:
        yield
    finally:
        for module, buffers in owned:
            module._buffers.clear()
            module._buffers.update(buffers)
        with torch.no_grad():
            for buffer, version, value in before:
                if buffer._version != version:  # what is written anew is gone for a backward that has saved it
                    buffer.copy_(value)
