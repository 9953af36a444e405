"""How far reading, tokenising and labelling are: a line that is rewritten on a terminal, else a plain one at times."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, Task, TextColumn
from rich.progress import Progress as Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from lmhead.cli.console import clock
from lmhead.data.rows.progress import Progress

_EVERY: Final = 10.0  # seconds between two plain lines
_REDRAWN: Final = 0.1  # seconds between two looks at the terminal's line
_WORTH_TELLING: Final = 10.0  # seconds that are left
_BAR: Final = 20  # columns
_SIZES: Final = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


@contextmanager
def data_progress(console: Console) -> Iterator[Progress]:
    """A Progress that draws. What takes less than ten seconds leaves no line where the output is no terminal."""
    if not console.is_interactive:
        yield _Lines(console)
        return
    text = TextColumn("{task.description}", markup=False)
    with Live(SpinnerColumn(), _Bar(_BAR), text, console=console, transient=True) as live:
        yield _Line(live)


def progress_line(doing: str, done: int, total: int | None, unit: str, seconds: float) -> str:
    """`labelling 12,345 of 20,000 rows  1,830/s`, `scoring 12.0 MB of 90.5 MB  410.0 kB/s  3:11 left`."""
    of = f" of {_count(total, unit)}" if total is not None else ""
    noun = "" if unit == "bytes" else f" {unit}"
    rate = f"{_count(round(done / max(seconds, 1e-3)), unit)}/s"
    left = seconds * (total - done) / done if total and done else 0.0
    return f"{doing} {_count(done, unit)}{of}{noun}  {rate}" + (
        f"  {clock(left)} left" if left >= _WORTH_TELLING else ""
    )


def _count(count: int, unit: str) -> str:
    if unit != "bytes":
        return f"{count:,}"
    size, name = next(((size, name) for size, name in _SIZES if count >= size), (1, "bytes"))
    return f"{count / size:.1f} {name}" if size > 1 else f"{count:,} {name}"


class _Drawing:
    """What both kinds keep: what is being done, and since when."""

    def __init__(self) -> None:
        self._doing, self._done = "", 0
        self._begun = self._said = self._heard = time.monotonic()

    def __call__(self, doing: str, done: int, total: int | None, unit: str) -> None:
        now = time.monotonic()
        fresh = doing != self._doing or done < self._done  # or the same of something else, as of held-out texts
        if fresh:
            self._doing, self._begun = doing, self._heard  # it began when what was before it ended
        self._heard, self._done = now, done
        if doing.startswith("waiting"):  # for somebody else: it may be for ever, and is told at once
            if fresh:
                self._draw(doing)
        elif now - self._said >= self._pause(fresh):
            self._said = now
            share = None if not total else min(1.0, done / total)
            self._draw(progress_line(doing, done, total, unit, now - self._begun), share)

    def _pause(self, fresh: bool) -> float:
        """Seconds since the last line, before which nothing is drawn."""
        raise NotImplementedError

    def _draw(self, line: str, share: float | None = None) -> None:
        raise NotImplementedError


class _Lines(_Drawing):
    """Not a terminal."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def _pause(self, fresh: bool) -> float:
        return _EVERY

    def _draw(self, line: str, share: float | None = None) -> None:
        self._console.print(line, markup=False, highlight=False)


class _Line(_Drawing):
    """A terminal."""

    def __init__(self, live: Live) -> None:
        super().__init__()
        self._live = live
        self._task = live.add_task("reading ...", total=None)

    def _pause(self, fresh: bool) -> float:
        return 0.0 if fresh else _REDRAWN

    def _draw(self, line: str, share: float | None = None) -> None:
        self._live.update(
            self._task, description=line, total=1.0 if share is not None else None, completed=share or 0.0
        )


class _Bar(BarColumn):
    """How much is done, where that is known."""

    def __init__(self, width: int) -> None:
        super().__init__(bar_width=width)

    def render(self, task: Task) -> ProgressBar | Text:  # type: ignore[override]
        return Text() if task.total is None else super().render(task)
