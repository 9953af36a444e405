"""Rounding of a model, measured: how far a token's nll moves when each module's output is rounded otherwise.

Two kernels that add up the same products in another order differ by rounding, and so does a figure. How much of it
reaches an nll, the model decides: its depth, its widths, how near its routers are to another expert. So it is not
assumed but measured: each module's output y, a sum over n products, is moved by a random error of

    u32 * sqrt(n) * rms(y)    of the sum in float32         u32 = 2 ** -24
    u * |y|                   of what it is kept in         u = 2 ** -8 for bfloat16, 2 ** -11 for float16

and what the nll of the worst token moves by, in some draws, is the rounding of one reading. The head's own is added:
that of its logits, on both sides of lse - z.

Source: Parker, "Monte Carlo Arithmetic" (1997): rounding errors as random ones of their size; Higham, "Accuracy and
Stability of Numerical Algorithms" (2002), section 4: those of sums.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from lmhead.evaluation.audit.audited_rows import AuditedRow
from lmhead.evaluation.audit.readings import Nll, Reader, read_alone
from lmhead.models.causal_lm import CausalLM

DRAWS: Final = 2
MARGIN: Final = 8  # 2: two readings have an error each; 4: the worst of all tokens and readings, not of these draws
_U32: Final = 2.0**-24
_TOKENS: Final = 4096  # that are read again


def unit_roundoff(dtype: torch.dtype) -> float:
    """Half of what lies between 1 and the next number."""
    return torch.finfo(dtype).eps / 2


def tolerance(reader: Reader, rows: Sequence[AuditedRow], alone: Nll) -> float:
    """Nats that one token's nll may move by rounding in the reader's dtype: MARGIN times what is measured."""
    few, known = _few(rows), alone
    largest = 0.0
    for draw in range(DRAWS):
        with _rounded_otherwise(reader, seed=draw):
            moved = read_alone(reader, few)
        for before, after in zip(known, moved, strict=False):
            largest = max(largest, float(np.nanmax(np.abs(after - before), initial=0.0)))
    return MARGIN * (largest + _of_head(reader, few))


def _few(rows: Sequence[AuditedRow]) -> list[AuditedRow]:
    """The first ones that are enough to measure on."""
    stops = np.cumsum([len(row) for row in rows])
    return list(rows[: max(1, int(np.searchsorted(stops, _TOKENS)))])


@torch.no_grad()
def _of_head(reader: Reader, rows: Sequence[AuditedRow]) -> float:
    """What rounding of the logits does to lse - z at most."""
    largest = 0.0
    head, width = reader.model.hidden_and_head(reader.tensor(rows[0].ids[None]))[1], 1
    width = head.tensors.weight.shape[1]
    for row in rows:
        ids, targets = reader.tensor(row.ids[None]), reader.tensor(row.targets[None])
        made = reader.model.loss(ids, targets, return_stats=True)[1]
        sizes = [part[made.scored].abs().max() for part in (made.lse, made.lse - made.nll)]
        largest = max(largest, *map(float, sizes))
    kept = head.tensors.weight.dtype if reader.dtype == torch.float32 else reader.dtype
    each = _U32 * math.sqrt(width) + (unit_roundoff(kept) if kept.itemsize == 2 else 0.0)
    return 2 * each * largest


@contextmanager
def _rounded_otherwise(reader: Reader, *, seed: int) -> Iterator[None]:
    generator = torch.Generator(reader.device).manual_seed(seed)

    def moved(_: nn.Module, given: tuple[Any, ...], out: Any) -> Any:
        if not isinstance(out, Tensor) or not out.is_floating_point() or not out.numel():
            return out
        y = out.float()
        summed = given[0].shape[-1] if given and isinstance(given[0], Tensor) and given[0].is_floating_point() else 1
        error = _U32 * math.sqrt(summed) * y.square().mean(-1, keepdim=True).sqrt()
        kept = out.dtype if out.element_size() == 2 else reader.dtype
        if kept.itemsize == 2:
            error = error + unit_roundoff(kept) * y.abs()
        drawn = torch.randn(y.shape, generator=generator, device=y.device)
        return (y + error * drawn).to(out.dtype)

    with ExitStack() as stack:
        for module in _modules(reader.main):
            stack.callback(module.register_forward_hook(moved).remove)
        yield


def _modules(model: CausalLM) -> list[nn.Module]:
    """Those without others in them, but for the head's: its products are the op's, and hooks there are refused."""
    head = getattr(model, "lm_head", None)
    apart = set(head.modules()) if isinstance(head, nn.Module) else set()
    return [module for module in model.modules() if not list(module.children()) and module not in apart]
