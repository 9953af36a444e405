"""DescribedFigure: matplotlib's Figure that says in words what it shows, and is drawn again in another theme.

The words are for those who do not see it: in a notebook the alternative text of the image, in a file its metadata.
"""

from collections.abc import Callable
from functools import cache
from os import PathLike
from pathlib import PurePath
from typing import IO, TYPE_CHECKING, Any, Final, final

from lmhead.errors import InputError
from lmhead.figures.theme import Theme, ThemeName, theme_named

if TYPE_CHECKING:
    from matplotlib.figure import Figure as _Figure
else:
    _Figure = object  # the class that is made has matplotlib's too; this name is there without matplotlib

Draw = Callable[[Theme], "DescribedFigure"]
_METADATA_KEYS: Final = {"png": "Description", "svg": "Description", "pdf": "Subject"}
_DOTS_PER_INCH: Final = 150  # in a notebook


class DescribedFigure(_Figure):
    """A Figure of matplotlib that shows itself in a notebook without pyplot, with its description.

    Example:
        >>> from lmhead import figures
        >>> figure = figures.causal_mask(["The", " cat", " sat"])
        >>> figure.description
        'Attention mask of 3 tokens (The, cat, sat): each may look at itself and at what came before it, 6 of 9 pairs.'
        >>> figure.in_theme("dark").description == figure.description
        True
    """

    description: str = ""  # what the figure shows, in words with its numbers: one to four sentences, made of the data
    _draw: Draw

    def in_theme(self, theme: ThemeName) -> "DescribedFigure":
        """The same figure, drawn anew from the same numbers in that theme; no model is called again.

        Raises:
            ArgumentError: there is no such theme.
        """
        return described(self._draw, theme, self.description)

    def savefig(self, fname: str | PathLike[str] | IO[Any], **options: Any) -> None:
        """Write the figure as matplotlib's `savefig` does; a PNG, an SVG or a PDF has the description as metadata."""
        named = PurePath(fname).suffix if isinstance(fname, str | PathLike) else ""
        key = _METADATA_KEYS.get((options.get("format") or named.removeprefix(".") or "png").lower())
        if key is not None and self.description:
            options["metadata"] = {key: self.description} | (options.get("metadata") or {})
        super().savefig(fname, **options)

    def _repr_png_(self) -> bytes:
        from io import BytesIO

        stream = BytesIO()
        self.savefig(stream, format="png", dpi=_DOTS_PER_INCH)
        return stream.getvalue()

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """(data, metadata) as IPython takes them: the image, and its alternative text."""
        alternative = {"alt": self.description}
        return {"image/png": self._repr_png_(), "text/plain": self.description}, {"image/png": alternative}


def described(draw: Draw, theme: ThemeName, description: str) -> DescribedFigure:
    """What `draw` draws in that theme, with its description.

    Args:
        draw: holds all that is to be drawn as plain values, so that it draws the same at any time.

    Raises:
        ArgumentError: there is no such theme.
        InputError: matplotlib is not installed.
    """
    figure = draw(theme_named(theme))
    figure.description = description
    figure._draw = draw
    return figure


def new_figure(theme: Theme, *, height: float, width: float) -> DescribedFigure:
    """An empty figure of that size in inches.

    Raises:
        InputError: matplotlib is not installed.
    """
    return _figure_class()(figsize=(width, height), facecolor=theme.background)


@cache
def _figure_class() -> type[DescribedFigure]:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError('a figure needs matplotlib, which is not installed: pip install "lmhead[plots]"') from None

    @final
    class DrawnFigure(DescribedFigure, Figure):
        """Both at once."""

    return DrawnFigure
