"""Whether a tensor has values that Python may look at, and whether a transform of torch is at work.

A check that reads values, or a choice that depends on them, asks here first: a graph that is traced would break or keep
this call's answer for ever, and tensors that are fake, on the meta device or batched by vmap have none.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import is_fake

_PROXY = torch._C._TorchDispatchModeKey.PROXY


def is_traced() -> bool:
    """Whether what runs now is being written down: torch.compile, torch.export, make_fx, torch.jit.trace."""
    if torch.compiler.is_compiling():
        return True
    recorded: bool = torch.jit.is_tracing() or torch._C._get_dispatch_mode(_PROXY) is not None
    return recorded


def is_transformed() -> bool:
    """Whether a transform of torch.func is at work (grad, vmap, jvp, jacrev, ...)."""
    active: bool = torch._C._are_functorch_transforms_active()
    return active


def carries_tangent(tensors: Iterable[Tensor | None]) -> bool:
    """Whether forward-mode differentiation is on and one of them has a tangent; not asked inside torch.func."""
    if torch.autograd.forward_ad._current_level < 0:
        return False
    unpack: Callable[[Tensor], Any] = torch.autograd.forward_ad.unpack_dual
    return any(tensor is not None and unpack(tensor).tangent is not None for tensor in tensors)


def has_values(tensor: Tensor) -> bool:
    """Whether values can be looked at, if need be by waiting for the device."""
    if is_traced() or tensor.is_meta or is_fake(tensor):
        return False
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        if torch._C._functorch.is_batchedtensor(tensor):
            return False
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return True


def may_be_read(tensor: Tensor) -> bool:
    """Whether values can be looked at without a wait: those of a plain tensor on the CPU."""
    return type(tensor) in (Tensor, torch.nn.Parameter) and tensor.device.type == "cpu" and has_values(tensor)
