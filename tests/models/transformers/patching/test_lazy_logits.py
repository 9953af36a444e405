"""LazyLogits do whatever the logits do: random programs of both, in float64, and what is told, recorded or shared."""

import operator
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from lmhead.models.transformers.patching.call_context import CallContext
from lmhead.models.transformers.patching.head_override import HeadOverride
from lmhead.models.transformers.patching.lazy_logits import LazyLogits
from lmhead.models.transformers.patching.state import PatchState, Watch

B, T, D, V = 3, 4, 5, 7
Pair = tuple[Any, Tensor]  # lazy, or made of it, and what it stands for


class Twins:
    """An output layer with hidden states, and the lazy and the real logits of them."""

    def __init__(self, seed: int = 0, dtype: torch.dtype = torch.float64) -> None:
        torch.manual_seed(seed)
        self.layer = nn.Linear(D, V, dtype=dtype)
        self.hidden = torch.randn(B, T, D, dtype=dtype, requires_grad=True)
        self.state = PatchState(logits="eval", labels_at=None)
        self.watch = self.state.watch = Watch()  # nothing is told while something watches
        self.head = HeadOverride(self.layer, self.state)

    def pair(self) -> Pair:
        lazy = LazyLogits(self.head, self.hidden, context=CallContext.current("cpu"))
        return lazy, self.layer(self.hidden)

    def gradients(self, loss: Tensor) -> tuple[Tensor | None, ...]:
        wanted = (self.hidden, self.layer.weight, self.layer.bias)
        return torch.autograd.grad(loss, wanted, allow_unused=True, retain_graph=True)


def made(value: Any) -> Any:
    return value.dense() if isinstance(value, LazyLogits) else value


def assert_same(found: Any, right: Any, **bars: float) -> None:
    found = made(found)
    if isinstance(right, Tensor):
        assert found.requires_grad == right.requires_grad
        torch.testing.assert_close(found, right, **(bars or {"rtol": 1e-10, "atol": 1e-12}), equal_nan=True)
    else:
        assert found == right


# ---- random programs


def number(draw: random.Random) -> float:
    return draw.choice([0.5, -1.5, 2, 3.0, 0.1])


def index(draw: random.Random, shape: torch.Size) -> Any:
    """Of any kind that a tensor of this shape takes."""
    parts: list[Any] = []
    left = list(shape)
    while left and draw.random() < 0.75:
        size = left.pop(0)
        kind = draw.choice(["all", "slice", "slice", "int", "tensor", "mask"])
        if kind == "int" and size:
            parts.append(draw.randrange(-size, size))
        elif kind == "tensor" and size:
            parts.append(torch.tensor([draw.randrange(size) for _ in range(draw.randrange(1, 3))]))
        elif kind == "mask" and not any(isinstance(each, Tensor) for each in parts):
            parts.append(torch.tensor([draw.random() < 0.6 for _ in range(size)], dtype=torch.bool))
        elif kind == "slice":
            start, stop = draw.choice([None, 0, 1]), draw.choice([None, size, size - 1, -1])
            parts.append(slice(start, stop, draw.choice([None, 1, 2])))
        else:
            parts.append(slice(None))
    if draw.random() < 0.4:
        parts.append(Ellipsis)
        if left and draw.random() < 0.6:
            parts.append(slice(None, draw.choice([None, left[-1] - 1])))
    return parts[0] if len(parts) == 1 else tuple(parts)


def drawn_step(draw: random.Random, like: Tensor, *, in_place: bool) -> tuple[str, Callable[[Any], Any]]:
    """What is done to a value: the same for lazy and for real logits."""
    x, last = number(draw), like.shape[-1] if like.dim() else 1
    steps: dict[str, Callable[[Any], Any]] = {
        "mul": lambda z: z * x,
        "rmul": lambda z: x * z,
        "torch.mul": lambda z: torch.mul(z, x),
        "div": lambda z: z / x,
        "torch.div": lambda z: torch.div(z, x),
        "tanh": lambda z: z.tanh(),
        "torch.tanh": lambda z: torch.tanh(z),
        "cap": lambda z: x * torch.tanh(z / x),
        "float64": lambda z: z.to(torch.float64),
        "view": lambda z: z.view(-1, last),
        "view sizes": lambda z: z.view(*z.shape[:-1], -1),
        "view list": lambda z: z.view(list(z.shape)),
        "reshape": lambda z: z.reshape(-1, last),
        "reshape to another": lambda z: z.reshape(-1),
        "flatten": lambda z: z.flatten(0, 1),
        "torch.flatten": lambda z: torch.flatten(z, 0, -2),
        "contiguous": lambda z: z.contiguous(),
        "add": lambda z: z + x,
        "rsub": lambda z: x - z,
        "neg": lambda z: -z,
        "transpose": lambda z: z.transpose(0, -1),
        "softmax": lambda z: F.softmax(z, dim=-1),
        "cat": lambda z: torch.cat([z, z]),
        "where": lambda z: torch.where(z > 0, z, 0.1 * z),
        "clamp": lambda z: z.clamp(min=-0.5),
        "logsumexp": lambda z: torch.logsumexp(z, -1, keepdim=True),
    }
    where = index(draw, like.shape)
    steps |= dict.fromkeys(("getitem", "getitem again"), lambda z: z[where])
    if in_place:
        steps |= {
            "setitem": lambda z: operator.setitem(z, where, x) or z,
            "mul_": lambda z: z.mul_(x),
            "imul": lambda z: operator.imul(z, x),
            "itruediv": lambda z: operator.itruediv(z, x),
            "iadd": lambda z: operator.iadd(z, x),
            "masked_fill_": lambda z: (
                z.masked_fill_(made(z) > 1, x) if isinstance(z, LazyLogits) else z.masked_fill_(z > 1, x)
            ),
        }
    name = draw.choice(list(steps))
    return name, steps[name]


