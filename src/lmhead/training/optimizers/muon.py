"""Muon: momentum whose matrix is replaced by the nearest orthogonal one, for stacks of matrices of one shape.

Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024); the coefficients of each of the
five iterations from Amsel et al., "The Polar Express" (2025), table of the order 5.
"""

from collections.abc import Hashable, Iterable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer

_SAFETY = 1.01  # singular values that rounding lifts above 1 would grow without it
_POLAR_EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115956949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
)


class StackedMuon(Optimizer):
    """torch.optim.Muon (adjust_lr_fn="original") with all matrices of one shape orthogonalised together.

    A batched product of 256-wide matrices runs at two to four times the rate of a loop: with torch's own, one matrix
    after the other, the update took 41 of the default run's 297 ms a step (benchmarks/LOG.md, 2026-11-23).
    """

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Any) -> float: ...
    @torch.no_grad()
    def step(self, closure: Any = None) -> float | None:
        """Update every matrix that has a gradient; the gradients are used up."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = float(closure())
        for group in self.param_groups:
            stacks: dict[Hashable, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    stacks.setdefault(self._stack_of(parameter), []).append(parameter)
            for matrices in stacks.values():
                self._update(matrices, group)
        return loss

    def _stack_of(self, matrix: Tensor) -> Hashable:
        """Equal for matrices that are orthogonalised together."""
        return matrix.shape

    def _update(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        own = [self._own(matrix) for matrix in matrices]
        gradients = [self._own(matrix.grad) for matrix in matrices if matrix.grad is not None]
        momenta = [self._own(self._momentum(matrix)) for matrix in matrices]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        torch._foreach_lerp_(gradients, momenta, group["momentum"])  # Nesterov's look ahead
        rows, columns = matrices[0].shape
        rate = group["lr"] * max(1.0, rows / columns) ** 0.5
        updates = self._orthogonalised(matrices[0], gradients)
        if group["weight_decay"]:
            torch._foreach_mul_(own, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(own, updates, alpha=-rate)

    def _own(self, matrix: Tensor) -> Tensor:
        """What this process has of a matrix."""
        return matrix

    def _orthogonalised(self, first: Tensor, steps: list[Tensor]) -> list[Tensor]:
        """What this process has of the orthogonal matrix to each step.

        Args:
            first: one of the matrices that are stepped.
            steps: what this process has of each matrix's step.
        """
        return list(orthogonalised(torch.stack(steps)).to(steps[0].dtype).unbind())

    def _momentum(self, matrix: Tensor) -> Tensor:
        state = self.state[matrix]
        if not state:
            state["momentum"] = torch.zeros_like(matrix)
        momentum: Tensor = state["momentum"]
        return momentum


def orthogonalised(stack: Tensor) -> Tensor:
    """About the nearest semi-orthogonal matrix to each of the stack [S, rows, columns], in bfloat16.

    Five steps of X -> a X + (b X X^T + c (X X^T)^2) X on the side that has the smaller X X^T.
    """
    wide = stack.shape[1] > stack.shape[2]
    x = (stack.mT if wide else stack).contiguous()
    norm = torch.linalg.matrix_norm(x.float(), keepdim=True)
    x = (x / (norm * _SAFETY + 1e-12)).bfloat16()
    for a, b, c in ((a / _SAFETY, b / _SAFETY**3, c / _SAFETY**5) for a, b, c in _POLAR_EXPRESS):
        gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if wide else x
