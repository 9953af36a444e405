"""The report of a run that is being trained: drawn anew at each evaluation, and at the end however that comes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import final

from lmhead.cli.spelling import spelled
from lmhead.errors import InputError, NonFiniteError
from lmhead.evaluation.held_out.evaluate import Evaluation
from lmhead.report.run_data import NOT_FINITE
from lmhead.report.run_report import REPORT_FILE, RunReport
from lmhead.shown import shown_line
from lmhead.training.loop import Trainer
from lmhead.training.reporter import StepRecord
from lmhead.training.run.run_folder import RunFolder


@final
class ReportAlong:
    """A Reporter that draws. A disk that refuses the report is told of once, and stops no training."""

    def __init__(self, run: RunFolder, say: Callable[[str], None]) -> None:
        self.line = f"report: {run.path / REPORT_FILE}"  # what is told of it at the end
        self._report, self._say = RunReport(run.path), say
        self._told: str | None = None

    def step(self, record: StepRecord) -> None:
        """Nothing: it is in the log."""

    def evaluating(self, step: int, done: int, total: int) -> None:
        """Nothing: the evaluation is drawn when it is done."""

    def evaluation(self, step: int, result: Evaluation) -> None:
        """Draw what the log has by now."""
        self.draw()

    def sample(self, step: int, text: str) -> None:
        """Nothing: it is in the log."""

    def saved(self, step: int, folder: str) -> None:
        """Nothing: weights are not drawn."""

    def draw(self) -> None:
        """Read what is new in the log, and replace the file."""
        try:
            self._report.write()
        except InputError as error:
            self.line = f"no report: {error}"
            if self._told != str(error):
                self._told = str(error)
                self._say(self.line)


@contextmanager
def drawn_at_the_end(report: ReportAlong, run: RunFolder, trainer: Trainer) -> Iterator[None]:
    """Draw the last report of what is trained here; of a loss that is no number with its last words, in the log too."""
    try:
        yield
    except NonFiniteError as error:
        words = shown_line(spelled(error.message, "train"))
        finding = {"code": NOT_FINITE, "severity": "error", "count": 1, "message": words}
        with suppress(InputError):  # of a disk that refuses: this error is the one to be told
            run.log({"step": trainer.progress.step + 1, "finding": finding})
        report.draw()
        raise
    report.draw()