@given(seed=st.integers(0, 2**32))
def test_programs_of_lazy_logits_are_programs_of_logits(seed):
    draw, twins = random.Random(seed), Twins(seed % 7)
    values = [twins.pair()]
    done: list[str] = []
    may_write = True
    for _ in range(draw.randrange(1, 9)):
        at = draw.randrange(len(values))
        lazy, real = values[at]
        name, change = drawn_step(draw, real, in_place=may_write and draw.random() < 0.4)
        # whether these give a view of a part or a copy of it depends on strides: nothing is written after them
        may_write = may_write and name not in (
            "reshape",
            "flatten",
            "torch.flatten",
            "reshape to another",
            "contiguous",
        )
        try:
            right = change(real)
        except (RuntimeError, IndexError):
            if name in ("setitem", "mul_", "imul", "itruediv", "iadd", "masked_fill_"):
                return  # it may have written a part
            continue
        values.append((change(lazy), right))
        done.append(f"{name} of {at}")
    for found, right in values:
        assert tuple(found.shape) == tuple(right.shape), done
        assert found.dtype == right.dtype
    weights = [torch.randn(right.shape, dtype=torch.float64) for _, right in values]
    for found, right in reversed(values):
        assert_same(found, right)
    try:
        gradients = twins.gradients(sum((right * w).sum() for (_, right), w in zip(values, weights, strict=True)))
    except RuntimeError:  # what autograd had saved was written over
        return
    found = twins.gradients(sum((made(each) * w).sum() for (each, _), w in zip(values, weights, strict=True)))
    for mine, its in zip(found, gradients, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-9, atol=1e-10, equal_nan=True)


@given(seed=st.integers(0, 2**32))
def test_cross_entropy_of_programs_is_that_of_logits(seed):
    """With torch's options, whatever was recorded, whether the op could take it or not."""
    draw, twins = random.Random(seed), Twins(seed % 7)
    lazy, real = twins.pair()
    for _ in range(draw.randrange(0, 5)):
        _, change = drawn_step(draw, real, in_place=draw.random() < 0.2)
        try:
            right = change(real)
        except (RuntimeError, IndexError):
            return
        if right.dim() < 1 or right.shape[-1] < 2 or not right.numel():
            return
        lazy, real = change(lazy), right
    width = real.shape[-1]
    rows = real.numel() // width
    target = torch.tensor([draw.randrange(width) for _ in range(rows)])
    target[0] = draw.choice([-100, 1])
    options: dict[str, Any] = {
        "reduction": draw.choice(["mean", "sum", "none"]),
        "label_smoothing": draw.choice([0.0, 0.0, 0.1]),
        "ignore_index": draw.choice([-100, 1]) if rows > 2 else -100,
        "weight": torch.rand(width, dtype=torch.float64) + 0.1 if draw.random() < 0.3 else None,
    }
    if options["ignore_index"] == 1:
        target[target < 0] = 0
    right = F.cross_entropy(real.reshape(-1, width), target, **options)
    found = F.cross_entropy(lazy.reshape(-1, width), target, **options)
    if right.isnan().any():  # nothing scored: 0 here
        return
    assert_same(found, right)
    weights = torch.randn(right.shape, dtype=torch.float64)
    try:
        gradients = twins.gradients((right * weights).sum())
    except RuntimeError:  # what autograd had saved was written over
        return
    for mine, its in zip(twins.gradients((found * weights).sum()), gradients, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-8, atol=1e-10)


# ---- operators

BINARY = [
    *(operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow),
    *(operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge),
]


