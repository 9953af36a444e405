"""Environment: what a run's numbers were made with: versions, processor, device, precision."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import torch

from lmhead.models.device import memory_bytes
from lmhead.version import __version__

_PACKAGES: Final = ("triton", "numpy", "tokenizers", "transformers", "trl", "peft", "bitsandbytes")


def environment(device: torch.device, dtype: torch.dtype | None = None) -> dict[str, Any]:
    """What a record's header says of the machine; nothing that tells whose it is.

    Args:
        dtype: of autocast.
    """
    versions = {"lmhead": __version__, "python": platform.python_version(), "torch": torch.__version__}
    memory = memory_bytes(device)
    return {
        "versions": versions | {name: number for name in _PACKAGES if (number := _version(name)) is not None},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": _device_name(device),
        **({} if memory is None else {"memory_gib": round(memory / 2**30, 1)}),
        **({} if dtype is None else {"precision": str(dtype).removeprefix("torch.")}),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{properties.name}, CUDA {torch.version.cuda or torch.version.hip}"
    return str(device)


def _processor() -> str:
    """Its name, where Linux or the system tells it; else its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
