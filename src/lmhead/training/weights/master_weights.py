"""Master weights: float32 for parameters of fewer bits, so that no small step is lost in rounding.

A bfloat16 weight keeps 8 bits: a step of less than 1/512 of it changes nothing, and rates that fall make such steps.

Source: Micikevicius et al., "Mixed Precision Training" (2018), section 3.1.
"""

from collections.abc import Iterable, Sequence
from typing import final

import torch
from torch import Tensor


@final
class MasterWeights:
    """What an optimiser steps in the place of narrow parameters.

    Example:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
        >>> masters = MasterWeights([weight])
        >>> for _ in range(8):
        ...     weight.grad = torch.full_like(weight, 2**-10)
        ...     masters.take_gradients()
        ...     _ = masters.of(weight).sub_(masters.of(weight).grad)
        ...     masters.give_back()
        >>> masters.of(weight).item(), weight.item()
        (0.9921875, 0.9921875)
    """

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        narrow = (each for each in parameters if each.dtype.is_floating_point and each.dtype.itemsize < 4)
        self._pairs = [(parameter, parameter.detach().float()) for parameter in narrow]
        self._of = {id(parameter): master for parameter, master in self._pairs}

    def of(self, parameter: Tensor) -> Tensor:
        """Its master; a parameter that is wide enough is its own."""
        return self._of.get(id(parameter), parameter)

    def take_gradients(self) -> None:
        """The masters have the gradients, the parameters have none any more."""
        for parameter, master in self._pairs:
            master.grad = None if parameter.grad is None else parameter.grad.float()
            parameter.grad = None

    @torch.no_grad()
    def give_back(self) -> None:
        """The parameters are what the masters round to."""
        for parameter, master in self._pairs:
            parameter.copy_(master)

    def tensors(self) -> list[Tensor]:
        """All masters, for a checkpoint."""
        return [master for _, master in self._pairs]

    @torch.no_grad()
    def load(self, tensors: Sequence[Tensor]) -> None:
        """Go on from what `tensors` gave."""
        for (_, master), tensor in zip(self._pairs, tensors, strict=True):
            master.copy_(tensor)
