"""Triton's interpreter, which runs the kernels on the CPU: as exact as a GPU, and in less time."""

import functools
from dataclasses import dataclass

import numpy as np
import torch


@functools.cache
def set_up_the_interpreter() -> None:
    """Once a process, where it is at work."""
    _round_to_nearest()
    _patch_once_a_launch()


def _round_to_nearest() -> None:
    """Triton 3.7's interpreter cuts off to bfloat16 where a GPU rounds to nearest: let it round too."""
    import triton.language as tl
    from triton.runtime import interpreter

    convert = interpreter._convert_float

    def converted(data, source, target, rounding_mode):  # type: ignore[no-untyped-def]
        if (source, target) != (tl.float32, tl.bfloat16):
            return convert(data, source, target, rounding_mode)
        rounded = torch.from_numpy(np.array(data, dtype=np.float32)).to(torch.bfloat16)
        return rounded.view(torch.int16).numpy()

    interpreter._convert_float = converted


def _patch_once_a_launch() -> None:
    """Triton 3.7's interpreter puts its functions into triton.language anew in each call of a function of a kernel:
    half the time that a launch takes. What is in place stays there until the launch ends."""
    import triton.language as tl
    from triton.runtime import interpreter

    patch, in_place = interpreter._patch_lang, set()

    def patch_once(function):  # type: ignore[no-untyped-def]
        seen = frozenset(name for name, value in function.__globals__.items() if value is tl or value is tl.core)
        if seen in in_place:
            return None  # of a call inside a launch, which restores nothing
        scope = patch(function)
        in_place.add(seen)
        return _Launch(scope, in_place)

    interpreter._patch_lang = patch_once


@dataclass(frozen=True, slots=True)
class _Launch:
    """What the interpreter restores at the end of a launch."""

    scope: object
    in_place: set

    def restore(self) -> None:
        self.in_place.clear()
        self.scope.restore()
