"""What a back-end sweeps, as one node to autograd, torch.compile, autocast and checkpointing: two custom ops a problem.

    lmhead::cross_entropy, lmhead::divergence       loss, row outputs and (where wanted) the gradients for coefficients
                                                    that are known in the forward
    lmhead::cross_entropy_gradients, ...            the gradients alone, for coefficients that come later

Which sweep they run is said by the back-end's name (backends.py); what they take is the problem's dataclass
(op_arguments.py), what they return the table of row outputs (problem.py).

The first backward takes the gradients that the forward made (gradient_handover.py). Per-row losses
(`coefficient=None`) have nothing made in the forward; their backward makes it, and then lse and entropy are
differentiable too.
"""

from collections.abc import Callable, Sequence
from inspect import Parameter, Signature
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch._library.custom_ops import CustomOpDef

from lmhead.ops.autocast_cache import forget_casts_afterwards
from lmhead.ops.backends import BACKENDS, AnyProblem, choose
from lmhead.ops.divergence.problem import DivergenceProblem
from lmhead.ops.gradient_handover import (
    boost,
    fake_gradients,
    handed_over,
    names_of,
    no_second_derivative,
    or_empty,
    trained,
)
from lmhead.ops.op_arguments import OpArguments
from lmhead.ops.problem import DIFFERENTIABLE, ROW_OUTPUTS, Problem, RowOutput, Solved
from lmhead.ops.row_terms import RowCoefficients
from lmhead.ops.sharded.hidden_gradient import add_up_states
from lmhead.ops.sweep_result import SweepResult
from lmhead.ops.tensor_values import is_transformed
from lmhead.ops.transforms import transformable, transforms_at_work

P = TypeVar("P", bound=Problem | DivergenceProblem)


def solve(problem: AnyProblem, coefficient: Tensor | None, backend: str | None) -> Solved:
    """The sum of coefficient [N, K] * loss, or each loss [N, K] where it is None, and the row outputs.

    Args:
        backend: a name in BACKENDS; None: the first that takes the problem.
    """
    name = choose(problem, backend)
    definition = BACKENDS[name].definitions.get(type(problem))
    if definition is not None:
        return definition(problem, coefficient)
    return _OPS[type(problem)].solve(problem, coefficient, name)


