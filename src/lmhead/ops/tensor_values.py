"""Whether a tensor has values that Python may look at, and whether a transform of torch is at work.

A check that reads values, or a choice that depends on them, asks here first: a graph that is traced would break or keep
this call's answer for ever, and tensors that are fake, on the meta device or batched by vmap have none.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import is_fake

from lmhead.errors import ArgumentError

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor
    from typing_extensions import TypeIs

_PROXY = torch._C._TorchDispatchModeKey.PROXY


def is_traced() -> bool:
    """Whether what runs now is being written down: torch.compile, torch.export, make_fx, torch.jit.trace."""
    if torch.compiler.is_compiling():
        return True
    return torch._C._get_tracing_state() is not None or torch._C._get_dispatch_mode(_PROXY) is not None


def is_dtensor(tensor: object) -> "TypeIs[DTensor]":
    """Whether it is a DTensor, whose parts are on several ranks. By its name: importing the class takes a second."""
    return type(tensor).__name__ == "DTensor"


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


def on_the_host(tensor: Tensor) -> Tensor:
    """`tensor` itself, detached, on the CPU: its values become Python's numbers.

    Raises:
        ArgumentError: it has none.
    """
    if not torch.compiler.is_compiling() and not has_values(tensor):  # a compiler makes a break of what follows
        raise ArgumentError(
            "what is measured must have values, got a tensor that is fake, on the meta device or inside vmap: "
            "measure outside, where values are"
        )
    return tensor.detach().cpu()
