"""Optional packages, told by one line where they are not installed."""

from importlib.util import find_spec
from typing import Final

from lmhead.errors import InputError

_INSTALL: Final = {
    "transformers": 'pip install "lmhead[hf]"',
    "peft": 'pip install "lmhead[lora]"',
    "accelerate": 'pip install "lmhead[quantized]"',
    "bitsandbytes": 'pip install "lmhead[quantized]"',
    "tensorboard": 'pip install "lmhead[tensorboard]"',
    "wandb": 'pip install "lmhead[wandb]"',
    "trackio": 'pip install "lmhead[trackio]"',
}


def require_package(name: str, use: str) -> None:
    """Refuse where the package is not installed.

    Raises:
        InputError: names what needs it, and how to install it.
    """
    if find_spec(name) is None:
        raise InputError(f"{use} needs {name}, which is not installed: {_INSTALL[name]}")
