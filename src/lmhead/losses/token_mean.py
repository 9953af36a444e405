"""Exact token means over parts: the divisor before the first backward, and the accumulator of what was measured.

A mean of the micro-batches' means weighs each token by how short its micro-batch is. What is exact instead:

    divisor = scored_weight(window)                                        # every batch of the accumulation window
    for targets, hidden in ...:
        head.loss(hidden, targets=targets, divisor=divisor).backward()     # gradients add up to the window's mean

Over ranks it is the sum over ranks, divided by their number where gradients are averaged, as DDP and FSDP do:

    divisor = scored_weight(window, group=dist.group.WORLD) / dist.get_world_size()
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from lmhead.errors import ArgumentError, ArgumentTypeError, require, require_kind
from lmhead.labels.targets import Targets
from lmhead.ops.checks import require_numbers, require_sizes
from lmhead.ops.tensor_values import on_the_host

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def scored_weight(window: Targets | Iterable[Targets], *, group: "ProcessGroup | None" = None) -> Tensor:
    """What a mean over the window divides by: the summed weight of the scored positions, [] float64.

    Args:
        group: ranks whose windows are added, by one all-reduce to which all of them have to come, e.g.
            `torch.distributed.group.WORLD`; None: this process alone.

    Raises:
        ArgumentError: the window holds no Targets.
        ArgumentTypeError: an argument is of the wrong kind.

    Example:
        >>> scored_weight([Targets.from_labels(torch.tensor([5, 6, 7])), Targets.from_labels(torch.tensor([5, 6]))])
        tensor(3., dtype=torch.float64)
    """
    return depth_weights(window, mtp_depth=0, group=group)[0]


def depth_weights(
    window: Targets | Iterable[Targets], *, mtp_depth: int, group: "ProcessGroup | None" = None
) -> Tensor:
    """`scored_weight` of the next token and of each depth of multi-token prediction, [1 + mtp_depth] float64.

    Args:
        group: as in `scored_weight`.

    Raises:
        ArgumentError: the window holds no Targets.
        ArgumentTypeError: an argument is of the wrong kind.

    Example:
        >>> depth_weights(Targets.from_labels(torch.tensor([5, 6, 7])), mtp_depth=1)
        tensor([2., 1.], dtype=torch.float64)
    """
    require_sizes(mtp_depth=mtp_depth, least=0)
    remedy = "Targets, or several of them; make one with Targets.from_labels(labels)"
    if isinstance(window, Tensor) or not isinstance(window, Targets | Iterable):
        raise ArgumentTypeError(f"window must be {remedy}, got {type(window).__name__}")
    batches = [window] if isinstance(window, Targets) else list(window)
    for batch in batches:
        require_kind("window", batch, Targets, remedy)
    require(bool(batches), "window", "hold at least one Targets", "none")
    device = batches[0].ids.device
    depths = [[_weight(targets.at(1 + k)) for k in range(1 + mtp_depth)] for targets in batches]
    weights = torch.stack([torch.stack(row).to(device) for row in depths]).sum(0)
    if group is not None:
        torch.distributed.all_reduce(weights, group=group)
    return weights


def _weight(targets: Targets) -> Tensor:
    """[] float64, float32 where the device has no float64."""
    wide = torch.float32 if targets.ids.device.type == "mps" else torch.float64
    weights = targets.scored if targets.weight is None else targets.weight  # 0 where not scored
    return weights.to(wide).sum()


class TokenMean:
    """A sum and a weight, kept in float64: the mean of anything over tokens, however they were cut into batches.

    Raises:
        ArgumentTypeError: a sum is no number.

    Example:
        >>> loss = TokenMean()
        >>> loss.add(6.0, 2)  # two tokens
        >>> loss.add(3.0, 1)  # one token
        >>> loss.mean
        3.0
    """

    def __init__(self, total: float = 0.0, weight: float = 0.0) -> None:
        require_numbers(total=total, weight=weight)
        self.total = float(total)
        self.weight = float(weight)

    def add(self, total: float | Tensor, weight: float | Tensor) -> None:
        """Add a sum over tokens, and the weight it stands for.

        Args:
            total: tensors of any shape are summed in float64; the host waits for them.
            weight: of any shape too.

        Raises:
            ArgumentTypeError: a value is no number and no Tensor.
        """
        more, heavier = summed(total), summed(weight)
        self.total += more
        self.weight += heavier

    @property
    def mean(self) -> float:
        """total / weight.

        Raises:
            ArgumentError: nothing was added, or nothing that weighs.
        """
        if self.weight == 0:
            raise ArgumentError("no token scored, so there is no mean: look at Targets.tally() for the reasons")
        return self.total / self.weight

    def merge(self, other: "TokenMean") -> None:
        """Add what another rank or another part has summed.

        Raises:
            ArgumentTypeError: `other` is of another class.
        """
        require_kind("other", other, TokenMean)
        self.total += other.total
        self.weight += other.weight

    def state(self) -> dict[str, float]:
        """Everything that is kept, as plain numbers."""
        return {"total": self.total, "weight": self.weight}

    @classmethod
    def from_state(cls, state: dict[str, float]) -> Self:
        """What `state` was taken of.

        Raises:
            ArgumentError: a number is missing.
            ArgumentTypeError: it is no mapping of numbers.
        """
        total, weight = numbers(state, "total", "weight")
        return cls(total, weight)


def numbers(state: Mapping[str, float], *names: str) -> list[float]:
    """The values of these names in what a `state()` gave.

    Raises:
        ArgumentError: one of them is not there.
        ArgumentTypeError: `state` is no mapping, or a value no number.
    """
    require_kind("state", state, Mapping, "as state() gives it")
    missing = [name for name in names if name not in state]
    require(not missing, "state", f"have {', '.join(names)}, as state() gives them", f"no {', '.join(missing)}")
    require_numbers(**{f"state[{name!r}]": state[name] for name in names})
    return [state[name] for name in names]


def summed(values: float | Tensor) -> float:
    """The sum of `values` in float64, on the host."""
    if not isinstance(values, Tensor):
        require_numbers(values=values)
        return float(values)
    return float(on_the_host(values).double().sum())
