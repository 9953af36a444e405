"""Cases: under PyTorch's modes and transforms."""

import functools
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from benchmarks.contract.subject import (
    Subject,
    agree,
    assert_as_good,
    assert_close,
    draw,
    exact,
    short,
    solve,
)
from benchmarks.peers import Loss


def no_grad(subject: Subject) -> None:
    """The loss, and no graph."""
    _without_gradients(subject, torch.no_grad)


def inference_mode(subject: Subject) -> None:
    """The loss, and no graph; the inputs may have been made outside."""
    _without_gradients(subject, torch.inference_mode)


def _without_gradients(subject: Subject, mode: Callable[[], AbstractContextManager[object]]) -> None:
    problem = draw()
    with mode():
        loss = subject.loss(problem.hidden, problem.weight, problem.targets)
    assert not loss.requires_grad, "the loss requires a gradient"
    assert_close("loss", loss.clone(), exact(subject, problem).loss)


def autocast_of_float32_hidden(subject: Subject) -> None:
    """Float32 weights get float32 gradients, as good as plain logits'."""
    _autocast(subject, torch.float32)


def autocast_of_bfloat16_hidden(subject: Subject) -> None:
    """What a decoder under autocast hands over, to a float32 head."""
    _autocast(subject, torch.bfloat16)


def _autocast(subject: Subject, hidden_dtype: torch.dtype) -> None:
    problem = draw(64, 32, 96)
    problem.hidden.data = problem.hidden.to(torch.bfloat16).to(hidden_dtype)
    twin = problem.to(torch.float32)
    twin.hidden.data = problem.hidden.detach().clone()
    with torch.autocast("cpu", torch.bfloat16):
        got, plain = solve(subject.loss, problem), solve(subject.definition, twin)
    right = exact(subject, problem)
    assert got.loss.dtype == torch.float32, f"the loss is {short(got.loss.dtype)}"
    assert_as_good("loss", got.loss, plain.loss, right.loss, floor=2**-10)
    for name in ("hidden", "weight"):
        leaf, gradient = getattr(problem, name), getattr(got, f"d_{name}")
        assert gradient is not None, f"{name}.grad is None"
        assert gradient.dtype == leaf.dtype, f"{name}.grad is {short(gradient.dtype)}"
        assert_as_good(
            f"{name} gradient", gradient, getattr(plain, f"d_{name}"), getattr(right, f"d_{name}"), floor=2**-9
        )


def checkpointing(subject: Subject) -> None:
    """The forward runs again in the backward."""
    agree(subject, functools.partial(_checkpointed, use_reentrant=False))


def checkpointing_reentrant(subject: Subject) -> None:
    """The older kind: first under no_grad, then again, inside the backward."""
    agree(subject, functools.partial(_checkpointed, use_reentrant=True))


def _checkpointed(loss: Loss, hidden: Tensor, weight: Tensor, targets: Tensor, *, use_reentrant: bool) -> Tensor:
    def block(hidden: Tensor, weight: Tensor) -> Tensor:
        return loss(hidden.tanh(), weight, targets)

    return checkpoint(block, hidden, weight, use_reentrant=use_reentrant)  # type: ignore[no-any-return]


def saved_tensors_hooks(subject: Subject) -> None:
    """Offloading of what is saved for the backward: it comes back as another tensor."""

    def program(loss: Loss, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        with torch.autograd.graph.saved_tensors_hooks(lambda x: x.detach().clone(), lambda x: x):
            return loss(hidden, weight, targets)

    agree(subject, program)


def functional_call(subject: Subject) -> None:
    """The head's weight is swapped for the call."""

    class Head(nn.Module):
        def __init__(self, weight: Tensor, loss: Loss) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros_like(weight))
            self.loss = loss

        def forward(self, hidden: Tensor, targets: Tensor) -> Tensor:
            return self.loss(hidden, self.weight, targets)

    def program(loss: Loss, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        called: Tensor = torch.func.functional_call(Head(weight, loss), {"weight": weight}, (hidden, targets))
        return called

    agree(subject, program)


def func_grad(subject: Subject) -> str:
    """torch.func.grad: right, or refused."""
    problem = draw()
    transformed: Callable[..., Any] = torch.func.grad(subject.loss, argnums=(0, 1))
    try:
        gradients = transformed(problem.hidden.detach(), problem.weight.detach(), problem.targets)
    except (RuntimeError, NotImplementedError):
        return "refused"
    right = exact(subject, problem)
    assert right.d_hidden is not None
    assert right.d_weight is not None
    assert_close("hidden gradient", gradients[0], right.d_hidden)
    assert_close("weight gradient", gradients[1], right.d_weight)
    return "right"


def deterministic_mode(subject: Subject) -> None:
    """Runs in it, and gives the same bits twice."""
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (solve(subject.loss, draw(64, 16, 50)) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    for name in ("loss", "d_hidden", "d_weight"):
        assert torch.equal(getattr(first, name), getattr(second, name)), f"{name} differs from run to run"


def anomaly_mode(subject: Subject) -> None:
    """Its checks of each gradient pass."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the mode is on
        with torch.autograd.detect_anomaly():
            agree(subject)


def compile_fullgraph_dynamic(subject: Subject) -> None:
    """One graph, and one compilation for every number of rows. aot_eager does all of it but generate code."""
    _compile(subject, "aot_eager")


def compile_inductor(subject: Subject) -> None:
    """The same with the default compiler; needs a C++ compiler."""
    _compile(subject, "inductor")


def _compile(subject: Subject, backend: Literal["aot_eager", "inductor"]) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(subject.loss, fullgraph=True, dynamic=True, backend=backend)
    try:
        for rows in (7, 64, 33):
            with torch.compiler.set_stance("default" if rows == 7 else "fail_on_recompile"):
                agree(Subject(loss=compiled, definition=subject.definition), problem=draw(rows))
    finally:
        torch._dynamo.reset()


CASES = (
    no_grad,
    inference_mode,
    autocast_of_float32_hidden,
    autocast_of_bfloat16_hidden,
    checkpointing,
    checkpointing_reentrant,
    saved_tensors_hooks,
    functional_call,
    func_grad,
    deterministic_mode,
    anomaly_mode,
    compile_fullgraph_dynamic,
    compile_inductor,
)
