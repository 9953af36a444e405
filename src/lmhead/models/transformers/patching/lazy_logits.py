"""LazyLogits: hidden states and their output layer, in the place of the logits that nobody has asked for yet.

A plain object, not a Tensor: it tells its shape, dtype and device, records scales, caps, casts, slices of positions and
a cut vocabulary, and hands the rest to the logits themselves, which are made then: right, only not saving.
`torch.nn.functional.cross_entropy` of it is the op's. Everything here is followed by torch.compile.

Views know what they are views of: once the logits of one are made, all share them, as tensors share their memory, and
what is written into one is seen by the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, final

import torch
from torch import Tensor
from torch.nn import functional as F

from lmhead.models.transformers.patching.call_context import CallContext
from lmhead.models.transformers.patching.fused_loss import fused_cross_entropy
from lmhead.models.transformers.patching.logits_index import gives_view, taken_by
from lmhead.models.transformers.patching.record import Step, Steps, applied, scale_and_cap
from lmhead.ops.adapter import LowRankAdapter

if TYPE_CHECKING:
    from lmhead.models.transformers.patching.head_override import HeadOverride

_RECORDED: Final[
    dict[Callable[..., Any], str]
] = {  # torch's function of logits and numbers: the method that records it
    **dict.fromkeys((torch.mul, torch.multiply, torch.Tensor.mul), "mul"),
    **dict.fromkeys((torch.div, torch.divide, torch.true_divide, torch.Tensor.div), "div"),
    **dict.fromkeys((torch.tanh, torch.Tensor.tanh), "tanh"),
    **dict.fromkeys((torch.flatten, torch.Tensor.flatten), "flatten"),
    **dict.fromkeys((torch.reshape, torch.Tensor.reshape), "reshape"),
}
_CASTS: Final = (torch.float32, torch.bfloat16, torch.float16)  # to float64 makes the logits: the op would not follow


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedHead:
    """What hidden states become on the way to a model's logits, as `linear_cross_entropy` takes it."""

    weight: Tensor  # [V, D]
    bias: Tensor | None  # [V]
    adapters: tuple[LowRankAdapter, ...]
    softcap: float | None
    logit_scale: float


