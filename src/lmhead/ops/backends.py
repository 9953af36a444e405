"""The back-ends: one table of what runs a problem, of either kind, and the choice among them.

A new one is a module and a line here.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor

from lmhead.errors import ArgumentError, require
from lmhead.ops import reference, triton
from lmhead.ops.chunked import sweep as chunked
from lmhead.ops.divergence import problem as divergence
from lmhead.ops.divergence import sweep as divergence_chunked
from lmhead.ops.divergence.problem import DivergenceProblem
from lmhead.ops.problem import Problem, Solved
from lmhead.ops.row_terms import RowCoefficients
from lmhead.ops.sweep_result import SweepResult

AnyProblem = Problem | DivergenceProblem
Sweep = Callable[[Any, RowCoefficients | None, Collection[str]], SweepResult]
Definition = Callable[[Any, Tensor | None], Solved]


def _never(problem: Any) -> str | None:
    return None


def _needs_whole_rows(problem: AnyProblem) -> str | None:
    cut = problem.differentiated.shard.group
    return "its head is cut over ranks, and no rank has a whole row of logits" if cut else None


def _scans_one_target(problem: AnyProblem) -> str | None:
    of = problem.differentiated
    several = of.shard.group and of.targets.shape[1] > 1
    return f"{of.targets.shape[1]} targets for a row of a head that is cut over ranks" if several else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One way to run problems of the kinds that it has a sweep or a definition for."""

    sweeps: Mapping[type, Sweep] = field(default_factory=dict)  # outputs and gradients at once: ops/autograd.py
    definitions: Mapping[type, Definition] = field(default_factory=dict)  # plain torch, which differentiates them
    refuses: Callable[[Any], str | None] = _never  # why it cannot run a problem of these kinds, None when it can
    only_by_name: Callable[[Any], str | None] = _never  # why it is not chosen unasked, None when it is

    def computes(self, problem: AnyProblem) -> bool:
        """Whether it knows problems of this kind at all."""
        return type(problem) in self.sweeps or type(problem) in self.definitions

    def refusal(self, problem: AnyProblem, *, asked_for: bool) -> str | None:
        """Why it does not run this problem; None when it does.

        Args:
            asked_for: by its name.
        """
        if not self.computes(problem):
            return f"it computes no {problem.what}"
        return (None if asked_for else self.only_by_name(problem)) or self.refuses(problem)


BACKENDS: dict[str, Backend] = {  # fastest first; the first that does not refuse runs
    **{
        name: Backend(
            sweeps={Problem: partial(triton.sweep, form=form)},
            refuses=triton.refusal,
            only_by_name=triton.only_by_name,
        )
        for name, form in triton.FORMS.items()
    },
    "chunked": Backend(
        sweeps={Problem: chunked.sweep, DivergenceProblem: divergence_chunked.sweep}, refuses=_scans_one_target
    ),
    "row_major": Backend(sweeps={Problem: partial(chunked.sweep, by_vocabulary=False)}, refuses=_needs_whole_rows),
    "vocabulary_major": Backend(
        sweeps={Problem: partial(chunked.sweep, by_vocabulary=True)}, refuses=_scans_one_target
    ),
    "reference": Backend(
        definitions={Problem: reference.run, DivergenceProblem: divergence.all_logits}, refuses=_needs_whole_rows
    ),
}


def choose(problem: AnyProblem, name: str | None) -> str:
    """That name, else the first of a back-end that takes the problem.

    Raises:
        ArgumentError: none of that name computes problems of this kind, or it refuses; or all do, each reason listed.
    """
    if name is not None:
        able = [other for other, backend in BACKENDS.items() if backend.computes(problem)]
        require(name in able, "backend", f"be one of {', '.join(able)}", repr(name))
        why_not = BACKENDS[name].refusal(problem, asked_for=True)
        require(why_not is None, "backend", f"run this problem, which {name} refuses", why_not)
        return name
    reasons = []
    for candidate, backend in BACKENDS.items():
        why_not = backend.refusal(problem, asked_for=False)
        if why_not is None:
            return candidate
        reasons.append(f"{candidate}: {why_not}")
    raise ArgumentError("no back-end takes this problem; " + "; ".join(reasons))