@pytest.mark.parametrize(
    "other", [2, 0.5, torch.rand(V, dtype=torch.float64) + 0.5, "itself"], ids=["int", "float", "tensor", "itself"]
)
@pytest.mark.parametrize("operation", BINARY, ids=lambda each: each.__name__)
def test_operators_with_numbers_tensors_and_lazy_logits_from_both_sides(operation, other):
    twins = Twins()
    lazy, real = twins.pair()
    theirs = (lazy, real) if isinstance(other, str) else (other, other)
    assert_same(operation(lazy, theirs[0]), operation(real, theirs[1]))
    lazy, real = twins.pair()
    theirs = (lazy, real) if isinstance(other, str) else (other, other)
    assert_same(operation(theirs[0], lazy), operation(theirs[1], real))


IN_PLACE = [
    *(operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ifloordiv, operator.imod, operator.ipow),
]


@pytest.mark.parametrize("operation", IN_PLACE, ids=lambda each: each.__name__)
def test_operators_in_place_are_seen_by_views_of_before(operation):
    lazy, real = Twins().pair()
    views = lazy[:, 1:].view(B, T - 1, V), real[:, 1:]
    copies = lazy * 1.0, real * 1.0
    with torch.no_grad():
        lazy, real = operation(lazy, 1.5), operation(real, 1.5)
    for found, right in ((lazy, real), views, copies):
        torch.testing.assert_close(made(found).detach(), right.detach(), equal_nan=True)


ANSWERS = """
-z; +z; abs(z); tuple(z.shape); len(z); list(z); bool(z[0, 0, 0]); float(z[1, 2, 3]); int(z[1, 2, 3])
f"{z[0, 0, 0]:.3f}"; complex(z[0, 0, 0]); 3.0 in z; [each.shape for each in reversed(z)]; 2**z; 1 / z; z.mT
z @ torch.eye(V, dtype=torch.float64); torch.eye(T, dtype=torch.float64) @ z; z.sum(); z.max(-1).values
z.detach().argmax(-1).tolist(); z.new_zeros(2); z.is_cuda; z.ndim; z.size(); z.size(-1); z.size(dim=1); z.dim()
z.numel(); z.device; z.dtype; z.requires_grad; z.is_floating_point(); z.stride(); z.is_contiguous(); z.float()
z.half(); z.to("cpu"); z.to(torch.float32, copy=True); z.to(device="cpu", dtype=torch.float32); z.long(); z.double()
z.to(torch.int64); z.type(torch.float32); z.cpu(); z.mul(2); z.div(2); z.div(2, rounding_mode="floor"); z.div(0)
z.true_divide(3); z[None]; z[[0, 1]]; z[True]; z[()]; z[..., 2]; z[..., [1, 2]]; z.detach().view(torch.int64)
z.view(B * T * V); z.view((B * T, V)); z.reshape(T, B, V); z.flatten(); z.flatten(1); z.flatten(0, 1)
z.flatten(start_dim=-3, end_dim=-2); torch.stack([z, z]); torch.einsum("btv,v->bt", z, torch.ones(V).double())
z.unbind()[0]; nn.CrossEntropyLoss()(z.transpose(1, 2), torch.ones(B, T).long())
F.cross_entropy(z.view(-1, V), torch.full((B * T, V), 1 / V).double()); F.cross_entropy(z[0, 0], torch.tensor(2))
F.cross_entropy(input=z.view(-1, V), target=torch.ones(B * T).long()); nn.Linear(V, 2).double()(z).shape
"""


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")
@pytest.mark.parametrize("asked", [each.strip() for each in ANSWERS.replace("\n", ";").split(";") if each.strip()])
def test_everything_that_logits_answer(asked):
    lazy, real = Twins().pair()
    found, right = (eval(asked, globals() | {"z": z}) for z in (lazy, real))
    if isinstance(right, list):
        for mine, its in zip(found, right, strict=True):
            assert_same(mine, its)
    else:
        assert_same(found, right)


def test_it_becomes_an_array():
    lazy, real = Twins().pair()
    with torch.no_grad():
        lazy, real = Twins().pair()
        np.testing.assert_allclose(np.asarray(lazy), real.numpy())


def test_every_operator_of_a_tensor_is_there():
    """But the shifts, which floats have not, and what is a tensor's own business: pickling, pointers, dispatch."""
    left_out = {
        *(
            "__annotations__",
            "__setstate__",
            "__slotnames__",  # copyreg keeps it there once a tensor was copied
            "__deepcopy__",
            "__torch_dispatch__",
            "__array_priority__",
            "__array_wrap__",
        ),
        *("__cuda_array_interface__", "__dlpack__", "__dlpack_device__", "__dlpack_c_exchange_api__", "__delitem__"),
        *("__div__", "__rdiv__", "__idiv__", "__long__", "__nonzero__"),  # Python 2's
        *("__lshift__", "__rlshift__", "__ilshift__", "__rshift__", "__rrshift__", "__irshift__"),
    }
    operators = {name for name in dir(Tensor) if name.startswith("__")}
    assert operators - set(dir(LazyLogits)) - left_out == set()