@final
class LazyLogits:
    """cap(scale * (hidden @ weight.T + bias))[..., :width], not made until it is needed."""

    def __init__(
        self,
        head: "HeadOverride",
        hidden: Tensor,  # [..., D]
        *,
        context: CallContext,
        steps: Steps = (),
        width: int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.head = head
        self.hidden = hidden
        self.context = context
        self.steps = steps
        self.width = head.rows() if width is None else width  # V, or fewer where the vocabulary was cut
        autocast = context.autocast if hidden.dtype != torch.float64 else None
        self.dtype = dtype or autocast or hidden.dtype  # that the logits would have
        self._made: Tensor | None = None
        self._base: LazyLogits | None = None  # that this is a view of
        self._view: tuple[str, Any] = ("", ())  # the base's method and its argument
        self._has_views = False
        self._whole = True  # no part of its base, so contiguous as that

    # ---- told without making anything

    @property
    def shape(self) -> torch.Size:
        """[..., V]."""
        return torch.Size((*self.hidden.shape[:-1], self.width))

    @property
    def ndim(self) -> int:
        """Of the logits."""
        return self.hidden.dim()

    @property
    def device(self) -> torch.device:
        """The output layer's."""
        return self.hidden.device

    @property
    def requires_grad(self) -> bool:
        """Whether the logits would have a gradient."""
        return self.context.grad and (self.hidden.requires_grad or self.head.requires_grad())

    def size(self, dim: int | None = None) -> torch.Size | int:
        """As of a Tensor."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        """As of a Tensor."""
        return self.hidden.dim()

    def numel(self) -> int:
        """As of a Tensor."""
        return self.shape.numel()

    def is_floating_point(self) -> bool:
        """As of a Tensor."""
        return True

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"LazyLogits(shape={tuple(self.shape)}, dtype={self.dtype}, device={self.device})"

    # ---- recorded

    @property
    def _is_made(self) -> bool:
        """Whether the logits are there, its own or those that it is a view of: whatever was written in them holds."""
        return self._made is not None or (self._base is not None and self._base._is_made)

    def _like(self, hidden: Tensor, *, width: int, steps: Steps, dtype: torch.dtype) -> "LazyLogits":
        context = self.context if torch.is_grad_enabled() else replace(self.context, grad=False)
        return LazyLogits(self.head, hidden, context=context, steps=steps, width=width, dtype=dtype)

    def _then(self, step: Step, dtype: torch.dtype | None = None) -> "LazyLogits":
        return self._like(self.hidden, width=self.width, steps=(*self.steps, step), dtype=dtype or self.dtype)

    def _of(self, hidden: Tensor, width: int) -> "LazyLogits":
        return self._like(hidden, width=width, steps=self.steps, dtype=self.dtype)

    def _as_view(self, hidden: Tensor, width: int, view: tuple[str, Any], *, whole: bool) -> "LazyLogits":
        taken = self._of(hidden, width)
        taken._base, taken._view, taken._whole = self, view, whole
        self._has_views = True
        return taken

    def mul(self, other: Any) -> Any:
        """As of a Tensor: recorded for a number."""
        if not self._is_made and _is_number(other):
            return self._then(("scale", float(other)))
        return self._dense_for("mul") * _made(other)

    def div(self, other: Any, **rounding: Any) -> Any:
        """As of a Tensor: recorded for a number."""
        if not self._is_made and _is_number(other) and other != 0 and not rounding:
            return self._then(("divide", float(other)))
        return self._dense_for("div").div(_made(other), **rounding)

    def tanh(self) -> Any:
        """As of a Tensor."""
        return self._dense_for("tanh").tanh() if self._is_made else self._then(("tanh", None))

    __mul__ = __rmul__ = multiply = mul
    __truediv__ = true_divide = divide = div

    def __imul__(self, other: Any) -> Any:  # type: ignore[misc]
        return self._in_place("__imul__", "scale", other)

    def __itruediv__(self, other: Any) -> Any:  # type: ignore[misc]
        return self._in_place("__itruediv__", "divide", other)

    def _in_place(self, name: str, step: str, other: Any) -> "LazyLogits":
        alone = self._base is None and not self._has_views and not self._is_made
        if alone and _is_number(other) and (other != 0 or step == "scale"):
            self.steps = (*self.steps, (step, float(other)))
        else:
            getattr(self._dense_for(name.strip("_")), name)(_made(other))
        return self

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """As of a Tensor: another dtype is recorded, another device makes the logits."""
        asked = (*args, *kwargs.values())
        dtypes = [each for each in asked if isinstance(each, torch.dtype)]
        moved = any(
            not isinstance(each, torch.dtype | bool)
            and not (isinstance(each, torch.device | str) and torch.device(each) == self.device)
            for each in asked
        )
        if moved or len(dtypes) > 1 or kwargs.get("copy") or self._is_made:
            return self._dense_for("to").to(*args, **kwargs)
        if not dtypes or dtypes[0] == self.dtype:
            return self
        if dtypes[0] not in _CASTS:
            return self._dense_for("to").to(*args, **kwargs)
        return self._then(("cast", dtypes[0]), dtypes[0])

    def float(self) -> Any:
        """As of a Tensor."""
        return self.to(torch.float32)

    def contiguous(self) -> "LazyLogits | Tensor":
        """As of a Tensor: itself, or a copy of a part."""
        if self._whole:
            return self
        return self._dense_for("contiguous").contiguous() if self._is_made else self._of(self.hidden, self.width)

    def view(self, *shape: Any) -> Any:
        """As of a Tensor: recorded where the vocabulary stays the last dimension."""
        return self._reshaped("view", shape)

    def reshape(self, *shape: Any) -> Any:
        """As of a Tensor: recorded where the vocabulary stays the last dimension."""
        return self._reshaped("reshape", shape)

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Any:
        """As of a Tensor: recorded where the vocabulary stays the last dimension."""
        dim = self.dim()
        start, end = start_dim % dim if dim else 0, end_dim % dim if dim else 0
        if self._is_made or not start < end < dim - 1:
            return self._dense_for("flatten").flatten(start_dim, end_dim)
        return self._reshaped("reshape", ((*self.shape[:start], -1, *self.shape[end + 1 :]),))

    def _reshaped(self, name: str, shape: tuple[Any, ...]) -> Any:
        sizes = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], Sequence) else shape
        if not self._is_made and sizes and all(isinstance(size, int | torch.SymInt) for size in sizes):
            *lead, last = sizes
            if last == -1 and -1 not in lead:
                rows = 1
                for size in lead:
                    rows *= size
                last = self.width if rows * self.width == self.numel() else last
            if last == self.width:
                hidden = self.hidden.reshape(*lead, self.hidden.shape[-1])
                if name == "reshape" and not self._whole:  # a copy
                    return self._of(hidden, self.width)
                return self._as_view(hidden, self.width, (name, sizes), whole=self._whole)
        return getattr(self._dense_for(name), name)(*shape)

    def __getitem__(self, index: Any) -> Any:
        """As of a Tensor: recorded where it takes positions, and of the vocabulary the first tokens."""
        taken = None if self._is_made else taken_by(index, self.dim())
        if taken is None:
            return self._dense_for("getitem")[_made(index)]
        positions, tokens = taken
        width = self.width
        if tokens is not None:
            if tokens.start not in (None, 0) or tokens.step not in (None, 1):
                return self._dense_for("getitem")[index]
            width = len(range(*tokens.indices(self.width)))
        hidden = self.hidden[positions] if positions else self.hidden
        if gives_view(index):
            return self._as_view(hidden, width, ("__getitem__", index), whole=False)
        return self._of(hidden, width)

    # ---- what the loss asks for

    def linear(self) -> RecordedHead | None:
        """The head with all that was recorded, as it is now; None where the op knows no such steps."""
        known = scale_and_cap(self.steps)
        if known is None or self._is_made:
            return None
        own = self.head.tensors(self.hidden)
        weight, bias, adapters = own.weight, own.bias, own.adapters
        if self.width < weight.shape[0]:
            weight, bias = weight[: self.width], None if bias is None else bias[: self.width]
            adapters = tuple(_cut(adapter, self.width) for adapter in adapters)
        return RecordedHead(weight=weight, bias=bias, adapters=adapters, logit_scale=known[0], softcap=known[1])

    def dense(self) -> Tensor:
        """The logits [..., V] themselves, differentiable; made once, in the modes that the layer was called in."""
        if self._made is None:
            if torch.compiler.is_compiling():
                self._made = self._in_context()
            else:
                with torch.inference_mode(self.context.inference):
                    self._made = self._in_context()
        return self._made

    def _in_context(self) -> Tensor:
        with torch.set_grad_enabled(self.context.grad), self.context.autocasts():
            if self._base is not None:
                name, argument = self._view
                view: Tensor = getattr(self._base.dense(), name)(argument)
                return view
            logits = self.head.logits(self.hidden)
            return applied(logits if self.width == logits.shape[-1] else logits[..., : self.width], self.steps)

    # ---- everything else is the logits'

    def _dense_for(self, asked: str) -> Tensor:
        if not self._is_made:
            self.head.state.made_dense(asked)
        return self.dense()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # looked up on the type, each with a method of its own
            raise AttributeError(name)
        return getattr(self._dense_for(name), name)

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        first = args[0] if args else kwargs.get("input")
        if function is F.cross_entropy and isinstance(first, LazyLogits):
            loss = fused_cross_entropy(*args, **kwargs)
            if loss is not None:
                return loss
        if args and isinstance(first, LazyLogits) and function in _RECORDED:
            return getattr(first, _RECORDED[function])(*args[1:], **kwargs)
        name = getattr(function, "__name__", str(function))
        return function(
            *[_made(each, name) for each in args], **{key: _made(each, name) for key, each in kwargs.items()}
        )

    __hash__ = object.__hash__


def _forwarded(name: str) -> Callable[..., Any]:
    def method(self: LazyLogits, *args: Any) -> Any:
        return getattr(self._dense_for(name.strip("_")), name)(*[_made(each) for each in args])

    return method


def _forwarded_in_place(name: str) -> Callable[..., Any]:
    def method(self: LazyLogits, other: Any) -> LazyLogits:
        getattr(self._dense_for(name.strip("_")), name)(_made(other))
        return self

    return method


for _name in (
    *("add", "radd", "sub", "rsub", "neg", "pos", "rtruediv", "pow", "rpow", "abs", "matmul", "rmatmul"),
    *("mod", "rmod", "floordiv", "rfloordiv", "and", "rand", "or", "ror", "xor", "rxor", "invert"),
    *("eq", "ne", "lt", "le", "gt", "ge", "contains", "setitem", "iter", "reversed"),
    *("bool", "float", "int", "index", "complex", "array", "format"),
):
    setattr(LazyLogits, f"__{_name}__", _forwarded(f"__{_name}__"))
for _name in ("iadd", "isub", "ipow", "imod", "ifloordiv", "iand", "ior", "ixor"):
    setattr(LazyLogits, f"__{_name}__", _forwarded_in_place(f"__{_name}__"))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _made(value: Any, asked: str = "arithmetic") -> Any:
    """The value with the logits in the place of lazy ones."""
    if isinstance(value, LazyLogits):
        return value._dense_for(asked)
    if type(value) in (list, tuple):
        return type(value)(_made(each, asked) for each in value)
    return value


def _cut(adapter: LowRankAdapter, width: int) -> LowRankAdapter:
    magnitude = None if adapter.magnitude is None else adapter.magnitude[:width]
    return replace(adapter, up=adapter.up[:width], magnitude=magnitude)
