"""Our loss beside the peers', and the bare products that all are measured by.

The products are one each of all rows, as the equivalent plain program has them. "Fresh": the logits go to a buffer that
is kept, the gradients to new memory, as any backward must give them. "Kept": all three go to buffers that are kept,
which no backward can do; it is the strictest.
"""

import os
from collections.abc import Callable

import torch
from torch import Tensor

import lmhead
from benchmarks.op.problem import Inputs
from benchmarks.peers import Loss, peers

OURS = "lmhead"
UPCAST = "plain logits, upcast"
AS_THEY_COME = "plain logits, as they come"
COMPILED = "torch.compile of plain logits"
KEPT = "products, kept"


def ours(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """The op with its defaults."""
    return lmhead.linear_cross_entropy(hidden, weight, targets)


def loss_of(name: str) -> Loss:
    """Ours or a peer's, by name. Raises benchmarks.peers.UnavailableError."""
    if name == OURS:
        return ours
    peer = peers()[name]
    if not peer.interpreted:  # Triton's interpreter is for the contract, not for times
        os.environ.update(peer.environment)
    return peer.loss()


def program(name: str, inputs: Inputs) -> Callable[[], object]:
    """Forward and backward of who has that name; KEPT gives the products."""
    if name == KEPT:
        return Products(inputs).three_kept()
    loss = loss_of(name)
    return lambda: inputs.step(lambda: loss(inputs.hidden, inputs.weight, inputs.targets))


def plain_bytes(inputs: Inputs) -> int:
    """About what plain logits need at their peak beside the buffer of the products: three copies, and the gradients.

    Upcast from 16 bits: logits, float32 logits, their log-softmax and its gradient.
    """
    width = inputs.weight.element_size()
    cells = inputs.shape.N * inputs.shape.V
    return cells * (3 * 4 + (2 * width if width < 4 else 4)) + 2 * inputs.gradient_bytes()


class Products:
    """The bare products on one problem; the logits' buffer is there, and its pages are touched."""

    def __init__(self, inputs: Inputs) -> None:
        self.hidden, self.weight = inputs.hidden.detach(), inputs.weight.detach()
        self.logits = self.hidden.new_zeros(inputs.shape.N, inputs.shape.V)

    @staticmethod
    def bytes(inputs: Inputs) -> int:
        """The buffer and fresh gradients."""
        return inputs.shape.N * inputs.shape.V * inputs.weight.element_size() + inputs.gradient_bytes()

    def one(self) -> Tensor:
        """The logits: what a forward needs."""
        return torch.mm(self.hidden, self.weight.T, out=self.logits)

    def two(self) -> Tensor:
        """And the gradient of the hidden states."""
        return torch.mm(self.one(), self.weight)

    def three(self) -> tuple[Tensor, Tensor]:
        """And that of the weight."""
        return self.two(), torch.mm(self.logits.T, self.hidden)

    def three_kept(self) -> Callable[[], object]:
        """All three, into buffers."""
        d_hidden, d_weight = torch.zeros_like(self.hidden), torch.zeros_like(self.weight)

        def run() -> tuple[Tensor, Tensor]:
            logits = self.one()
            return torch.mm(logits, self.weight, out=d_hidden), torch.mm(logits.T, self.hidden, out=d_weight)

        return run
