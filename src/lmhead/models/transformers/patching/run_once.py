"""The model below an output layer, run once for all forwards of a proof: what it gives is replaced there anyway."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, final

from torch import Tensor, nn

from lmhead.models.transformers.patching.rebuilt_output import rebuilt


@final
class Replay:
    """The forwards of modules: in the first run their own, in the next ones what they gave then, detached.

    What is called after the output layer (a module that caps) runs each time.
    """

    def __init__(self) -> None:
        self._given: dict[nn.Module, list[Any]] = {}
        self._calls: dict[nn.Module, int] = {}
        self._above = False

    def again(self) -> None:
        """A run begins."""
        self._calls.clear()
        self._above = False

    def at_output_layer(self) -> None:
        """The output layer is called: what follows is what is proven."""
        self._above = True

    def of(self, module: nn.Module, own: Callable[..., Any]) -> Callable[..., Any]:
        """In the place of `module.forward`."""

        @functools.wraps(own)
        def forward(*args: Any, **kwargs: Any) -> Any:
            if self._above:
                return own(*args, **kwargs)
            given, call = self._given.setdefault(module, []), self._calls.get(module, 0)
            self._calls[module] = call + 1
            if call == len(given):
                given.append(_detached(own(*args, **kwargs)))
            return given[call]

        return forward


@contextmanager
def run_once(model: nn.Module, layer: nn.Module) -> Iterator[Replay]:
    """The model's children that do not hold `layer` run once, until this is left."""
    replay = Replay()
    below = [child for child in model.children() if all(module is not layer for module in child.modules())]
    before = [(child, vars(child).get("forward")) for child in below]
    for child in below:
        child.forward = replay.of(child, child.forward)
    try:
        yield replay
    finally:
        for child, forward in before:
            if forward is None:
                del child.forward
            else:
                child.forward = forward


def _detached(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.detach()
    if isinstance(output, dict):
        return rebuilt(output, {name: _detached(each) for name, each in output.items()})
    if type(output) in (list, tuple):
        return type(output)(_detached(each) for each in output)
    return output
