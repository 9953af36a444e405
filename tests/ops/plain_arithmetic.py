"""What rounding costs: a program's error in plain arithmetic, the same on every processor. The one tolerance of the op.

How far torch itself is from the truth says little: a processor with wide registers and fused multiply-adds adds up in
many short sums and rounds half as often, one without them is several times further off, and both are right. So a
result is held to what the definition costs in *plain arithmetic*, which no processor is asked for, as it is played in
float64:

    an operation        is exact, then rounded to its dtype, once
    exp, log, tanh      are off by up to u = eps / 2 more, as the vector libraries promise
    a matrix product    is a plain loop in float32: n terms t, one added after the other
    a sum               is pairwise, as torch's own

A loop that rounds each of its partial sums s_k, by errors that are independent and uniform within u |s_k|, has an
error of variance u^2 / 3 * sum s_k^2, and for terms in random order the expectation of sum s_k^2 is

    (n + 1) / 6 * (sum t^2 + 2 (sum t)^2)

(float32 terms are products that were rounded themselves: sum t^2 more; those of 16-bit factors are exact). Pairwise it
is at most log2(n) * sum t^2 + 2 (sum t)^2. That is Higham and Mary's probabilistic analysis (2019), sqrt(n) u where the
worst case is n u, with its constant; n is D for the logits, V for the hidden states' gradient, N for the weight's.
Everything else (how an error of a logit ends in a gradient) is carried along by the definition itself, as in Parker's
Monte Carlo arithmetic (1997): no formula of ours to be wrong.

Rounding is to nearest, as the hardware's, in the first run. Where a few 16-bit numbers decide, that may be right by
luck, so the other runs round up or down as chance has it, more often to the nearer: the error is then one of many that
could be. (Chance alone would not do: of numbers with few digits, D = 1 in bfloat16, errors to nearest are not
independent.)

No order of summation that a matrix library would choose is worse than the plain loop, so what is allowed (SLACK) holds
on every processor; and it is so near to what a good one reaches (float32: 0.3 to 1 of plain arithmetic's error; 16
bits: 1.0) that three bits lost of float32's 24, or a sum of chunks in 16 bits, is found (test_plain_arithmetic.py).
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

SLACK = 1.5  # of other formulas for the same: they round in other places
FEW_NUMBERS = 8.0  # three bits: slack where chance decides, as one large logit of a handful is rounded here or there
_BY_CHANCE = (4, 20)  # runs, where the first does not vouch for a result; the many where the few do not either
_NARROW = (torch.float32, torch.bfloat16, torch.float16)
_UNIT = torch.finfo(torch.float32).eps / 2  # every operation is made in float32, whatever it is rounded to
_aten = torch.ops.aten


class Plain:
    """What a program gives in plain arithmetic, by name; run as often as its typical error needs."""

    def __init__(self, run: Callable[[], Mapping[str, Tensor]]) -> None:
        self.run = run
        self.runs: list[Mapping[str, Tensor]] = []

    def __getitem__(self, name: str) -> Tensor:
        return self._first(1)[0][name]

    def _first(self, count: int) -> list[Mapping[str, Tensor]]:
        while len(self.runs) < count:
            with _PlainArithmetic(seed=len(self.runs), to_nearest=not self.runs):
                self.runs.append(self.run())
        return self.runs[:count]

    def assert_as_exact(self, name: str, got: Tensor, exact: Tensor, *, slack: float = SLACK) -> None:
        """`got` has the dtype of plain arithmetic's result and is as near to `exact`, by root mean square.

        That is, its error is at most slack times plain arithmetic's: the first run's, or, where that is more, the mean
        and 6 standard deviations of the runs by chance (of one number an error can be anything, of thousands it hardly
        varies), divided by sqrt(2), as rounding by chance has twice the variance of rounding to nearest.
        """
        assert got.dtype == self[name].dtype, f"{name} is {got.dtype}, must be {self[name].dtype}"
        assert got.shape == exact.shape, f"{name} is {tuple(got.shape)}, must be {tuple(exact.shape)}"
        if exact.numel() == 0:
            return
        error = _rms(got.double() - exact)
        plain = to_nearest = _rms(self[name].double() - exact)
        for count in _BY_CHANCE:
            if error <= slack * plain:
                return
            errors = torch.tensor([_rms(run[name].double() - exact) for run in self._first(1 + count)[1:]])
            plain = max(to_nearest, (errors.mean() + 6 * errors.std()).item() / 2**0.5)
        allowed = slack * plain
        assert error <= allowed, f"{name} is off by {error:.3g}, plain arithmetic by {plain:.3g}; allowed {allowed:.3g}"


def _rms(x: Tensor) -> float:
    return x.double().square().mean().sqrt().item()


class _PlainArithmetic(TorchDispatchMode):
    """Plays every operation on float32 and 16-bit tensors, forward and backward, in float64 with plain errors."""

    def __init__(self, *, seed: int, to_nearest: bool) -> None:
        super().__init__()
        self.to_nearest = to_nearest
        self.generator = torch.Generator().manual_seed(seed)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        kwargs = kwargs or {}
        if func in _IN_STEPS:
            with self:
                return _IN_STEPS[func](*args, **kwargs)
        out = func(*args, **kwargs)
        if not self._computes(func, out, args):
            return out
        wide_args, wide_kwargs = tree_map(_widened, (args, kwargs))
        wide = func(*wide_args, **wide_kwargs)
        if func in _SUMS:
            variance = _SUMS[func](args, *wide_args, **wide_kwargs)
            wide = wide + self._noise(torch.randn, wide) * (variance / 3).sqrt() * _UNIT
        elif func in _TRANSCENDENTAL:
            wide = wide * (1 + (2 * self._noise(torch.rand, wide) - 1) * _UNIT)
        return out.copy_(wide if self.to_nearest else self._dithered(wide, out.dtype))

    def _dithered(self, wide: Tensor, dtype: torch.dtype) -> Tensor:
        """Moved by less than half a unit in the last place: what is rounded to nearest now is rounded up or down."""
        precision = torch.finfo(dtype)
        below = wide * (1 - 2**-40)  # a power of two has its nearer neighbour below
        mantissa, _ = torch.frexp(below)  # in [0.5, 1)
        unit = (precision.eps / 2 * below / mantissa).clamp(min=precision.smallest_normal * precision.eps)
        moved = wide + unit * (self._noise(torch.rand, wide) - 0.5)
        return torch.where(wide.isfinite() & (wide != 0), moved, wide)

    @staticmethod
    def _computes(func, out, args) -> bool:  # type: ignore[no-untyped-def]
        if not isinstance(out, Tensor) or out.dtype not in _NARROW:
            return False
        if func.is_view or func._schema.is_mutable or torch.Tag.nondeterministic_seeded in func.tags:
            return False
        return any(isinstance(x, Tensor) and x.dtype in _NARROW for x in args)

    def _noise(self, draw: Callable[..., Tensor], like: Tensor) -> Tensor:
        return draw(like.shape, generator=self.generator, dtype=torch.float64).to(like.device)


def _widened(x: object) -> object:
    if isinstance(x, Tensor) and x.dtype in _NARROW:
        return x.double()
    return torch.float64 if isinstance(x, torch.dtype) and x in _NARROW else x


def variance_of_loop(terms: int, squares: Tensor, total: Tensor) -> Tensor:
    """Of terms in random order: the expected sum of the squares of all partial sums."""
    return (terms + 1) / 6 * (squares + 2 * total.square())


def _of_product(given: tuple[Tensor, ...], left: Tensor, right: Tensor) -> Tensor:
    squares = left.square() @ right.square()
    rounded_terms = squares if given[0].dtype == torch.float32 else 0
    return variance_of_loop(left.shape[-1], squares, left @ right) + rounded_terms


def _of_added_product(given, added, left, right, *, beta=1, alpha=1):  # type: ignore[no-untyped-def]
    return alpha**2 * (_of_product(given[1:], left, right) + (left @ right).square())


def _of_sum(given, x, dim=None, keepdim=False, *, dtype=None):  # type: ignore[no-untyped-def]
    dim = dim or list(range(x.dim()))
    terms = math.prod(x.shape[d] for d in dim)
    return 2 * x.sum(dim, keepdim).square() + math.log2(max(terms, 1)) * x.square().sum(dim, keepdim)


_SUMS = {
    _aten.mm.default: _of_product,
    _aten.bmm.default: _of_product,
    _aten.addmm.default: _of_added_product,
    _aten.sum.default: _of_sum,
    _aten.sum.dim_IntList: _of_sum,
}
_TRANSCENDENTAL = {getattr(_aten, name).default for name in ("exp", "expm1", "log", "log1p", "tanh")}


# What torch does in one call, in the steps of which it consists.


def _logsumexp(x, dim, keepdim=False):  # type: ignore[no-untyped-def]
    top = x.amax(dim, keepdim=True)
    lse = (x - top).exp().sum(dim, keepdim=True).log() + top
    return lse if keepdim else lse.squeeze(dim)


def _log_softmax(x, dim, half_to_float):  # type: ignore[no-untyped-def]
    shifted = x - x.amax(dim, keepdim=True)
    return shifted - shifted.exp().sum(dim, keepdim=True).log()


def _log_softmax_backward(gradient, log_p, dim, dtype):  # type: ignore[no-untyped-def]
    return gradient - log_p.exp() * gradient.sum(dim, keepdim=True)


def _mean(x, dim=None, keepdim=False, *, dtype=None):  # type: ignore[no-untyped-def]
    total = x.sum() if dim is None else x.sum(dim, keepdim)
    return total / max(1, x.numel() // max(1, total.numel()))


def _norm(x, ord=2, dim=None, keepdim=False, *, dtype=None):  # type: ignore[no-untyped-def]
    assert ord == 2
    return x.square().sum(dim, keepdim).sqrt()


_IN_STEPS = {
    _aten.logsumexp.default: _logsumexp,
    _aten._log_softmax.default: _log_softmax,
    _aten._log_softmax_backward_data.default: _log_softmax_backward,
    _aten.mean.default: _mean,
    _aten.mean.dim: _mean,
    _aten.linalg_vector_norm.default: _norm,
}
