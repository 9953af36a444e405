"""Kernel probes: the same rows again, together, in bfloat16, by other attention, through a cache, on another device."""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch

from lmhead.errors import LmheadError
from lmhead.evaluation.audit.audited_model import BATCH, AuditedModel
from lmhead.evaluation.audit.probe_result import Change, Fault, ProbeResult
from lmhead.evaluation.audit.readings import Nll, read_alone, read_through_cache
from lmhead.models.transformers.cached_reader import AnewReader
from lmhead.models.transformers.patching.probe import RUN_ERRORS
from lmhead.models.transformers.precision import precision_of
from lmhead.models.transformers.pretrained_causal_lm import PretrainedCausalLM
from lmhead.models.transformers.quiet import quiet_transformers

_ONE_WAY: Final = "the model has one implementation alone"
_CACHED_ROWS: Final = 4
_CACHED_TOKENS: Final = 32  # of a row
_REPEATED: Final = 64  # roundings of the nll itself, that a device whose kernels do not repeat themselves may differ by
_AGAIN: Final = Fault(
    code="not_deterministic",
    message="the same rows give another figure when they are read again: dropout is on, or something else is drawn",
    remedy="call model.eval(), and see that every F.dropout gets training=self.training; nothing else can be told of a "
    "figure that changes by itself",
)
_BATCHED: Final = Fault(
    code="batch_dependent",
    message="a row's tokens follow the other rows of its batch",
    remedy="normalise each row by itself: no statistics over a batch, no expert's capacity that rows share; as it is, "
    "the figure is one of a batch size, which belongs beside it",
)
_CACHE: Final = Fault(
    code="cache_differs",
    message="tokens that are read through the cache have other scores than in one pass",
    remedy="see that positions and the mask go on where the cache ends; score in one pass, as lmhead eval does",
)
_ATTENTION: Final = Fault(
    code="attention_differs",
    message="another implementation of the same attention gives other scores",
    remedy="find out which one the model was trained with, and load it so: attn_implementation=...",
)
_DEVICE: Final = Fault(
    code="device_differs",
    message="another device gives other scores than rounding explains",
    remedy="compare layer by layer; on CUDA, turn TF32 off: torch.backends.cuda.matmul.allow_tf32 = False",
)


def repeat_probe(audited: AuditedModel) -> ProbeResult:
    """The rows read again: exactly the same on a CPU; elsewhere to some roundings of the nll."""
    change = Change.between(audited.rows, audited.alone, read_alone(audited.reader, audited.rows))
    largest = max(float(np.nanmax(nll, initial=0.0)) for nll in audited.alone)
    allowed = 0.0 if audited.reader.device.type == "cpu" else _REPEATED * 2.0**-24 * max(1.0, largest)
    return ProbeResult.must_not_change("read again", change, allowed, _AGAIN)


def batch_probe(audited: AuditedModel) -> ProbeResult:
    """Rows read at once, without padding."""
    name = f"{min(BATCH, len(audited.rows))} rows at once"
    if len(audited.rows) < 2:
        return ProbeResult.not_run(f"{BATCH} rows at once", "one document")
    return ProbeResult.must_not_change(name, audited.together, audited.tolerance, _BATCHED)


def dtype_probe(audited: AuditedModel) -> ProbeResult:
    """bfloat16 by autocast against float32: information, within its own rounding or beyond it."""
    name = "bfloat16 autocast"
    if precision_of(audited.reader.model) != "float32":
        return ProbeResult.not_run(name, "weights of 16 bits or less: no float32 to compare with")
    narrow = audited.in_dtype(torch.bfloat16)
    change = Change.between(audited.rows, audited.alone, narrow.alone)
    note = "rounding of bfloat16 is what it is" if change.largest <= narrow.tolerance else "more than its rounding does"
    return ProbeResult.may_change(name, change, narrow.tolerance, note)


def attention_probe(audited: AuditedModel) -> ProbeResult | None:
    """eager against sdpa, where the model has both."""
    main = audited.reader.main
    if not isinstance(main, PretrainedCausalLM):
        return None
    now = getattr(main.base.config, "_attn_implementation", None)
    other = "eager" if now != "eager" else "sdpa"
    name = f"attention {other}"
    if now is None or not hasattr(main.base, "set_attn_implementation"):
        return ProbeResult.not_run(name, _ONE_WAY)
    try:
        with quiet_transformers(), _attention(main.base, now, other):
            if main.base.config._attn_implementation != other:
                return ProbeResult.not_run(name, _ONE_WAY)
            made = read_alone(audited.reader, audited.rows)
    except RUN_ERRORS as error:
        return ProbeResult.not_run(name, f"it does not run with it, {type(error).__name__}")
    change = Change.between(audited.rows, audited.alone, made)
    return ProbeResult.must_not_change(name, change, audited.tolerance, _ATTENTION, f"against {now}")


@contextmanager
def _attention(model: Any, now: str, other: str) -> Iterator[None]:
    model.set_attn_implementation(other)
    try:
        yield
    finally:
        model.set_attn_implementation(now)


def cache_probe(audited: AuditedModel) -> ProbeResult:
    """The last tokens of a few rows, one by one through the cache, against one pass."""
    name = "token by token, cached"
    rows = audited.rows[:_CACHED_ROWS]
    if isinstance(audited.reader.model.reader(1), AnewReader):
        return ProbeResult.not_run(name, "its cache is not used: it gave other logits")
    try:
        made: Nll = [read_through_cache(audited.reader, row, tokens=_CACHED_TOKENS) for row in rows]
    except LmheadError:
        raise
    except RUN_ERRORS as error:
        return ProbeResult.not_run(name, f"it does not run, {type(error).__name__}")
    change = Change.between(rows, audited.alone[: len(rows)], made)
    if not change.tokens:
        return ProbeResult.not_run(name, "no scored token among the last of the longest rows")
    return ProbeResult.must_not_change(name, change, audited.tolerance, _CACHE)


def device_probe(audited: AuditedModel, other: torch.device | None) -> ProbeResult:
    """A copy of the model on another device."""
    if other is None:
        return ProbeResult.not_run("another device", f"{audited.reader.device.type} is the only one here")
    name = f"device {other.type}"
    try:
        moved = copy.deepcopy(audited.reader.model).to(other)
        made = read_alone(replace(audited.reader, model=moved, device=other), audited.rows)
    except torch.OutOfMemoryError:
        return ProbeResult.not_run(name, "the model does not fit there")
    except RUN_ERRORS as error:
        return ProbeResult.not_run(name, f"it does not run there, {type(error).__name__}")
    change = Change.between(audited.rows, audited.alone, made)
    return ProbeResult.must_not_change(name, change, audited.tolerance, _DEVICE)


def other_device(device: torch.device) -> torch.device | None:
    """The CPU for an accelerator's model, an accelerator for a CPU's, where there is one."""
    if device.type != "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps") if torch.backends.mps.is_available() else None


def mean_nll(nll: Nll) -> float:
    """Nats a token."""
    values = np.concatenate(nll)
    known = values[~np.isnan(values)]
    return math.fsum(known.tolist()) / len(known)
