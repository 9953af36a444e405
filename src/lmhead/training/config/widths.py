"""What follows from a model's width: how many heads, and how wide its MLP is. Imports no torch."""

from collections.abc import Mapping
from typing import Final

from lmhead.errors import ArgumentError
from lmhead.models.config import GPTConfig, usual_mlp_width
from lmhead.options import option

_HEADS: Final = (128, 64)  # widths of a head, the better one first: fewer heads cost less, at the same loss


def following_widths(model: GPTConfig, changes: Mapping[str, object]) -> dict[str, object]:
    """num_heads and mlp_dim that go with the `embed_dim` of `changes`, as far as `changes` leaves them open.

    What `model` has chosen otherwise than this would at its own width stays: eight heads stay eight.

    Raises:
        ArgumentError: no usual width of a head divides `embed_dim`.

    Example:
        >>> model = GPTConfig(vocab_size=257, embed_dim=256, num_heads=2, num_layers=1, mlp_dim=704)
        >>> following_widths(model, {"embed_dim": 320})
        {'num_heads': 5, 'mlp_dim': 896}
        >>> following_widths(model, {"embed_dim": 320, "num_heads": 10, "mlp_dim": 640})
        {}
    """
    width = changes.get("embed_dim")
    if not isinstance(width, int) or isinstance(width, bool) or width < 1 or width == model.embed_dim:
        return {}
    follows: dict[str, object] = {}
    head = changes.get("head_dim", model.head_dim)
    if "num_heads" not in changes:
        if isinstance(head, int) and head >= 1:
            follows["num_heads"] = max(1, width // head)
        elif model.num_heads == _heads(model.embed_dim):
            follows["num_heads"] = _required_heads(width)
    if "mlp_dim" not in changes and model.mlp_dim in (None, _mlp_width(model, {}, model.embed_dim)):
        follows["mlp_dim"] = _mlp_width(model, changes, width)
    return follows


def _mlp_width(model: GPTConfig, changes: Mapping[str, object], width: int) -> int:
    style, gated = changes.get("style", model.style), changes.get("gated", model.gated)
    return usual_mlp_width(width, gated=style == "modern" and gated is True)


def _heads(width: int) -> int | None:
    """Of the first usual width that divides `width`; a narrow model has one. None: nothing fits."""
    if width < min(_HEADS):
        return 1 if width % 2 == 0 else None  # rotary positions turn pairs
    return next((width // head for head in _HEADS if width % head == 0), None)


def _required_heads(width: int) -> int:
    heads = _heads(width)
    if heads is None:
        step = 2 if width < min(_HEADS) else min(_HEADS)
        below = width // step * step
        near = f"{below} and {below + step}" if below else f"{step}"
        raise ArgumentError(
            f"{option('embed_dim')} must be a multiple of {step} where {option('num_heads')} is left out, got {width}: "
            f"the nearest are {near}; or give {option('num_heads')}"
        )
    return heads
