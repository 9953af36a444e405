"""What a model does to its logits between the output layer and the loss, as a list of steps.

    ("scale", x)     times x
    ("divide", x)    by x: the logits that are made are the model's own to the last bit
    ("tanh", None)   the middle of a cap
    ("cast", dtype)

Plain tuples, so that torch.compile follows them.
"""

import math
from typing import Final

import torch
from torch import Tensor

Step = tuple[str, float | torch.dtype | None]
Steps = tuple[Step, ...]

_LARGEST: Final = 1e30  # a scale or a cap beyond it is none


def applied(logits: Tensor, steps: Steps) -> Tensor:
    """The logits [..., V] after these steps, by the same calls as the model's."""
    for kind, value in steps:
        if kind == "tanh":
            logits = torch.tanh(logits)
        elif isinstance(value, torch.dtype):
            logits = logits.to(value)
        else:
            assert isinstance(value, float)
            logits = logits * value if kind == "scale" else logits / value
    return logits


def scale_and_cap(steps: Steps) -> tuple[float, float | None] | None:
    """(logit_scale, softcap) as `linear_cross_entropy` takes them; None where the steps are none that it knows.

    after * tanh(before * logits) is softcap * tanh(logit_scale * logits / softcap) with softcap = after and
    logit_scale = before * after. Casts are left out: the op sums in float32 at least.
    """
    before, after, capped = 1.0, 1.0, False
    for kind, value in steps:
        if kind == "tanh":
            if capped:
                return None
            capped = True
        elif isinstance(value, float):
            factor = value if kind == "scale" else 1.0 / value
            if capped:
                after *= factor
            else:
                before *= factor
    scale = before * after
    if not math.isfinite(scale) or abs(scale) > _LARGEST:
        return None
    if not capped:
        return scale, None
    return (scale, after) if 0 < after < _LARGEST else None


def in_words(steps: Steps, *, width: int, rows: int) -> str:
    """What happens to the logits, for people; empty where nothing does."""
    known = scale_and_cap(steps)
    parts = [f"the first {width:,} of {rows:,} tokens"] if width < rows else []
    if known is None:
        return ", ".join([*parts, "steps that the op does not know"])
    scale, cap = known
    if scale != 1.0:
        parts.append(f"scaled by {scale:.6g}")
    if cap is not None:
        parts.append(f"capped at {cap:.6g}")
    return ", ".join(parts)
