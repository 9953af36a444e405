"""Standard output and error for people: text is escaped; a line is redrawn only where a terminal can do that."""

import os
import sys
from typing import Any

from rich.console import Console

from lmhead.shown import shown

_UNLIMITED = 10_000  # characters: lines that go to a file are not cut


class SafeConsole(Console):
    """A console that escapes the strings which it prints: they may hold anybody's text."""

    def print(self, *objects: Any, **options: Any) -> None:
        """As Console's."""
        super().print(*(shown(each) if isinstance(each, str) else each for each in objects), **options)


def console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Standard output or error; lines are never wrapped or cut. `quiet` prints nothing.

    `is_interactive` says whether a line can be redrawn: on a terminal that is not dumb, and not in a CI job. NO_COLOR
    takes the colours away and nothing else; COLUMNS is believed.
    """
    stream = sys.stderr if stderr else sys.stdout
    terminal = stream is not None and stream.isatty()
    made = SafeConsole(
        stderr=stderr,
        quiet=quiet,
        highlight=False,
        soft_wrap=True,
        markup=False,
        emoji=False,
        force_terminal=terminal,  # FORCE_COLOR makes no file a terminal
        force_interactive=terminal and _redraws() and not quiet,
    )
    if not terminal or made.width < 1:
        made.width = _UNLIMITED if not terminal else 80
    return made


def clock(seconds: float) -> str:
    """Minutes and seconds: 3:07."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def _redraws() -> bool:
    """Whether the environment says of a terminal that it moves its cursor, and that somebody looks at it."""
    return os.environ.get("TERM", "").lower() not in ("dumb", "unknown") and not os.environ.get("CI")


def size(count: float) -> str:
    """Bytes in MiB or GiB."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
