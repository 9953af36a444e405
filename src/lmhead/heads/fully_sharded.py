"""FSDP2 (`fully_shard`) and a head: what class it has put its own in front of, whose shard a weight is, and the gather.

FSDP2 gathers a module's weights around its forward, and around methods that were registered with it
(`register_fsdp_forward_method`). A head or an output layer that was sharded by itself needs no registration here: its
loss is registered as it is called.

FSDP2 is not imported here unless it is there already, as it must be where there is a module of its.
"""

import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar, cast

from torch import Tensor, nn

from lmhead.ops.tensor_values import is_dtensor

Method = TypeVar("Method", bound=Callable[..., Any])

_FSDP: Final = "torch.distributed.fsdp"
_GATHERED: Final = "_lmhead_gathered"


def class_beneath(module: object) -> type:
    """The class of `module`; of one that was sharded by itself, the class that it had before."""
    kind = type(module)
    if not is_fully_sharded(module):
        return kind
    ours: Any = sys.modules[_FSDP]
    return next(each for each in kind.__mro__ if not issubclass(each, ours.FSDPModule))


def is_fully_sharded(module: object) -> bool:
    """Whether `fully_shard` was called on the module itself."""
    return _FSDP in sys.modules and isinstance(module, sys.modules[_FSDP].FSDPModule)


def is_fsdp_shard(tensor: Tensor) -> bool:
    """Whether `tensor` is a Parameter of which FSDP2 keeps a part on each rank.

    It is a DTensor as that of a tensor parallel layer is, but its ranks read rows of their own.
    """
    if not is_dtensor(tensor) or _FSDP not in sys.modules:
        return False
    from torch.distributed._composable_state import _module_state_mapping

    states = (reference() for reference in _module_state_mapping.values())
    groups = (group for state in states for group in getattr(state, "_fsdp_param_groups", ()))
    return any(parameter.sharded_param is tensor for group in groups for parameter in group.fsdp_params)


def gathered(method: Method) -> Method:
    """A loss of a head, around which FSDP2 gathers the weights of the head, or of its layer, that it has sharded."""

    @functools.wraps(method)
    def around(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        module = next(_sharded_now(self), None)
        if module is None:
            return method(self, *args, **kwargs)
        return _registered(module)(method, self, *args, **kwargs)

    return cast(Method, around)


def _sharded_now(head: nn.Module) -> Iterator[nn.Module]:
    """The head or its layer, if it was sharded by itself and its weights are not gathered now."""
    for module in (head, head._modules.get("layer")):
        if is_fully_sharded(module) and module is not None and any(map(is_fsdp_shard, _own_parameters(module))):
            yield module


def _own_parameters(module: nn.Module) -> Iterator[nn.Parameter]:
    """Those that are gathered with the module: not those of parts that were sharded by themselves."""
    yield from (parameter for parameter in module._parameters.values() if parameter is not None)
    for child in module.children():
        if not is_fully_sharded(child):
            yield from _own_parameters(child)


def _registered(module: nn.Module) -> Callable[..., Any]:
    """`call(function, *args, **kwargs)`, as FSDP2 runs the forward of `module`."""
    if _GATHERED not in vars(module):
        from torch.distributed.fsdp import register_fsdp_forward_method

        setattr(module, _GATHERED, _call)
        register_fsdp_forward_method(module, _GATHERED)
    call: Callable[..., Any] = vars(module)[_GATHERED]
    return call


def _call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)
