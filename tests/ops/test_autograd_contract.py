"""The autograd contract, case by case: this library's back-ends and options keep it, and the committed table of who
does not is still true of torch's own op.

The cases are benchmarks/contract/: `python -m benchmarks.contract` runs them against the peers too. What needs to know
more of the op than its loss (bias, statistics, errors by name, opcheck) is in test_autograd_options.py.
"""

import json
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from benchmarks.contract.cases import BEYOND_THE_INTERPRETER, CASES, attempt
from benchmarks.contract.gradients import loss_and_gradients_of_many_rows
from benchmarks.contract.modes import compile_fullgraph_dynamic, compile_inductor
from benchmarks.contract.numbers import margin_of_30_nats
from benchmarks.contract.subject import Subject
from benchmarks.peers import TORCH_OP, Loss, plain_upcast, torch_op
from tests.pairwise import chosen
from torch import Tensor

from lmhead import ArgumentError, linear_cross_entropy
from lmhead.ops.backends import BACKENDS
from lmhead.ops.triton.forms import FORMS

PLAIN: dict = {}
OPTIONS = {
    "plain": PLAIN,
    "none": {"reduction": "none"},
    "all": {"label_smoothing": 0.1, "z_loss": 1e-2, "softcap": 3.0, "logit_scale": 0.5},
    "one-row-chunks": {"memory_budget": 1},
}
COMPILED = {compile_fullgraph_dynamic.__name__, compile_inductor.__name__}
SLOW_OR_BEYOND = {*BEYOND_THE_INTERPRETER, loss_and_gradients_of_many_rows.__name__}  # in Triton's interpreter
TABLE = Path(__file__).parents[2] / "benchmarks" / "results" / "contract.json"


def loss_with(backend: str | None, options: dict) -> Loss:
    """A scalar of the op with these options: rows of reduction="none" get unequal upstream gradients, all a bias."""

    def loss(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        bias = torch.arange(len(weight), dtype=weight.dtype) / len(weight) if options is OPTIONS["all"] else None
        result = linear_cross_entropy(hidden, weight, targets, bias=bias, backend=backend, **options)
        rows = torch.arange(len(hidden), dtype=result.dtype)
        return (result * (1 + rows / 8)).sum() / 7 if options is OPTIONS["none"] else result

    return loss


def combinations() -> Iterator[tuple[str | None, str, str]]:
    """Every back-end, set of options and case, less the compilations that would say nothing new."""
    first = next(name for name in BACKENDS if name not in FORMS)
    for backend in (None, *BACKENDS):
        for name, options in OPTIONS.items() if backend else [("plain", PLAIN)]:
            for case in CASES:
                if backend == "reference" and "memory_budget" in options:
                    continue
                if backend in FORMS and (options or backend != "triton" or case in SLOW_OR_BEYOND):
                    continue  # an interpreter is slow; ops/triton/ has the options and the other forms
                if case in COMPILED and (backend is None or options is not PLAIN):
                    continue
                if case == compile_inductor.__name__ and backend != first:
                    continue
                yield backend, name, case


def param(backend: str | None, name: str, case: str) -> object:
    subtracts = backend == "reference" and case == margin_of_30_nats.__name__ and name != "all"
    mark = [pytest.mark.xfail(reason="float32 lse - logit is 0 here")] if subtracts else []
    return pytest.param(backend, OPTIONS[name], case, id=f"{backend or 'default'}-{name}-{case}", marks=mark)


@pytest.fixture(autouse=True)
def _fresh(request):
    """No compilation is left over from another test, for another."""
    yield
    if any(name in request.node.name for name in COMPILED):
        torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # inductor's own
@pytest.mark.parametrize(("backend", "options", "case"), [param(*row) for row in chosen(list(combinations()))])
def test_contract(backend, options, case):
    if case == compile_inductor.__name__ and not any(map(shutil.which, ("g++", "clang++", "c++"))):
        pytest.skip("no C++ compiler")
    definition = plain_upcast if options.keys() <= {"memory_budget"} else loss_with("reference", options)
    try:
        CASES[case](Subject(loss=loss_with(backend, options), definition=definition))
    except ArgumentError as error:
        if f"which {backend} refuses" not in str(error):
            raise
        pytest.skip(str(error))


@pytest.mark.parametrize("case", [case for case in CASES if case != compile_inductor.__name__])
@pytest.mark.parametrize(
    ("name", "loss"), [("plain logits, upcast", plain_upcast), (TORCH_OP, torch_op)], ids=["plain", "torch"]
)
def test_committed_table_is_still_true_of_torch(name, loss, case):
    """Where this fails, torch has changed: `python -m benchmarks.contract` takes the table anew."""
    committed = json.loads(TABLE.read_text())["measured"][name]
    if committed["version"].partition("+")[0] != torch.__version__.partition("+")[0]:
        pytest.skip(f"taken with torch {committed['version']}")
    outcome = attempt(case, Subject(loss=loss))
    assert outcome.holds == committed["outcomes"][case]["holds"], outcome.says


def test_committed_table_has_no_case_where_this_library_fails():
    outcomes = json.loads(TABLE.read_text())["measured"]["lmhead"]["outcomes"]
    assert outcomes.keys() == CASES.keys()
    assert [case for case, outcome in outcomes.items() if not outcome["holds"]] == []


def test_a_wrong_loss_is_told_in_a_few_words():
    def half(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        warnings.warn("a peer's own affair", stacklevel=1)
        return plain_upcast(hidden, weight, targets) / 2

    outcome = attempt("loss_and_gradients", Subject(loss=half))
    assert not outcome.holds
    assert outcome.says == "loss is 1.987, not 3.974"


def test_a_missing_gradient_is_told_in_a_few_words():
    def forgetful(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        return plain_upcast(hidden, weight.detach(), targets)

    assert attempt("loss_and_gradients", Subject(loss=forgetful)).says == "weight.grad is None"
    with pytest.raises(AssertionError, match=r"weight.grad is None"):
        CASES["loss_and_gradients"](Subject(loss=forgetful))
