"""What a run shows: one progress line on a terminal, plain lines anywhere else."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn

from lmhead.training.config import TrainConfig
from lmhead.training.evaluate import Evaluation
from lmhead.training.loop import Reporter, StepRecord

_BAR_FITS = 130  # columns of a terminal


def console() -> Console:
    """Standard output; lines are never wrapped or cut where it is not a terminal."""
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 10_000
    return console


@contextmanager
def make_reporter(console: Console, config: TrainConfig) -> Iterator[Reporter]:
    """The reporter that fits where the output goes."""
    if not console.is_terminal:
        yield _Lines(console, config.log_every)
        return
    step, line = TextColumn("{task.description}"), TextColumn("{task.fields[line]}")
    columns: tuple[ProgressColumn, ...] = (step, BarColumn(bar_width=24), line)
    if console.width < _BAR_FITS:  # all in one column: what is cut off is the line's end, not the step
        columns = (TextColumn("{task.description}  {task.fields[line]}"),)
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Line(console, progress)


@contextmanager
def labelling(console: Console) -> Iterator[Callable[[int], None] | None]:
    """Who is told how many conversations are labelled: a line of a terminal; nobody elsewhere."""
    if not console.is_terminal:
        yield None
        return
    with console.status("reading") as status:
        yield lambda count: status.update(f"{count:,} conversations labelled")


def clock(seconds: float) -> str:
    """Minutes and seconds: 3:07."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def step_line(record: StepRecord) -> str:
    """loss, tokens per second, gradient norm, time left."""
    eta = "..."
    if record.steps is not None:
        per_step = record.read / record.step / record.tokens_per_second
        eta = clock((record.steps - record.step) * per_step)
    return (
        f"loss {record.loss:.4f}  {record.tokens_per_second:,.0f} tokens/s  grad norm {record.grad_norm:.3f}  "
        f"rate {record.rate:.2f}  {clock(record.seconds)} gone, {eta} to go"
    )


class _Plain:
    """What both kinds print on lines of their own."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def evaluation(self, step: int, result: Evaluation) -> None:
        """One line a result."""
        bits = "" if result.bits_per_byte is None else f"{result.bits_per_byte:.4f} bits per byte, "
        answers = f"; {result.exact:,} of {result.answers:,} answers exact" if result.answers else ""
        self.console.print(
            f"step {step:,}: held out {bits}perplexity {result.perplexity:.2f} "
            f"and accuracy {result.accuracy:.1%} over {result.tokens:,} tokens{answers}"
            + ("" if result.whole else " (a part; the whole comes at the end)")
        )

    def sample(self, step: int, text: str) -> None:
        """The continuation, indented."""
        self.console.print(f"step {step:,}: sample\n" + "\n".join(f"  | {line}" for line in text.splitlines()))

    def saved(self, step: int, folder: str) -> None:
        """Where the checkpoint is."""
        self.console.print(f"step {step:,}: saved {folder}")


class _Lines(_Plain):
    """Not a terminal: a plain line every so many steps."""

    def __init__(self, console: Console, every: int) -> None:
        super().__init__(console)
        self.every = every

    def step(self, record: StepRecord) -> None:
        """The first, every `every`-th and the last step."""
        if record.step == 1 or record.step % self.every == 0 or record.step == record.steps:
            of = f"/{record.steps:,}" if record.steps is not None else ""
            self.console.print(f"step {record.step:,}{of}: {step_line(record)}")

    def evaluating(self, step: int, done: int, total: int) -> None:
        """Told by the result's line alone."""


class _Line(_Plain):
    """A terminal: one line that is rewritten."""

    def __init__(self, console: Console, progress: Progress) -> None:
        super().__init__(console)
        self.progress = progress
        self.task = progress.add_task("training", total=None, line="")

    def step(self, record: StepRecord) -> None:
        """Move the bar."""
        of = f"/{record.steps:,}" if record.steps is not None else ""
        self.progress.update(
            self.task,
            completed=record.step,
            total=record.steps,
            description=f"step {record.step:,}{of}",
            line=step_line(record),
        )

    def evaluating(self, step: int, done: int, total: int) -> None:
        """How far an evaluation is."""
        self.progress.update(self.task, description=f"step {step:,}: evaluating", line=f"{done / total:.0%}")

    def saved(self, step: int, folder: str) -> None:
        """Said by the progress line's going on; a terminal is not filled with it."""
