"""What the op's tests share: drawn problems and one way to solve them. (How exact: plain_arithmetic.py.)"""

import importlib.util
from collections.abc import Callable, Generator
from dataclasses import dataclass, fields

import numpy as np
import pytest
import torch
from tests.ops.interpreter import set_up_the_interpreter
from torch import Tensor

from lmhead import IGNORE_INDEX, ArgumentError, LowRankAdapter, linear_cross_entropy
from lmhead.ops.triton.forms import FORMS, interpreted

LEAVES = ("hidden", "weight", "bias", "down", "up", "magnitude")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test of one of Triton's forms on the CPU runs where its interpreter is at work (tests/conftest.py)."""
    if _forms_of(item):
        if not (interpreted() and importlib.util.find_spec("triton")):
            pytest.skip("Triton's interpreter is not at work here")
        set_up_the_interpreter()


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """What a form refuses (float64) it is not tested with; triton/test_forms.py tells what that is."""
    forms = _forms_of(pyfuncitem)
    kernels = bool(forms) or "kernels_device" in pyfuncitem.fixturenames
    try:
        with np.errstate(all="ignore" if kernels else None):  # the interpreter computes in NumPy; a GPU does not warn
            return (yield)
    except ArgumentError as error:
        if not any(f"which {form} refuses" in str(error) for form in forms):
            raise
        pytest.skip(str(error))


def _forms_of(item: pytest.Item) -> list[str]:
    given = item.callspec.params if hasattr(item, "callspec") else {}
    return [given[name] for name in ("backend", "sweep") if given.get(name) in FORMS]


@pytest.fixture(scope="session")
def kernels_device() -> str:
    """Where Triton's kernels run: on a GPU, or on the CPU in the interpreter."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed")
    if torch.cuda.is_available():
        return "cuda"
    assert interpreted(), "tests/conftest.py asks for it"
    set_up_the_interpreter()
    return "cpu"


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Inputs of one problem; float64, so that every narrower dtype is a rounding of the same numbers."""

    hidden: Tensor  # [N, D]
    weight: Tensor  # [V, D]
    targets: Tensor  # [N], or [N, K]
    bias: Tensor | None = None  # [V]
    down: Tensor | None = None  # [R, D]
    up: Tensor | None = None  # [V, R]
    magnitude: Tensor | None = None  # [V]
    token_weight: Tensor | None = None  # the targets' shape
    class_weight: Tensor | None = None  # [V]

    @property
    def adapter(self) -> LowRankAdapter | None:
        """LoRA, or DoRA where there is a magnitude."""
        if self.down is None:
            return None
        return LowRankAdapter(down=self.down, up=self.up, scale=0.5, magnitude=self.magnitude)

    def on(self, device: str) -> "Drawn":
        """On another device."""
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        return Drawn(**{name: None if tensor is None else tensor.to(device) for name, tensor in tensors.items()})

    def to(self, dtype: torch.dtype) -> "Drawn":
        """Rounded to `dtype`; what is differentiated becomes a new leaf."""
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in LEAVES:
            if tensors[name] is not None:
                tensors[name] = tensors[name].detach().to(dtype, copy=True).requires_grad_()
        return Drawn(**tensors)


def _draw(
    N: int,
    D: int,
    V: int,
    *,
    bias: bool = False,
    weights: bool = False,
    ignored: float = 0.0,
    seed: int = 0,
    per_row: int | None = None,
    adapter: str | None = None,
) -> Drawn:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    shape = (N,) if per_row is None else (N, per_row)
    targets = torch.randint(V, shape, generator=generator)
    hidden, weight = normal(N, D), normal(V, D) * 2 / D**0.5
    down, up = (normal(3, D), normal(V, 3) * 0.3) if adapter else (None, None)
    magnitude = None
    if adapter == "dora":  # begins at the row's norm: a row that nearly cancels is not blown up to 1, in any dtype
        magnitude = (uniform(V) + 0.5) * (weight + 0.5 * up @ down).norm(dim=1)
    return Drawn(
        hidden=hidden,
        weight=weight,
        targets=targets.masked_fill(uniform(*shape) < ignored, IGNORE_INDEX),
        bias=normal(V) if bias else None,
        token_weight=uniform(*shape).masked_fill(uniform(*shape) < 0.2, 0) if weights else None,
        class_weight=uniform(V) + 0.5 if weights else None,
        down=down,
        up=up,
        magnitude=magnitude,
    )


def _solve(drawn: Drawn, *, backend: str | None = None, upstream: Tensor | None = None, **options: object) -> dict:
    """Loss, statistics and gradients by name, in the dtype that `drawn` has."""
    loss, statistics = linear_cross_entropy(
        drawn.hidden,
        drawn.weight,
        drawn.targets,
        bias=drawn.bias,
        adapter=drawn.adapter,
        token_weight=drawn.token_weight,
        class_weight=drawn.class_weight,
        backend=backend,
        return_stats=True,
        **options,
    )
    columns = {field.name: getattr(statistics, field.name) for field in fields(statistics)}
    leaves = {name: getattr(drawn, name) for name in LEAVES}
    leaves = {name: leaf for name, leaf in leaves.items() if leaf is not None and leaf.requires_grad}
    upstream = torch.ones_like(loss) if upstream is None else upstream.to(loss.dtype)
    gradients = torch.autograd.grad(loss, list(leaves.values()), upstream)
    return {
        "loss": loss.detach(),
        **{name: column for name, column in columns.items() if column is not None},
        **{f"d_{name}": gradient for name, gradient in zip(leaves, gradients, strict=True)},
    }


@pytest.fixture(scope="session")
def draw() -> Callable[..., Drawn]:
    """draw(N, D, V, bias=, weights=, ignored=, seed=, per_row=, adapter="lora" | "dora") -> Drawn."""
    return _draw


@pytest.fixture(scope="session")
def solve() -> Callable[..., dict]:
    """solve(drawn, backend=, upstream=, **options) -> tensors by name: loss, statistics, gradients."""
    return _solve
