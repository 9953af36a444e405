"""What a run shows: on a terminal a bar over lines that stay, plain lines anywhere else.

The bar is one line of whatever width there is now: the share that is done, the loss, the time left, the step, tokens a
second. What does not fit is left out, the least first, and nothing is cut off. Tokens a second are those that are read;
"trained" are those among them that a loss is taken of.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lmhead.cli.console import clock
from lmhead.cli.drafts_line import drafts_line
from lmhead.evaluation.held_out.evaluate import Evaluation
from lmhead.shown import shown, shown_line
from lmhead.training.config.train_config import TrainConfig
from lmhead.training.reporter import Reporter, StepRecord

_LINES: Final = 20  # that stay in the scrollback of a terminal, of a run's steps
_EVERY: Final = 30.0  # seconds between two of them where the number of steps is not known yet
_SLOW: Final = 10.0  # seconds between two lines about an evaluation where there is no bar
_SHORTEST, _LONGEST = 8, 30  # characters of the bar
_GAP: Final = "  "


@contextmanager
def make_reporter(console: Console, config: TrainConfig) -> Iterator[Reporter]:
    """The reporter that fits where the output goes."""
    if not console.is_interactive:
        yield _Lines(console, config)
        return
    bar = _Bar()
    both = sys.stderr.isatty()  # warnings then stand above the bar; a file that gets them is left alone
    with Live(bar, console=console, transient=True, refresh_per_second=5, redirect_stderr=both):
        yield _Screen(console, config, bar)


class _Run:
    """What both kinds know and print."""

    def __init__(self, console: Console, config: TrainConfig) -> None:
        self.console = console
        # tokens; rows of one conversation each are as long as the longest beside them
        self.read_per_step = config.rows * config.accumulate * config.model.max_seq_len if config.pack else None

    def left(self, record: StepRecord) -> str:
        """The time that the steps to come take."""
        if record.steps is None or not record.tokens_per_second:
            return ""
        read = self.read_per_step or record.read / record.step
        return f"{clock((record.steps - record.step) * read / record.tokens_per_second)} left"

    def step_line(self, record: StepRecord) -> list[str]:
        """The parts of a line about a step, what matters first."""
        of = f"/{record.steps:,}" if record.steps is not None else ""
        return [
            f"step {record.step:,}{of}: loss {record.loss:.4f}",
            _of_depths(record),
            f"{record.tokens_per_second:,.0f} tokens/s ({record.trained_per_second:,.0f} trained)",
            self.left(record),
            f"grad norm {record.grad_norm:.3f}",
            f"rate {record.rate:.2f}",
            f"{clock(record.seconds)} gone",
        ]

    def evaluation(self, step: int, result: Evaluation) -> None:
        """One line a result."""
        bits = "" if result.bits_per_byte is None else f"{result.bits_per_byte:.4f} bits per byte, "
        answers = f"; {result.exact:,} of {result.answers:,} answers exact" if result.answers else ""
        self.console.print(
            f"step {step:,}: held out {bits}perplexity {result.perplexity:.2f} "
            f"and accuracy {result.accuracy:.1%} over {result.tokens:,} tokens{answers}"
            + ("" if result.whole else " (a part; the whole comes at the end)")
        )
        if result.accepted_length is not None:
            self.console.print(f"step {step:,}: {drafts_line(result)}")

    def sample(self, step: int, text: str) -> None:
        """The continuation, indented."""
        lines = "\n".join(f"  | {line}" for line in shown(text).rstrip("\n").split("\n"))
        self.console.print(f"step {step:,}: sample\n{lines}")

    def saved(self, step: int, folder: str) -> None:
        """Where the checkpoint is."""
        self.console.print(f"step {step:,}: saved {shown_line(folder)}")


class _Lines(_Run):
    """No terminal, or one that cannot redraw: a plain line every so many steps."""

    def __init__(self, console: Console, config: TrainConfig) -> None:
        super().__init__(console, config)
        self.every = config.log_every
        self.told: float | None = None  # of the evaluation that goes on

    def step(self, record: StepRecord) -> None:
        """The first, every `every`-th and the last step."""
        if record.step == 1 or record.step % self.every == 0 or record.step == record.steps:
            self.console.print(_fitting(self.step_line(record), self.console.width))

    def evaluating(self, step: int, done: int, total: int) -> None:
        """A line now and then, of an evaluation that takes its time."""
        now = time.monotonic()
        if self.told is None:
            self.told = now
        elif done < total and now - self.told >= _SLOW:
            self.told = now
            self.console.print(f"step {step:,}: evaluating, {done:,} of {total:,} tokens ({done / total:.0%})")

    def evaluation(self, step: int, result: Evaluation) -> None:
        """And the next evaluation is another."""
        self.told = None
        super().evaluation(step, result)


class _Screen(_Run):
    """A terminal: a bar, and some lines above it that stay."""

    def __init__(self, console: Console, config: TrainConfig, bar: "_Bar") -> None:
        super().__init__(console, config)
        self.bar = bar
        self.said: tuple[int, float] | None = None  # step and time of the last line that stays
        self.began = 0.0  # of the evaluation that goes on; 0 where there is none

    def step(self, record: StepRecord) -> None:
        """Move the bar; leave a line after a twentieth of the steps."""
        of = f"/{record.steps:,}" if record.steps is not None else ""
        self.bar.show(
            None if record.steps is None else record.step / record.steps,
            f"step {record.step:,}{of}",
            [f"loss {record.loss:.4f}", self.left(record), _of_depths(record)],
            [f"{_short(record.tokens_per_second)} tokens/s", f"({_short(record.trained_per_second)} trained)"],
        )
        if self._due(record):
            self.said = record.step, time.monotonic()
            self.console.print(_fitting(self.step_line(record), self.console.width))

    def evaluating(self, step: int, done: int, total: int) -> None:
        """The bar is the evaluation's until it ends."""
        now = time.monotonic()
        self.began = self.began or now
        left = f"{clock((now - self.began) * (total - done) / done)} left" if done else ""
        self.bar.show(done / total, "evaluating", [left], [f"{done:,}/{total:,} tokens"])

    def evaluation(self, step: int, result: Evaluation) -> None:
        """A line that stays."""
        self.began = 0.0
        super().evaluation(step, result)

    def saved(self, step: int, folder: str) -> None:
        """Said by the bar's going on; a terminal is not filled with it."""

    def _due(self, record: StepRecord) -> bool:
        if self.said is None or record.step == record.steps:
            return True
        step, at = self.said
        if record.steps is None:
            return time.monotonic() - at >= _EVERY
        return (record.step - step) * _LINES >= record.steps