class _Ops(Generic[P]):
    """The two ops of a kind of problem.

    Arguments: the problem's tensors, the coefficients, the problem's options, what is wanted.
    """

    def __init__(
        self,
        arguments: OpArguments[P],
        *,
        name: str,
        of: tuple[str, ...],  # the record that has the DIFFERENTIABLE, in the problem
        function: str,
        outputs: Sequence[RowOutput] = (),
    ) -> None:
        self.function, self.arguments, self.outputs = function, arguments, outputs
        self.count = arguments.tensors
        self.places = [arguments.paths.index((*of, tensor)) for tensor in DIFFERENTIABLE]
        self.later = [output.name for output in outputs if output.differentiable]
        tensors, options = arguments.parameters[: self.count], arguments.parameters[self.count :]
        coefficients = [_parameter("of_loss", Tensor), *(_parameter(f"of_{of}", Tensor | None) for of in self.later)]
        how = [_parameter("backend", str), _parameter("wanted", list[int])]
        self.forward = _custom_op(
            f"lmhead::{name}",
            self._forward,
            [*tensors, _parameter("coefficient", Tensor | None), *options, *how],
            returns=1 + len(outputs) + len(DIFFERENTIABLE),
        )
        self.gradients = _custom_op(
            f"lmhead::{name}_gradients",
            self._gradients,
            [*tensors, *coefficients, *options, *how],
            returns=len(DIFFERENTIABLE),
        )
        refusal = no_second_derivative(function)
        self.forward.register_fake(self._fake_forward)
        self.gradients.register_fake(self._fake_gradients)
        self.forward.register_autograd(self._backward, setup_context=self._setup)
        self.gradients.register_autograd(refusal)
        self.transformable = transformable(function, self.forward, self._setup, self._backward)
        self.transformable_gradients = transformable(
            function, self.gradients, lambda ctx, inputs, output: None, refusal
        )

    def solve(self, problem: P, coefficient: Tensor | None, backend: str) -> Solved:
        """By a back-end that sweeps."""
        of = problem.differentiated
        transformed = transforms_at_work(self.function, of)
        boosted = None if coefficient is None else boost(coefficient, of)
        if coefficient is not None and boosted is not None:
            coefficient = coefficient * boosted
        values = self.arguments.of(problem)
        differentiable = torch.is_grad_enabled() and coefficient is not None and not transformed
        outputs = [of.outputs.get(output.name, 0) for output in self.outputs]
        wanted = [*outputs, *(int(differentiable and needed) for needed in trained(of))]  # what comes beside the loss
        op = self.transformable if transformed else self.forward
        loss, *columns = op(*values[: self.count], coefficient, *values[self.count :], backend, wanted)
        named = zip(self.outputs, outputs, columns, strict=False)  # the gradients follow
        rows = {output.name: column for output, asked, column in named if asked}
        return Solved(loss=loss if boosted is None else loss / boosted, rows=rows)

    def _problem(self, tensors: Sequence[Any], options: Sequence[Any], outputs: Sequence[int] = ()) -> P:
        values = [*tensors, *options]
        if not outputs:
            return self.arguments.problem(values)
        counts = {output.name: count for output, count in zip(self.outputs, outputs, strict=True) if count}
        return self.arguments.problem(values, outputs=counts)

    def _split(self, of_all: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
        """(of the row outputs, of the gradients)"""
        return of_all[: len(self.outputs)], of_all[len(self.outputs) :]

    def _forward(self, *inputs: Any) -> tuple[Tensor, ...]:
        """(loss: [N, K], or with a coefficient its sum; the row outputs; a gradient for each of DIFFERENTIABLE).

        What is not wanted is empty.
        """
        coefficient, *options, backend, wanted = inputs[self.count :]
        outputs, wanted = self._split(wanted)
        problem = self._problem(inputs[: self.count], options, outputs)
        coefficients = None if coefficient is None else RowCoefficients(loss=coefficient)
        swept = self._swept(problem, coefficients, backend, wanted)
        loss, rows = swept.solved.loss, swept.solved.rows
        if coefficient is not None:
            loss = torch.where(problem.scored, loss * coefficient.to(loss.dtype), 0.0).sum()
        columns = [
            rows[output.name] if output.name in rows else loss.new_empty(0, dtype=output.dtype or loss.dtype)
            for output in self.outputs
        ]
        return loss, *columns, *or_empty(swept.gradients, problem.differentiated.hidden)

    def _swept(
        self, problem: P, coefficients: RowCoefficients | None, backend: str, wanted: Sequence[int]
    ) -> SweepResult:
        swept = BACKENDS[backend].sweeps[type(problem)](problem, coefficients, names_of(wanted))
        add_up_states(swept.gradients, problem.differentiated)
        return swept

    def _fake_forward(self, *inputs: Any) -> tuple[Tensor, ...]:
        coefficient, *options, _, wanted = inputs[self.count :]
        outputs, wanted = self._split(wanted)
        problem = self._problem(inputs[: self.count], options, outputs)
        of = problem.differentiated
        N, K = of.targets.shape
        loss = of.hidden.new_empty((N, K) if coefficient is None else (), dtype=of.dtype)
        columns = [
            loss.new_empty(output.shape(N, K, count) if count else 0, dtype=output.dtype or loss.dtype)
            for output, count in zip(self.outputs, outputs, strict=True)
        ]
        return loss, *columns, *fake_gradients([inputs[place] for place in self.places], wanted)

    def _setup(self, ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        coefficient, *ctx.options, ctx.backend, wanted = inputs[self.count :]
        outputs, ctx.wanted = self._split(wanted)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[: self.count + 1])
        columns, gradients = self._split(output[1:])
        named = zip(self.outputs, outputs, columns, strict=True)
        fixed = [column for of, asked, column in named if not (coefficient is None and asked and of.differentiable)]
        ctx.mark_non_differentiable(*fixed, *gradients)
        ctx.gradients = gradients if any(ctx.wanted) else None

    def _backward(self, ctx: Any, grad_loss: Tensor | None, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        forget_casts_afterwards()
        *tensors, coefficient = ctx.saved_tensors
        named = zip(self.outputs, grads, strict=False)
        later = [grad for output, grad in named if output.differentiable]
        result: list[Tensor | None] = [None] * (len(tensors) + len(ctx.options) + 3)
        if grad_loss is None and all(grad is None for grad in later):
            return tuple(result)
        assert coefficient is None or grad_loss is not None, (
            "with a coefficient, nothing but the loss is differentiable"
        )
        made = None if grad_loss is None or coefficient is None else handed_over(ctx, grad_loss)
        if made is None:
            wanted = [int(ctx.needs_input_grad[place]) for place in self.places]
            if grad_loss is None:
                shape = self._problem(tensors, ctx.options).differentiated.targets.shape
                grad_loss = next(grad for grad in later if grad is not None).new_zeros(shape)
            of_loss = grad_loss if coefficient is None else grad_loss * coefficient
            op = self.transformable_gradients if is_transformed() else self.gradients
            gradients = op(*tensors, of_loss, *later, *ctx.options, ctx.backend, wanted)
            made = {name: d for name, d, want in zip(DIFFERENTIABLE, gradients, wanted, strict=True) if want}
        for name, place in zip(DIFFERENTIABLE, self.places, strict=True):
            result[place] = made.get(name)
        return tuple(result)

    def _gradients(self, *inputs: Any) -> tuple[Tensor, ...]:
        """A gradient for each of DIFFERENTIABLE, of the outputs' sum, each times its coefficient, or an empty one."""
        tensors, (of_loss, *rest) = inputs[: self.count], inputs[self.count :]
        later, (*options, backend, wanted) = rest[: len(self.later)], rest[len(self.later) :]
        problem = self._problem(tensors, options)
        coefficients = RowCoefficients(loss=of_loss, **dict(zip(self.later, later, strict=True)))
        swept = self._swept(problem, coefficients, backend, wanted)
        return tuple(or_empty(swept.gradients, problem.differentiated.hidden))

    def _fake_gradients(self, *inputs: Any) -> tuple[Tensor, ...]:
        return tuple(fake_gradients([inputs[place] for place in self.places], inputs[-1]))


def _parameter(name: str, kind: Any) -> Parameter:
    return Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, annotation=kind)


def _custom_op(
    name: str, run: Callable[..., tuple[Tensor, ...]], parameters: Sequence[Parameter], *, returns: int
) -> CustomOpDef:
    """`run` as a custom op with these parameters, from which torch infers the schema."""

    def body(*inputs: Any) -> tuple[Tensor, ...]:
        return run(*inputs)

    result = tuple.__class_getitem__((Tensor,) * returns)
    body.__signature__ = Signature(parameters, return_annotation=result)  # type: ignore[attr-defined]
    return torch.library.custom_op(name, body, mutates_args=())


_OPS: dict[type, _Ops[Any]] = {
    Problem: _Ops(
        OpArguments(Problem, but=("outputs",)),
        name="cross_entropy",
        of=(),
        function="linear_cross_entropy",
        outputs=ROW_OUTPUTS,
    ),
    DivergenceProblem: _Ops(
        OpArguments(DivergenceProblem, but=("outputs", "options", "ignore_index")),
        name="divergence",
        of=("student",),
        function="linear_divergence",
    ),
}
