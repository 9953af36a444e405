"""Theme: the colours of a figure, light or dark; one for what is learnt, one for what it costs, greys for the rest.

Blue and orange of Okabe and Ito's palette, which the colour-blind tell apart; what is not scored is hatched, too.
"""

from dataclasses import dataclass
from typing import Final, Literal

from lmhead.errors import require_choice

ThemeName = Literal["light", "dark"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Theme:
    """Colours as #rrggbb."""

    background: str
    ink: str
    muted: str  # captions, numbers beside
    line: str  # axes, grids, hatches
    plain: str  # a box that is neither
    learnt: str  # scored, seen, moved
    on_learnt: str  # text on it
    cost: str  # loss


THEMES: Final[dict[str, Theme]] = {
    "light": Theme(
        background="#ffffff",
        ink="#1c2128",
        muted="#59636e",
        line="#c3cad2",
        plain="#f1f3f5",
        learnt="#0072b2",
        on_learnt="#ffffff",
        cost="#c04f00",
    ),
    "dark": Theme(
        background="#0d1117",
        ink="#e6edf3",
        muted="#9198a1",
        line="#454d57",
        plain="#1c222b",
        learnt="#56b4e9",
        on_learnt="#0d1117",
        cost="#f0a03c",
    ),
}


def theme_named(name: str) -> Theme:
    """The theme of that name.

    Raises:
        ArgumentError: there is none.
    """
    require_choice("theme", name, tuple(THEMES))
    return THEMES[name]
