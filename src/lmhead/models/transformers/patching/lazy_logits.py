"""LazyLogits: hidden states and their output layer, in the place of the logits that nobody has asked for yet.

A plain object, not a Tensor: it tells its shape, dtype and device, records scales, caps, casts, slices of positions and
a cut vocabulary, and hands the rest to the logits themselves, which are made then: right, only not saving.
`torch.nn.functional.cross_entropy` of it is the op's. Everything here is followed by torch.compile.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, final

import torch
from torch import Tensor
from torch.nn import functional as F

from lmhead.models.transformers.patching.fused_loss import fused_cross_entropy
from lmhead.models.transformers.patching.record import Step, Steps, applied, scale_and_cap
from lmhead.ops.adapter import LowRankAdapter

if TYPE_CHECKING:
    from lmhead.models.transformers.patching.head_override import HeadOverride

_MUL: Final = (torch.mul, torch.multiply, torch.Tensor.mul)
_DIV: Final = (torch.div, torch.divide, torch.true_divide, torch.Tensor.div)
_TANH: Final = (torch.tanh, torch.Tensor.tanh)


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
        steps: Steps = (),
        width: int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.head = head
        self.hidden = hidden
        self.steps = steps
        self.width = head.rows() if width is None else width  # V, or fewer where the vocabulary was cut
        self._dtype = dtype  # the last cast's
        self._made: Tensor | None = None

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
    def dtype(self) -> torch.dtype:
        """That the logits would have."""
        kind = self.hidden.device.type
        if self._dtype is not None:
            return self._dtype
        return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else self.hidden.dtype

    @property
    def requires_grad(self) -> bool:
        """Whether the logits would have a gradient."""
        return torch.is_grad_enabled() and (self.hidden.requires_grad or self.head.requires_grad())

    def size(self, dim: int | None = None) -> torch.Size | int:
        """As of a Tensor."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        """As of a Tensor."""
        return self.hidden.dim()

    def numel(self) -> int:
        """As of a Tensor."""
        return self.shape.numel()

    # ---- recorded

    def _then(self, step: Step, dtype: torch.dtype | None = None) -> "LazyLogits":
        return LazyLogits(
            self.head, self.hidden, steps=(*self.steps, step), width=self.width, dtype=dtype or self._dtype
        )

    def _of(self, hidden: Tensor, width: int) -> "LazyLogits":
        return LazyLogits(self.head, hidden, steps=self.steps, width=width, dtype=self._dtype)

    def __mul__(self, other: Any) -> Any:
        if self._made is None and _is_number(other):
            return self._then(("scale", float(other)))
        return self._dense_for("mul") * _made(other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        if self._made is None and _is_number(other) and other != 0:
            return self._then(("divide", float(other)))
        return self._dense_for("div") / _made(other)

    def tanh(self) -> Any:
        """As of a Tensor."""
        return self._then(("tanh", None)) if self._made is None else self._made.tanh()

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """As of a Tensor: another dtype is recorded, another device makes the logits."""
        asked = (*args, *kwargs.values())
        dtypes = [each for each in asked if isinstance(each, torch.dtype)]
        moved = any(
            not isinstance(each, torch.dtype | bool)
            and not (isinstance(each, torch.device | str) and torch.device(each) == self.device)
            for each in asked
        )
        if moved or len(dtypes) > 1 or self._made is not None:
            return self._dense_for("to").to(*args, **kwargs)
        return self._then(("cast", dtypes[0]), dtypes[0]) if dtypes else self

    def float(self) -> Any:
        """As of a Tensor."""
        return self.to(torch.float32)

    def contiguous(self, **_: Any) -> "LazyLogits":
        """Itself."""
        return self

    def view(self, *shape: Any) -> Any:
        """As of a Tensor: recorded where the vocabulary stays the last dimension."""
        sizes = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], Sequence) else shape
        if self._made is None and sizes and all(isinstance(size, int | torch.SymInt) for size in sizes):
            *lead, last = sizes
            if last == -1 and -1 not in lead:
                rows = 1
                for size in lead:
                    rows *= size
                last = self.width if rows * self.width == self.numel() else last
            if last == self.width:
                return self._of(self.hidden.reshape(*lead, self.hidden.shape[-1]), self.width)
        return self._dense_for("view").reshape(*shape)

    reshape = view

    def __getitem__(self, index: Any) -> Any:
        """As of a Tensor: recorded where it takes positions, and of the vocabulary the first tokens."""
        taken = _taken(index, self.dim()) if self._made is None else None
        if taken is None:
            return self._dense_for("getitem")[_made(index)]
        positions, tokens = taken
        width = self.width
        if tokens is not None:
            if tokens.start not in (None, 0) or tokens.step not in (None, 1):
                return self._dense_for("getitem")[index]
            width = len(range(*tokens.indices(self.width)))
        return self._of(self.hidden[positions] if positions else self.hidden, width)

    # ---- what the loss asks for

    def linear(self) -> RecordedHead | None:
        """The head with all that was recorded, as it is now; None where the op knows no such steps."""
        known = scale_and_cap(self.steps)
        if known is None or self._made is not None:
            return None
        own = self.head.tensors(self.hidden)
        weight, bias, adapters = own.weight, own.bias, own.adapters
        if self.width < weight.shape[0]:
            weight, bias = weight[: self.width], None if bias is None else bias[: self.width]
            adapters = tuple(_cut(adapter, self.width) for adapter in adapters)
        return RecordedHead(weight=weight, bias=bias, adapters=adapters, logit_scale=known[0], softcap=known[1])

    def dense(self) -> Tensor:
        """The logits [..., V] themselves, differentiable; made once."""
        if self._made is None:
            logits = self.head.logits(self.hidden)
            self._made = applied(logits if self.width == logits.shape[-1] else logits[..., : self.width], self.steps)
        return self._made

    # ---- everything else is the logits'

    def _dense_for(self, asked: str) -> Tensor:
        if self._made is None:
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
        if function is F.cross_entropy and isinstance(args[0] if args else kwargs.get("input"), LazyLogits):
            loss = fused_cross_entropy(*args, **kwargs)
            if loss is not None:
                return loss
        if args and isinstance(args[0], LazyLogits):
            if function in _TANH and len(args) == 1 and not kwargs:
                return args[0].tanh()
            if len(args) == 2 and not kwargs and _is_number(args[1]):
                if function in _MUL:
                    return args[0] * args[1]
                if function in _DIV:
                    return args[0] / args[1]
        name = getattr(function, "__name__", str(function))
        return function(
            *[_made(each, name) for each in args], **{key: _made(each, name) for key, each in kwargs.items()}
        )

    __hash__ = object.__hash__


def _forwarded(name: str) -> Callable[..., Any]:
    def method(self: LazyLogits, *args: Any) -> Any:
        return getattr(self._dense_for(name.strip("_")), name)(*[_made(each) for each in args])

    return method


for _name in (
    *("add", "radd", "sub", "rsub", "neg", "rtruediv", "pow", "rpow", "mod", "floordiv", "matmul", "rmatmul", "abs"),
    *("eq", "ne", "lt", "le", "gt", "ge", "and", "or", "xor", "invert"),
    *("len", "iter", "bool", "float", "int", "index", "contains", "array", "setitem", "format"),
):
    setattr(LazyLogits, f"__{_name}__", _forwarded(f"__{_name}__"))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _made(value: Any, asked: str = "arithmetic") -> Any:
    """The value with the logits in the place of lazy ones."""
    if isinstance(value, LazyLogits):
        return value._dense_for(asked)
    if type(value) in (list, tuple):
        return type(value)(_made(each, asked) for each in value)
    return value


def _taken(index: Any, dim: int) -> tuple[tuple[Any, ...], slice | None] | None:
    """(index of the positions, slice of the vocabulary or None for all); None where an index mixes the two."""
    given = index if isinstance(index, tuple) else (index,)
    sizes = [_dims_of(each) for each in given]
    if any(size is None for size in sizes) or sum(each is Ellipsis for each in given) > 1:
        return None
    used = sum(size for size in sizes if size is not None)
    if used > dim:
        return None
    filled: list[Any] = []
    for each in given:
        filled += [slice(None)] * (dim - used) if each is Ellipsis else [each]
    used = dim if any(each is Ellipsis for each in given) else used
    if used < dim:
        return tuple(filled), None
    last = filled[-1]
    return (tuple(filled[:-1]), last) if isinstance(last, slice) else None


def _dims_of(index: Any) -> int | None:
    """How many dimensions an index takes; None of one that is not followed here."""
    if index is Ellipsis:
        return 0
    if isinstance(index, Tensor):
        return index.dim() if index.dtype in (torch.bool, torch.uint8) else 1
    return 1 if isinstance(index, int | slice | torch.SymInt) and not isinstance(index, bool) else None


def _cut(adapter: LowRankAdapter, width: int) -> LowRankAdapter:
    magnitude = None if adapter.magnitude is None else adapter.magnitude[:width]
    return replace(adapter, up=adapter.up[:width], magnitude=magnitude)
