"""A loop as other people write it, over one window of micro-batches; its gradients beside those of one process."""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lmhead import GPT, GPTConfig, Targets, depth_weights
from lmhead.ranks.ranks import ALONE, Ranks

V, D, T, ROWS, ACCUMULATE = 61, 16, 12, 4, 2
Found = tuple[float, dict[str, Tensor]]
Loss = Callable[[nn.Module, Tensor, Targets, Tensor], Tensor]  # of a model, ids, targets, divisor


def gpt(*, tied: bool = False, dtype: torch.dtype = torch.float64, **options: Any) -> GPT:
    torch.manual_seed(1)
    config = GPTConfig(
        vocab_size=V, embed_dim=D, num_heads=2, num_layers=2, max_seq_len=16, mlp_dim=32, tie_weights=tied, **options
    )
    return GPT.from_config(config).to(dtype)


def window(
    first: int, count: int, *, dtype: torch.dtype = torch.float64, weighted: bool = True
) -> list[tuple[Tensor, Targets]]:
    """These rows of each micro-batch: the first ones score few tokens, the second micro-batch's first one none."""
    generator = torch.Generator().manual_seed(0)
    batches = []
    for _ in range(ACCUMULATE):
        ids, targets = (torch.randint(0, V, (ROWS, T), generator=generator) for _ in range(2))
        weight = torch.rand(ROWS, T, generator=generator, dtype=torch.float64) + 0.5
        targets[: ROWS // 2, 3:] = -100
        batches.append((ids, targets, weight))
    batches[-1][1][0] = -100
    rows = slice(first, first + count)
    return [
        (ids[rows], Targets.from_targets(targets[rows], weight=weight[rows].to(dtype) if weighted else None))
        for ids, targets, weight in batches
    ]


def step(
    model: nn.Module,
    loss_of: Loss,
    ranks: Ranks = ALONE,
    *,
    mtp_depth: int | None = None,
    dtype: torch.dtype = torch.float64,
    weighted: bool = True,
    reduced: Callable[[bool], None] = lambda last: None,
) -> Found:
    """(loss, gradient of each parameter) of the window, of which each rank has some rows.

    Args:
        reduced: told before each micro-batch whether it is the last one.
    """
    parts = window(*ranks.rows(0, ROWS), dtype=dtype, weighted=weighted)
    group = dist.group.WORLD if ranks.size > 1 else None
    weights = depth_weights([targets for _, targets in parts], mtp_depth=mtp_depth or 0, group=group) / ranks.size
    divisor, total = weights[0] if mtp_depth is None else weights, 0.0
    for k, (ids, targets) in enumerate(parts):
        reduced(k == len(parts) - 1)
        loss = loss_of(model, ids, targets, divisor)
        loss.backward()
        total += loss.item()
    named = ((name.removeprefix("module."), parameter.grad) for name, parameter in model.named_parameters())
    return ranks.summed([total])[0] / ranks.size, {name: whole(grad) for name, grad in named if grad is not None}


def without(gradients: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): gradient for name, gradient in gradients.items()}


def whole(tensor: Any) -> Tensor:
    gathered: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return gathered.clone()


def error(found: Found, right: Found) -> float:
    """The largest relative difference of the loss and of a gradient; infinite where another parameter has one."""
    if found[1].keys() != right[1].keys():
        return float("inf")
    of_loss = abs(found[0] - right[0]) / abs(right[0])
    return max([of_loss, *(relative(found[1][name], gradient) for name, gradient in right[1].items())])


def relative(found: Tensor, right: Tensor) -> float:
    difference, size = (found.double() - right.double()).norm(), right.double().norm()
    return float(difference / size) if size else float(difference)