class _Bar:
    """The line that is redrawn."""

    def __init__(self) -> None:
        self._shown: tuple[float | None, str, list[str], list[str]] = (None, "", [], [])

    def show(self, share: float | None, head: str, first: list[str], more: list[str]) -> None:
        """What is drawn next: the head and the bar, then `first` and, where there is room, `more`."""
        self._shown = share, head, first, more

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        share, head, first, more = self._shown
        percent = "" if share is None else f"{share:4.0%}"
        bar = "-" * _SHORTEST if share is not None else ""
        width = options.max_width - 1  # a line that is full makes some terminals wrap
        kept = _kept([percent, *first, head, *more[:1], bar, *more[1:]], width)
        left = [head] if head in kept else []
        right = [part for part in (percent, *first, *more) if part in kept]
        grid = Table.grid(padding=(0, len(_GAP), 0, 0))
        cells: list[Text | ProgressBar] = [Text(part) for part in left]
        if bar in kept and share is not None:
            room = width - len(_GAP.join(kept)) + _SHORTEST
            cells.append(ProgressBar(total=1.0, completed=share, width=min(room, _LONGEST)))
        cells.append(Text(_GAP.join(right)))
        for _ in cells:
            grid.add_column(no_wrap=True)
        grid.add_row(*cells)
        yield grid


def _kept(parts: Sequence[str], width: int) -> list[str]:
    """The parts that fit side by side, the first ones first; empty ones are none."""
    kept: list[str] = []
    for part in parts:
        if part and len(_GAP.join([*kept, part])) <= width:
            kept.append(part)
    return kept


def _fitting(parts: Sequence[str], width: int) -> str:
    """A line that stays: its first parts, at least one, however narrow the terminal is. Lines look alike."""
    parts = [part for part in parts if part]
    while len(parts) > 1 and len(_GAP.join(parts)) > width:
        parts.pop()
    return _GAP.join(parts)


def _of_depths(record: StepRecord) -> str:
    """mtp 2.91 3.40: the losses of the tokens one further ahead, two further, and so on."""
    losses = [f"{loss:.2f}" for loss in record.depths if loss is not None]
    return " ".join(["mtp", *losses]) if losses else ""


def _short(count: float) -> str:
    """12.3k, 4.56M; three digits of it."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= 0.9995 * factor:
            value = count / factor
            return f"{value:.{max(0, 2 - (value >= 9.995) - (value >= 99.95))}f}{letter}"
    return f"{count:.0f}"