# ---- what makes no logits


RECORDED = """
z.shape; z.device; z.requires_grad; len(z); repr(z); z.float(); z.to(torch.bfloat16); z.contiguous()
z[:, :-1].contiguous(); z.view(-1, V); z.reshape(-1, V); z.flatten(0, 1); z.view(B * T, -1); z[..., :-1, :]; z[:, -1]
z[..., : V - 1]; z[torch.ones(B, T, dtype=torch.bool)]; 2.0 * z; z.mul(0.5); torch.div(z, 3)
5.0 * torch.tanh(z / 5.0); operator.imul(z, 2.0); operator.itruediv(z, 2.0)
"""


@pytest.mark.parametrize("asked", [each.strip() for each in RECORDED.replace("\n", ";").split(";") if each.strip()])
def test_makes_no_logits(asked):
    twins = Twins()
    eval(asked, globals() | {"z": twins.pair()[0]})
    assert twins.watch.dense == []


def test_a_scale_in_place_is_recorded_and_holds_for_the_loss():
    twins = Twins()
    lazy, real = twins.pair()
    lazy *= 3.0
    real = real * 3.0
    target = torch.arange(B * T) % V
    assert_same(F.cross_entropy(lazy.view(-1, V), target), F.cross_entropy(real.view(-1, V), target))
    assert twins.watch.dense == []
    assert len(twins.watch.taken) == 1


# ---- what is shared


def test_what_is_written_into_the_logits_is_in_the_loss_of_a_view_of_before():
    twins = Twins()
    lazy, real = twins.pair()
    view, its = lazy.view(-1, V), real.view(-1, V)
    lazy[..., 3] = -1e9
    real[..., 3] = -1e9
    target = torch.arange(B * T) % 3
    assert_same(F.cross_entropy(view, target), F.cross_entropy(its, target))


def test_what_is_written_into_a_view_is_in_the_logits():
    lazy, real = Twins().pair()
    lazy[:, 1:][..., 0] = 5.0
    real[:, 1:][..., 0] = 5.0
    assert_same(lazy, real)


def test_a_cast_that_changes_nothing_is_the_logits_themselves():
    lazy, real = Twins(dtype=torch.float32).pair()
    with torch.no_grad():
        lazy.float()[0] = 0.0
        real.float()[0] = 0.0
    torch.testing.assert_close(lazy.dense(), real)


# ---- the modes of the layer's call


def test_logits_made_without_gradients_keep_their_gradient_for_the_loss():
    """A metric in no_grad before the loss, as many trainers have it."""
    twins = Twins()
    lazy, real = twins.pair()
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert made(lazy).argmax(-1).shape == (B, T)
    target = torch.arange(B * T) % V
    found, right = F.cross_entropy(lazy.view(-1, V), target), F.cross_entropy(real.view(-1, V), target)
    for mine, its in zip(twins.gradients(found), twins.gradients(right), strict=True):
        torch.testing.assert_close(mine, its)


def test_a_layer_called_without_gradients_gives_a_loss_without():
    twins = Twins()
    with torch.no_grad():
        lazy, _ = twins.pair()
    assert not lazy.requires_grad
    assert not F.cross_entropy(lazy.view(-1, V), torch.arange(B * T) % V).requires_grad
    assert not made(lazy).requires_grad


def test_autocast_of_the_call_holds_where_the_logits_are_made():
    twins = Twins(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lazy, real = twins.pair()
    assert lazy.dtype == real.dtype == torch.bfloat16
    assert torch.equal(made(lazy), real)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lazy, real = twins.pair()
    target = torch.arange(B * T) % V
    found, right = F.cross_entropy(lazy.float().view(-1, V), target), F.cross_entropy(real.float().view(-1, V), target)
    torch.testing.assert_close(found, right, rtol=1e-2, atol=1e-2)
    assert len(twins.watch.taken) == 1


def test_a_layer_outside_of_autocast_is_not_rounded_within():
    twins = Twins(dtype=torch.float32)
    lazy, real = twins.pair()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert lazy.dtype == torch.float32
        assert torch.equal(made(lazy), real)


def test_made_logits_are_the_models_to_the_last_bit():
    """Divided where the model divides, not multiplied with the inverse."""
    lazy, real = Twins(dtype=torch.float32).pair()
    found = 30.0 * torch.tanh(lazy / 3.0 / 30.0)
    assert torch.equal(made(found), 30.0 * torch.tanh(real / 3.0 / 30.0))
