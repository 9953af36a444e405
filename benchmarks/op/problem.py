"""Sizes, and the tensors of one problem."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """N rows of width D against V tokens."""

    N: int
    D: int
    V: int

    def __str__(self) -> str:
        return f"N {self.N}, D {self.D}, V {self.V}"

    @property
    def operations(self) -> int:
        """Of the three products, a multiplication and an addition counted as two."""
        return 6 * self.N * self.D * self.V

    def tiny(self) -> "Shape":
        """For `--quick`: does it run?"""
        return Shape(N=max(self.N // 16, 4), D=max(self.D // 16, 4), V=max(self.V // 64, 16))


HEADLINE = Shape(N=2048, D=768, V=50257)


class Inputs:
    """The tensors of one problem: standard normal hidden states, a head at the scale of a fresh model's."""

    def __init__(self, shape: Shape, dtype: torch.dtype) -> None:
        generator = torch.Generator().manual_seed(0)
        N, D, V = shape.N, shape.D, shape.V
        self.shape = shape
        self.hidden = torch.randn(N, D, generator=generator).to(dtype).requires_grad_()
        self.weight = torch.randn(V, D, generator=generator).mul_(0.02).to(dtype).requires_grad_()
        self.targets = torch.randint(V, (N,), generator=generator)

    def step(self, loss: Callable[[], Tensor]) -> tuple[Tensor | None, Tensor | None]:
        """Gradients in new memory, given back by the caller: freeing 150 MiB is not a part of what is timed."""
        loss().backward()  # type: ignore[no-untyped-call]
        gradients = self.hidden.grad, self.weight.grad
        self.hidden.grad = self.weight.grad = None
        return gradients

    def gradient_bytes(self) -> int:
        """What any backward has to give back."""
        return sum(t.numel() * t.element_size() for t in (self.hidden, self.weight))


def short(dtype: torch.dtype) -> str:
    """The dtype's name, without torch's."""
    return str(dtype).removeprefix("torch.")
