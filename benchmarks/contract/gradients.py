"""Cases: who needs a gradient, how often, and what may be done to tensors in between."""

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.contract.subject import (
    Problem,
    Solution,
    Subject,
    agree,
    assert_close,
    assert_same_gradients,
    draw,
    exact,
    solve,
)
from benchmarks.peers import Loss


def loss_and_gradients(subject: Subject) -> None:
    """A quarter of the rows ignored: the mean is that of the others."""
    agree(subject)


def loss_and_gradients_of_many_rows(subject: Subject) -> None:
    """More rows than one chunk of those who work in chunks."""
    agree(subject, problem=draw(1100, 8, 50))


def upstream_gradient_other_than_1(subject: Subject) -> None:
    """Gradients made in the forward have to be multiplied in the backward."""
    agree(subject, lambda loss, h, w, t: -2.5 * loss(h, w, t))


def loss_divided_in_place(subject: Subject) -> None:
    """`loss /= steps`, as loops that accumulate write it."""

    def program(loss: Loss, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        result = loss(hidden, weight, targets)
        result /= 4
        return result

    agree(subject, program)


def frozen_hidden_trains_the_weight(subject: Subject) -> None:
    """A head on a frozen decoder: Liger #968 and its like, where the weight silently gets nothing."""
    problem = draw()
    problem.hidden.requires_grad_(False)
    agree(subject, problem=problem)


def frozen_weight_trains_the_hidden(subject: Subject) -> None:
    """LoRA below a frozen head."""
    problem = draw()
    problem.weight.requires_grad_(False)
    agree(subject, problem=problem)


def all_frozen_has_no_graph(subject: Subject) -> None:
    """Evaluation without no_grad."""
    problem = draw()
    loss = subject.loss(problem.hidden.detach(), problem.weight.detach(), problem.targets)
    assert not loss.requires_grad, "the loss requires a gradient"


def gradients_asked_for_one_at_a_time(subject: Subject) -> None:
    """torch.autograd.grad of one input, then of the other, of one graph."""
    problem = draw()
    loss, right = subject.loss(problem.hidden, problem.weight, problem.targets), exact(subject, problem)
    (d_weight,) = torch.autograd.grad(loss, problem.weight, retain_graph=True)
    (d_hidden,) = torch.autograd.grad(loss, problem.hidden)
    assert_same_gradients(problem, Solution(loss=loss, d_hidden=d_hidden, d_weight=d_weight), right)


def second_backward_accumulates(subject: Subject) -> None:
    """retain_graph and other upstream gradients: 2 + 3 + 1 times the gradient, not 2 + 6 + 6 (scaled in place)."""
    problem = draw()
    loss = subject.loss(problem.hidden, problem.weight, problem.targets)
    for upstream in (2.0, 3.0, 1.0):
        loss.backward(torch.full_like(loss, upstream), retain_graph=True)  # type: ignore[no-untyped-call]
    right = exact(subject, problem, lambda loss, h, w, t: 6 * loss(h, w, t))
    got = Solution(loss=loss, d_hidden=problem.hidden.grad, d_weight=problem.weight.grad)
    assert_same_gradients(problem, got, right)


def first_gradient_is_the_callers_own(subject: Subject) -> None:
    """Zeroing it does not reach the second backward's."""
    problem = draw()
    loss = subject.loss(problem.hidden, problem.weight, problem.targets)
    for gradient in torch.autograd.grad(loss, (problem.hidden, problem.weight), retain_graph=True):
        gradient.zero_()
    d_hidden, d_weight = torch.autograd.grad(loss, (problem.hidden, problem.weight))
    got = Solution(loss=loss, d_hidden=d_hidden, d_weight=d_weight)
    assert_same_gradients(problem, got, exact(subject, problem))


def two_losses_of_one_graph(subject: Subject) -> None:
    """One hidden state that two losses read, and a loss that is used twice."""

    def program(loss: Loss, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        middle = hidden.tanh()
        first, second = loss(middle, weight, targets), loss(2 * middle, weight, targets.flip(0))
        return first * second + first**2

    agree(subject, program)


def micro_batches_accumulate(subject: Subject) -> None:
    """Two calls before the first backward, into the same .grad."""

    def program(loss: Loss, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        return (loss(hidden[:5], weight, targets[:5]) + loss(hidden[5:], weight, targets[5:])) / 2

    agree(subject, program)


def tied_weight(subject: Subject) -> None:
    """The head's weight is the embedding's: both of its gradients arrive."""

    def program(loss: Loss, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        embedded = F.embedding(torch.arange(len(hidden)) % len(weight), weight)
        return loss((embedded + hidden).tanh(), weight, targets)

    agree(subject, program)


def inputs_are_not_written_to(subject: Subject) -> None:
    """Neither the tensors nor their version counters: somebody else has saved them."""
    problem = draw()
    tensors = (problem.hidden, problem.weight, problem.targets)
    before = [(tensor.detach().clone(), tensor._version) for tensor in tensors]
    solve(subject.loss, problem)
    for name, tensor, (value, version) in zip(("hidden", "weight", "targets"), tensors, before, strict=True):
        assert torch.equal(tensor.detach(), value), f"{name} is changed"
        assert tensor._version == version, f"{name} is marked as changed"


def weight_changed_before_the_backward(subject: Subject) -> str:
    """An optimiser's step in between: noticed, or the gradient is that of the forward's weight."""
    problem = draw()
    right = exact(subject, problem)
    loss = subject.loss(problem.hidden, problem.weight, problem.targets)
    with torch.no_grad():
        problem.weight.add_(1.0)
    try:
        loss.backward()  # type: ignore[no-untyped-call]
    except RuntimeError:
        return "refused"
    got = Solution(loss=loss, d_hidden=problem.hidden.grad, d_weight=problem.weight.grad)
    assert_same_gradients(problem, got, right)
    return "right"


def second_derivative(subject: Subject) -> str:
    """Right, or refused. Of loss ** 2: its upstream gradient has a graph, which hides that the op's own has none."""
    problem, twin = draw(), draw().to(torch.float64)
    right = _curvature(subject.definition, twin)
    try:
        got = _curvature(subject.loss, problem)
    except (RuntimeError, NotImplementedError):
        return "refused"
    assert_close("second derivative", got, right)
    return "right"


def _curvature(loss: Loss, problem: Problem) -> Tensor:
    """Gradient of the squared norm of the gradient of loss ** 2, by the hidden states."""
    squared = loss(problem.hidden, problem.weight, problem.targets).square()
    (gradient,) = torch.autograd.grad(squared, problem.hidden, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), problem.hidden)
    return second


def gradcheck_in_float64(subject: Subject) -> None:
    """Finite differences see float64: float64 inputs are not computed in float32."""
    problem = draw(5, 3, 4, dtype=torch.float64)

    def function(hidden: Tensor, weight: Tensor) -> Tensor:
        return subject.loss(hidden, weight, problem.targets)

    good = torch.autograd.gradcheck(function, (problem.hidden, problem.weight), raise_exception=False)
    assert good, "finite differences disagree"


CASES = (
    loss_and_gradients,
    loss_and_gradients_of_many_rows,
    upstream_gradient_other_than_1,
    loss_divided_in_place,
    frozen_hidden_trains_the_weight,
    frozen_weight_trains_the_hidden,
    all_frozen_has_no_graph,
    gradients_asked_for_one_at_a_time,
    second_backward_accumulates,
    first_gradient_is_the_callers_own,
    two_losses_of_one_graph,
    micro_batches_accumulate,
    tied_weight,
    inputs_are_not_written_to,
    weight_changed_before_the_backward,
    second_derivative,
    gradcheck_in_float64,
)
