"""What this back-end takes, and the forms of it that can be asked for by name."""

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch

from lmhead.ops.problem import Problem

_MOST_TARGETS = 32  # of a row: rows_kernel compares each with each
_MOST_TOP_TOKENS = 32  # likewise
_INSTALLED = importlib.util.find_spec("triton") is not None
_OPTIONS = {"label_smoothing", "z_loss"}  # what the kernels compute: whatever is added to LossOptions is refused first
_OUTPUTS = {"nll", "lse", "entropy", "hit", "max_logprob", "rank", "top_ids", "top_logprobs"}
_DEVICES = ("cuda", "xpu")  # "cuda" is ROCm's name too


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How a sweep goes about it, beyond what the problem says."""

    masked: bool = False  # rows that are ignored are multiplied too, with a gradient of 0: the host waits for nothing
    by_vocabulary: bool | None = None  # tiles of the vocabulary, whatever the budget; None: where rows would starve
    rounding: bool = False  # the weight's gradient is summed over chunks in its own 16 bits: no float32 accumulator


FORMS: Mapping[str, Form] = MappingProxyType(
    {
        "triton": Form(),
        "triton_masked": Form(masked=True),
        "triton_low_memory": Form(by_vocabulary=True),
        "triton_16bit_sums": Form(rounding=True),
    }
)


def refusal(problem: Problem) -> str | None:
    """Why the kernels cannot run this problem; None when they can."""
    device, K = problem.hidden.device.type, problem.targets.shape[1]
    if device not in _DEVICES and not (device == "cpu" and interpreted()):
        return f"Triton has no compiler for the device {device}"
    if not _INSTALLED:
        return "triton is not installed"
    if problem.compute_dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return f"products of {problem.compute_dtype}; its kernels compute in float32"
    if K > _MOST_TARGETS:
        return f"{K} targets for a row, more than {_MOST_TARGETS}"
    top_k = problem.outputs.get("top_ids", 0)
    if top_k > _MOST_TOP_TOKENS:
        return f"{top_k} top tokens of a row, more than {_MOST_TOP_TOKENS}"
    missing = [
        *(name for name in problem.options.that_are_on() if name not in _OPTIONS),
        *sorted(problem.outputs.keys() - _OUTPUTS),
    ]
    if missing:
        return f"its kernels do not compute {', '.join(missing)}"
    return None


def only_by_name(problem: Problem) -> str | None:
    """Why nobody gets this back-end unasked; None where it is the fastest."""
    return "on a CPU the kernels are interpreted" if problem.hidden.device.type == "cpu" else None


def interpreted() -> bool:
    """Whether Triton's interpreter runs the kernels, on a CPU: slow, for tests."""
    return os.environ.get("TRITON_INTERPRET") == "1"
