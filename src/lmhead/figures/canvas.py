"""Canvas: a figure, drawn on in inches from its upper left corner; no pyplot, no global state.

Text is drawn as it is: a `$` of a token begins no formula.
"""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final, Literal, final

from lmhead.figures.described_figure import DescribedFigure, new_figure
from lmhead.figures.text_width import columns_of
from lmhead.figures.theme import Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH: Final = 8.0  # inches: the width of a page, at which 10 points read like its text
BOX_HEIGHT: Final = 0.34  # inches, of a token
_MONOSPACED: Final = 0.602  # an advance of DejaVu Sans Mono, in ems
_POINTS: Final = 72  # of an inch
_WIDER: Final = (
    "Noto Sans Mono CJK SC",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
)
HorizontalAlignment = Literal["left", "center", "right"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """One pair of axes over the whole figure, whose units are inches; y grows downwards."""

    figure: DescribedFigure
    axes: "Axes"
    theme: Theme

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 10,
        color: str | None = None,
        align: HorizontalAlignment = "left",
        mono: bool = False,
        bold: bool = False,
        rotation: float = 0,
    ) -> None:
        """Text whose middle line is at y."""
        self.axes.text(
            x,
            y,
            text,
            size=size,
            color=color or self.theme.ink,
            ha=align,
            va="center",
            family=families(mono=mono),
            weight="bold" if bold else "normal",
            rotation=rotation,
            rotation_mode="anchor",
            parse_math=False,
        )

    def box(
        self,
        x: float,
        y: float,
        width: float,
        text: str = "",
        *,
        height: float = BOX_HEIGHT,
        learnt: bool = False,
        hatched: bool = False,
        size: float = 10,
    ) -> None:
        """A token's box with its upper left corner at (x, y): blue where learnt, hatched where nothing is scored."""
        from matplotlib.patches import FancyBboxPatch

        fill = self.theme.learnt if learnt else self.theme.background if hatched else self.theme.plain
        edge = self.theme.learnt if learnt else self.theme.line
        patch = FancyBboxPatch(
            (x, y), width, height, boxstyle="round,pad=0,rounding_size=0.05", fc=fill, ec=edge, lw=0.8
        )
        if hatched:
            patch.set_hatch("////")
        self.axes.add_patch(patch)
        ink = self.theme.on_learnt if learnt else self.theme.ink
        if text and hatched:  # a ground under the text, so that no line of the hatch crosses a letter
            self._ground(x + width / 2, y + height / 2, text, size)
        if text:
            self.text(x + width / 2, y + height / 2, text, size=size, color=ink, align="center", mono=True)

    def arrow(self, start: tuple[float, float], end: tuple[float, float], *, color: str | None = None) -> None:
        """An arrow from one point to another."""
        self.axes.annotate(
            "",
            xy=end,
            xytext=start,
            arrowprops={"arrowstyle": "-|>", "color": color or self.theme.muted, "lw": 1.1, "shrinkA": 0, "shrinkB": 0},
        )

    def _ground(self, x: float, y: float, text: str, size: float) -> None:
        from matplotlib.patches import Rectangle

        width, height = text_width(text, size) + 0.06, size / _POINTS * 1.25
        self.axes.add_patch(Rectangle((x - width / 2, y - height / 2), width, height, fc=self.theme.background, lw=0))


def canvas(theme: Theme, *, height: float, width: float = WIDTH) -> Canvas:
    """An empty canvas of that size in inches.

    Raises:
        InputError: matplotlib is not installed.
    """
    figure = new_figure(theme, height=height, width=width)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    return Canvas(figure=figure, axes=axes, theme=theme)


def plain_axes(axes: "Axes", theme: Theme) -> None:
    """Axes with two lines and the theme's colours."""
    axes.set_facecolor(theme.background)
    for side, spine in axes.spines.items():
        spine.set_color(theme.line)
        spine.set_visible(side in ("left", "bottom"))
    axes.tick_params(colors=theme.muted, labelsize=9)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(theme.muted)
        label.set_fontsize(10)


def text_width(text: str, size: float) -> float:
    """Inches that `text` takes in the font of one width, at that size in points."""
    return columns_of(text) * _MONOSPACED * size / _POINTS


def box_width(text: str, size: float = 10) -> float:
    """Inches of a box around `text`."""
    return max(text_width(text, size) + 0.16, 0.3)


@cache
def families(*, mono: bool) -> list[str]:
    """Font families, with those for other scripts behind that this machine has."""
    from matplotlib.font_manager import get_font_names

    known = set(get_font_names())
    return ["DejaVu Sans Mono" if mono else "DejaVu Sans", *(name for name in _WIDER if name in known)]
