"""Device and precision of a run, and what this machine can multiply per second."""

import os
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from lmhead.errors import InputError, require
from lmhead.options import option


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA, else MPS, else the CPU."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        require(False, option("device"), "be one that this torch can use", repr(name), reason)
    return device


def require_compiler(device: torch.device) -> None:
    """Refuse torch.compile on a CPU without a C++ compiler, before it fails in pages.

    Raises:
        InputError: neither $CXX nor g++ nor clang++ is there.
    """
    named = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++", "c++"]
    if device.type == "cpu" and not any(shutil.which(name) for name in named):
        raise InputError(
            f"{option('compile')} needs a C++ compiler, got none of {', '.join(named)}: install one, or leave it out"
        )


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """bfloat16 or float32; "auto" is bfloat16 where the processor multiplies it natively."""
    if name != "auto":
        return torch.bfloat16 if name == "bfloat16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    native = device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if native else torch.float32


def precision_name(dtype: torch.dtype) -> Literal["float32", "bfloat16"]:
    """The name by which a config asks for a precision."""
    return "bfloat16" if dtype == torch.bfloat16 else "float32"


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """torch.autocast to `dtype`; nothing for float32."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


def memory_bytes(device: torch.device) -> int | None:
    """The memory that the device has, None where it does not say."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    if device.type == "cpu" and hasattr(os, "sysconf"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def product_rate(device: torch.device, dtype: torch.dtype, *, rows: int, width: int) -> float:
    """Floating-point operations per second of a [rows, width] x [width, 4 width] product."""
    left = torch.randn(rows, width, device=device, dtype=dtype)
    right = torch.randn(width, 4 * width, device=device, dtype=dtype)
    return 2 * rows * width * 4 * width / _best_seconds(device, lambda: left @ right)


def pass_seconds(device: torch.device) -> float:
    """Seconds that reading, multiplying and writing one float32 of a large tensor takes."""
    source = torch.randn(2**22, device=device)
    target = torch.empty_like(source)
    return _best_seconds(device, lambda: torch.mul(source, 2.0, out=target)) / source.numel()


def _best_seconds(device: torch.device, work: Callable[[], object]) -> float:
    """The best of ten tries, or of as many as half a second holds."""
    times: list[float] = []
    while len(times) < 2 or (len(times) < 10 and sum(times) < 0.5):
        finished(device)
        start = time.perf_counter()
        work()
        finished(device)
        times.append(time.perf_counter() - start)
    return min(times)


def finished(device: torch.device) -> None:
    """Wait until everything that was started on `device` is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
