"""Perturbation: one token of a row is changed at a time, and which outputs of a real model move is looked at.

The proof of a causal mask that knows nothing of attention: above the diagonal every change is exactly 0.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lmhead.errors import ArgumentError, ArgumentTypeError, NonFiniteError, require
from lmhead.figures.described_figure import DescribedFigure, described
from lmhead.figures.description import sentences
from lmhead.figures.grid import cell_size, grid, token_list
from lmhead.figures.theme import Theme, ThemeName, theme_named
from lmhead.models.outputs import outputs_of

if TYPE_CHECKING:
    from lmhead.figures.canvas import Canvas

MOST_TOKENS: Final = 32


@torch.no_grad()
def perturbation_effects(model: Callable[[Tensor], Any], ids: Tensor) -> npt.NDArray[np.float64]:
    """[T, T]: how far the outputs at position t move, at most, when the token at position s becomes another: [t, s].

    Args:
        model: in eval mode; called with ids [1, T] it gives logits or hidden states [1, T, ...], alone, first in a
            tuple, or as `.logits`.
        ids: [T] or [1, T], with two different ids or more.

    Raises:
        ArgumentError: `ids` has another shape or one id only, or the model answers differently each time.
        ArgumentTypeError: `ids` are no Tensor.
        NonFiniteError: an output is NaN or infinite.
    """
    ids = _one_row(ids)
    base = _outputs(model, ids)
    require(torch.equal(base, _outputs(model, ids)), "model", "give the same outputs twice", "others", "model.eval()")
    effects = np.zeros((ids.shape[1], ids.shape[1]))
    for s in range(ids.shape[1]):
        changed = ids.clone()
        changed[0, s] = _another(ids, s)
        moved = (_outputs(model, changed) - base).abs().flatten(1).amax(1)
        effects[:, s] = moved.numpy()
    return effects


def perturbation(
    model: Callable[[Tensor], Any], ids: Tensor, *, tokens: Sequence[str] | None = None, theme: ThemeName = "light"
) -> DescribedFigure:
    """The effect of each token on each position's outputs, of a real model: a triangle, or the model looks ahead.

    Args:
        model, ids: as `perturbation_effects` takes them.
        tokens: the text of each; None: its id.

    Raises:
        ArgumentError: there are too many tokens to be read; or as `perturbation_effects`.
        ArgumentTypeError: `ids` are no Tensor, or `tokens` no texts.
        NonFiniteError: an output is NaN or infinite.
        InputError: matplotlib is not installed.
    """
    theme_named(theme)  # refused before anything is computed
    row = _one_row(ids)
    named = [str(number) for number in row[0].tolist()] if tokens is None else tokens
    shown = token_list("tokens", named, most=MOST_TOKENS)
    require(len(shown) == row.shape[1], "tokens", f"be as many as ids, {row.shape[1]}", len(shown))
    effects = perturbation_effects(model, row)

    def draw(colors: Theme) -> DescribedFigure:
        return _drawn(shown, effects, colors)

    return described(draw, theme, _description(effects))


def _drawn(shown: list[str], effects: npt.NDArray[np.float64], colors: Theme) -> DescribedFigure:
    drawn, left, top = grid(shown, colors, rows="the outputs at", columns="move when this token is changed", below=0.75)
    _cells(drawn, effects, left, top)
    ahead, told = _above_the_diagonal(effects)
    y = top + cell_size(len(shown)) * len(shown) + 0.25
    drawn.text(4.0, y, told, align="center", bold=ahead > 0, color=colors.cost if ahead else None)
    scale = "the largest change of an output, from "
    if effects.any():
        smallest, largest = effects[effects > 0].min(), effects.max()
        drawn.text(
            4.0, y + 0.25, f"{scale}{smallest:.2g} (pale) to {largest:.2g} (full)", align="center", color=colors.muted
        )
    return drawn.figure


def _above_the_diagonal(effects: npt.NDArray[np.float64]) -> tuple[int, str]:
    """(changes that are not 0 there, what that says of the model)."""
    ahead = int(np.count_nonzero(np.triu(effects, 1)))
    pairs = len(effects) * (len(effects) - 1) // 2
    if ahead == 0:
        return 0, f"Above the diagonal all {pairs} changes are exactly 0: no output depends on a later token."
    return ahead, f"{ahead} of {pairs} changes above the diagonal are not 0: this model looks ahead."


def _description(effects: npt.NDArray[np.float64]) -> str:
    moved = effects[effects > 0]
    span = f"The changes that are not 0 go from {moved.min():.2g} to {moved.max():.2g}." if moved.size else ""
    return sentences(
        f"{len(effects)} by {len(effects)} cells: the largest change of the outputs at each position, a row,",
        "when one token, a column, is changed.",
        _above_the_diagonal(effects)[1],
        span,
    )


def _cells(drawn: "Canvas", effects: npt.NDArray[np.float64], left: float, top: float) -> None:
    """A cell for each pair: empty with a 0, or the bluer the further the outputs move, by its logarithm."""
    from matplotlib.patches import Rectangle

    side = cell_size(len(effects))
    moved = effects > 0
    low, high = (np.log(effects[moved].min()), np.log(effects.max())) if moved.any() else (0.0, 0.0)
    for (t, s), effect in np.ndenumerate(effects):
        x, y = left + s * side, top + t * side
        if effect == 0:
            drawn.text(x + side * 0.45, y + side * 0.45, "0", align="center", size=8, color=drawn.theme.muted)
            continue
        share = 1.0 if high == low else float((np.log(effect) - low) / (high - low))
        color = drawn.theme.cost if s > t else drawn.theme.learnt
        drawn.axes.add_patch(Rectangle((x, y), side * 0.9, side * 0.9, fc=color, alpha=0.25 + 0.75 * share, lw=0))


def _one_row(ids: Tensor) -> Tensor:
    """ids [1, T]."""
    if not isinstance(ids, Tensor):
        raise ArgumentTypeError(f"ids must be a Tensor, got {type(ids).__name__}")
    require(ids.dim() == 1 or (ids.dim() == 2 and len(ids) == 1), "ids", "be one row, [T] or [1, T]", tuple(ids.shape))
    return ids.reshape(1, -1)


def _another(ids: Tensor, s: int) -> int:
    """An id of the row that is not the one at s: the next that differs, so that the model knows it."""
    row = ids[0].tolist()
    other = next((number for number in row[s + 1 :] + row[:s] if number != row[s]), None)
    if other is None:
        raise ArgumentError(f"ids must hold two different ids or more, got {row[s]} alone: nothing could be changed")
    return int(other)


def _outputs(model: Callable[[Tensor], Any], ids: Tensor) -> Tensor:
    """[T, ...] float64 on the CPU, out of whatever a model returns."""
    found = outputs_of(model(ids), ids)
    if not bool(found.isfinite().all()):
        raise NonFiniteError("the model gives outputs that are NaN or infinite: nothing can be compared")
    return found[0].double().cpu()
