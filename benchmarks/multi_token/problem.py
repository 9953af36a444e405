"""Hidden states of a main model and of the depths behind it, and three ways to their loss."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

import lmhead

FUSED, PLAIN, CLASSIC = "lmhead", "full logits per depth", "MultiTokenPredictionLoss on logits"
MAIN = "the main head alone"
_LAMBDA = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """B rows of T tokens, of width D, in a vocabulary of V."""

    B: int
    T: int
    D: int
    V: int

    def __str__(self) -> str:
        return f"{self.B} x {self.T} tokens, D {self.D}, V {self.V}"

    def tiny(self) -> "Shape":
        """For --quick."""
        return Shape(B=2, T=16, D=16, V=64)

    def rows(self, k: int) -> int:
        """That depth k scores."""
        return self.B * (self.T - 1 - k)


class Inputs:
    """Leaves: the hidden states [B, T, D] of 1 + depth heads, and one weight [V, D]."""

    def __init__(self, shape: Shape, depth: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.shape, self.depth = shape, depth
        self.hiddens = [
            torch.randn(shape.B, shape.T, shape.D, generator=generator).requires_grad_() for _ in range(1 + depth)
        ]
        self.weight = (torch.randn(shape.V, shape.D, generator=generator) / shape.D**0.5).requires_grad_()
        self.labels = torch.randint(shape.V, (shape.B, shape.T), generator=generator)
        self.targets = lmhead.Targets.from_labels(self.labels)

    def drop_gradients(self) -> None:
        """As an optimiser does before each step."""
        for leaf in (*self.hiddens, self.weight):
            leaf.grad = None

    def gradient_bytes(self) -> int:
        """Of all leaves."""
        return sum(leaf.numel() * leaf.element_size() for leaf in (*self.hiddens, self.weight))

    def step(self, loss: Callable[[], Tensor]) -> Callable[[], None]:
        """Forward and backward of `loss`."""

        def run() -> None:
            self.drop_gradients()
            loss().backward()  # type: ignore[no-untyped-call]

        return run


def program(name: str, inputs: Inputs, budget: int | None = None) -> Callable[[], None]:
    """Forward and backward, by name."""
    if name == FUSED:
        return inputs.step(lambda: _fused(inputs, budget))
    if name == MAIN:
        return inputs.step(lambda: _main(inputs, budget))
    return inputs.step(lambda: _plain(inputs) if name == PLAIN else _classic(inputs))


def _fused(inputs: Inputs, budget: int | None) -> Tensor:
    total, _ = lmhead.multi_token_loss(inputs.hiddens, inputs.weight, inputs.targets, memory_budget=budget)
    return total


def _main(inputs: Inputs, budget: int | None) -> Tensor:
    """As a step without multi-token prediction takes it: with statistics too."""
    loss, _ = lmhead.linear_cross_entropy(
        inputs.hiddens[0], inputs.weight, inputs.targets.ids, return_stats=True, memory_budget=budget
    )
    return loss


def _plain(inputs: Inputs) -> Tensor:
    T, losses = inputs.shape.T, []
    for k, hidden in enumerate(inputs.hiddens):
        logits = hidden[:, : T - k - 1] @ inputs.weight.T
        losses.append(F.cross_entropy(logits.flatten(0, 1), inputs.labels[:, k + 1 :].reshape(-1)))
    main, *further = losses
    return main + _LAMBDA / len(further) * torch.stack(further).sum()


def _classic(inputs: Inputs) -> Tensor:
    main, *further = (hidden[:, : inputs.shape.T - k] @ inputs.weight.T for k, hidden in enumerate(inputs.hiddens))
    criterion = lmhead.MultiTokenPredictionLoss(inputs.shape.V, mtp_depth=inputs.depth, mtp_lambda=_LAMBDA)
    total: Tensor = criterion(main, further, labels=inputs.labels)[0]
    return total
