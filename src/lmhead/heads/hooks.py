"""Forward hooks of a module, for a loss that takes the module's weight without calling it.

    before   hooks that may make the weight: pruning, the old weight norm and spectral norm, fake quantisation.
             They are run, with the hidden states, as a call runs them; one that changes its input is refused.
    behind   hooks that get the output, or gradients of it. They may change it, and here is none: refused.

Parametrizations (torch.nn.utils.parametrize) are no hooks: they make the weight when it is read, so it is read once.
torch.distributed's hooks are run around the whole loss (fully_sharded.py, `register_fsdp_forward_method`).
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from torch.nn.utils import parametrize

from lmhead.errors import ArgumentError

# torch.nn.utils': they make the weight out of the module alone, whatever it is called with
_MAKERS = ("torch.nn.utils.prune", "torch.nn.utils.weight_norm", "torch.nn.utils.spectral_norm")


def refuse_late_hooks(module: nn.Module, *, name: str, remedy: str, called: bool = False) -> None:
    """Refuse hooks that would be given the output of a call, or its gradients.

    Args:
        called: the module is called, and hooks of its forward are given what stands for its output.

    Raises:
        ArgumentError: names the first one.
    """
    for kind, hooks in (
        ("forward", {} if called else module._forward_hooks),
        ("backward", module._backward_hooks),
        ("backward", module._backward_pre_hooks),
    ):
        for hook in own_hooks(hooks).values():
            raise ArgumentError(
                f"{name} must have no {kind} hook, which may change what a loss without logits does not make, "
                f"got {_title(hook)}: remove it, or {remedy}"
            )


def run_early_hooks(module: nn.Module, inputs: tuple[object, ...] | None, *, name: str, remedy: str) -> None:
    """Do what a call `module(*inputs)` does before its forward.

    Args:
        inputs: None where they are not at hand: only hooks that are known to do without are run.

    Raises:
        ArgumentError: a hook changes the inputs, or may need them where they are None.
    """
    for key, hook in own_hooks(module._forward_pre_hooks).items():
        if inputs is None and type(hook).__module__ not in _MAKERS:
            raise ArgumentError(
                f"{name} must have no hook that may need what it is called with, got {_title(hook)}: remove it, "
                f"or {remedy}"
            )
        given = inputs or ()
        with_kwargs = key in module._forward_pre_hooks_with_kwargs
        result = hook(module, given, {}) if with_kwargs else hook(module, given)
        if result is not None and not _same(result, given, with_kwargs):
            raise ArgumentError(
                f"{name} must have no hook that changes its input, got {_title(hook)}: remove it, or {remedy}"
            )


def is_made_anew(module: nn.Module, parameter: str) -> bool:
    """Whether the tensor of that name is no Parameter of the module: made by a hook or by a parametrization."""
    return parametrize.is_parametrized(module, parameter) or parameter not in module._parameters


def _same(result: Any, given: tuple[object, ...], with_kwargs: bool) -> bool:
    """Whether what a hook gave back is what it was given."""
    args, kwargs = result if with_kwargs else (result, {})
    args = args if isinstance(args, tuple) else (args,)
    return not kwargs and len(args) == len(given) and all(new is old for new, old in zip(args, given, strict=True))


def own_hooks(hooks: Mapping[int, Callable[..., Any]]) -> dict[int, Callable[..., Any]]:
    """Those that are not torch.distributed's."""
    return {key: hook for key, hook in hooks.items() if not _module_of(hook).startswith("torch.distributed.")}


def _module_of(hook: Callable[..., Any]) -> str:
    owner = getattr(hook, "__self__", None)
    return getattr(hook, "__module__", "") or "" if owner is None else type(owner).__module__


def _title(hook: Callable[..., Any]) -> str:
    name: str = getattr(hook, "__qualname__", type(hook).__qualname__)
    return f"{_module_of(hook) or type(hook).__module__}.{name}"
