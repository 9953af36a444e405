"""A patched model's `forward` where somebody calls it by itself: PEFT before 0.21 does, past all hooks.

An object in the model's `__dict__`, as the output layer's is (head_override.py), put there only where such a PEFT is
installed: it is one thing more that torch.compile and readers of signatures have to look through.
"""

import inspect
import re
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, final

from torch import nn

from lmhead.models.transformers.patching.state import state_of

_CALLS_THE_MODEL: Final = (0, 21)  # the first PEFT whose tuners do, instead of its forward


@final
class DirectForward:
    """`model.forward`: the model's own within a call of the model, else such a call."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.own: Any = vars(model).get("forward")  # that somebody else had put there: accelerate

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        state = state_of(self.model)
        if state is not None and not state.entered:
            return self.model(*args, **kwargs)
        if self.own is not None:
            return self.own(*args, **kwargs)
        return type(self.model).forward(self.model, *args, **kwargs)

    @property
    def __signature__(self) -> inspect.Signature:
        """Of the model's own, which transformers' Trainer reads."""
        return inspect.signature(type(self.model).forward.__get__(self.model) if self.own is None else self.own)


def intercept_direct_calls(model: nn.Module) -> None:
    """Have direct calls of `model.forward` run the model's hooks, where the installed PEFT makes such calls."""
    try:
        installed = re.match(r"(\d+)\.(\d+)", version("peft"))
    except PackageNotFoundError:
        return
    if installed is not None and (int(installed[1]), int(installed[2])) < _CALLS_THE_MODEL:
        model.forward = DirectForward(model)


def let_direct_calls_be(model: nn.Module) -> None:
    """Take it off again; what somebody has put around it since keeps it, and it is the model's own then."""
    direct = vars(model).get("forward")
    if isinstance(direct, DirectForward):
        if direct.own is None:
            del model.forward
        else:
            model.forward = direct.own
