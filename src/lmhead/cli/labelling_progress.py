"""How far labelling is: one line that is rewritten on a terminal, a plain line now and then anywhere else."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

_EVERY: Final = 10.0  # seconds between two plain lines
_REDRAWN: Final = 0.1  # seconds between two looks at the terminal's line


@contextmanager
def labelling_progress(console: Console, *, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """A callback for `label_files` and `label_samples`: it is told how many rows are done so far.

    What takes less than ten seconds leaves no line where the output is no terminal.

    Args:
        total: rows that there are; None: not known.
    """
    if not console.is_terminal:
        yield _Lines(console, total)
        return
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), console=console, transient=True) as progress:
        yield _Line(progress, total)


def labelling_line(done: int, total: int | None, seconds: float) -> str:
    """`labelling 12,345 of 20,000 rows  1,830/s`."""
    of = f" of {total:,}" if total is not None else ""
    return f"labelling {done:,}{of} rows  {done / max(seconds, 1e-3):,.0f}/s"


class _Lines:
    """Not a terminal."""

    def __init__(self, console: Console, total: int | None) -> None:
        self._console = console
        self._total = total
        self._begun = self._said = time.monotonic()

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if now - self._said >= _EVERY:
            self._said = now
            self._console.print(labelling_line(done, self._total, now - self._begun))


class _Line:
    """A terminal."""

    def __init__(self, progress: Progress, total: int | None) -> None:
        self._progress = progress
        self._total = total
        self._begun = time.monotonic()
        self._drawn = 0.0
        self._task = progress.add_task("labelling ...", total=None)

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if now - self._drawn >= _REDRAWN:
            self._drawn = now
            self._progress.update(self._task, description=labelling_line(done, self._total, now - self._begun))
