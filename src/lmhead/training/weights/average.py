"""The mean of a model's weights over the last steps, to be evaluated and published in their place.

Source: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization" (2018); here of every step.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor, nn

from lmhead.ranks.own_part import own_part, reshard


@final
class WeightAverage:
    """A running mean in float32; exact to go on with from `state_dict`. Of a sharded model each rank has its part.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> average = WeightAverage(model)
        >>> for weight in (1.0, 2.0, 6.0):
        ...     _ = torch.nn.init.constant_(model.weight, weight)
        ...     average.add(since=0)
        >>> with average.in_place():
        ...     model.weight.item()
        3.0
        >>> model.weight.item()
        6.0
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._means: list[Tensor] = []
        self._count = 0
        self._since: int | None = None

    @torch.no_grad()
    def add(self, *, since: int) -> None:
        """Add the present weights to the mean of those from step `since` on; with another `since` it begins anew."""
        weights = [parameter.detach() for parameter in self._parameters]
        if self._since != since:
            self._since, self._count = since, 0
        self._count += 1
        if self._count == 1:
            self._means = [weight.float().clone() for weight in weights]
        else:
            own = [own_part(weight).float() for weight in weights]
            torch._foreach_lerp_([own_part(mean) for mean in self._means], own, 1 / self._count)

    def drop(self) -> None:
        """Forget everything: the steps that are averaged have not begun."""
        self._means, self._count, self._since = [], 0, None

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the mean as its weights, where there is one; afterwards its own again, bit for bit."""
        if not self._count:
            yield
            return
        own = [parameter.detach().clone() for parameter in self._parameters]
        self._put(self._means)
        try:
            yield
        finally:
            self._put(own)

    @torch.no_grad()
    def _put(self, weights: list[Tensor]) -> None:
        for parameter, weight in zip(self._parameters, weights, strict=True):
            parameter.copy_(weight)
        reshard(self._model)  # of a sharded model they were put into the parts alone

    def state_dict(self) -> dict[str, Any]:
        """What a later run needs to go on."""
        return {"means": self._means, "count": self._count, "since": self._since}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        devices = [parameter.device for parameter in self._parameters]
        self._means = [mean.to(device) for mean, device in zip(state["means"], devices, strict=False)]
        self._count, self._since = state["count"], state["since"]
