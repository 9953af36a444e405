"""TensorBoard: event files in RUN/tensorboard.

A resumed run goes on in another file, which hides what was logged of the steps that are taken again.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, final

from lmhead.options import option
from lmhead.packages import require_package
from lmhead.shown import shell_word
from lmhead.tracking.tracker import TrackedRun, Tracker
from lmhead.training.config.yaml_text import dump_yaml
from lmhead.training.run.files import writing

_SECONDS: Final = 10  # between two flushes: what is looked at is not older


def require_tensorboard() -> None:
    """Refuse where it cannot be used.

    Raises:
        InputError: it is not installed.
    """
    require_package("tensorboard", option("track", "tensorboard"))


@final
class TensorboardTracker(Tracker):
    """A writer of event files."""

    def __init__(self, run: TrackedRun) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from torch.utils.tensorboard import FileWriter, summary

        self._folder = run.folder / "tensorboard"
        self.where = f"tensorboard --logdir {shell_word(str(self._folder))}"
        with writing(self._folder):
            self._writer = FileWriter(str(self._folder), flush_secs=_SECONDS)
            if run.step:  # what earlier files have from this step on is hidden
                self._writer.add_event(Event(session_log=SessionLog(status=SessionLog.START)), run.step + 1)
            else:
                lines = dump_yaml(run.config).splitlines()
                text: Callable[[str, str], Any] = summary.text
                self._writer.add_summary(text("config", "".join(f"    {line}\n" for line in lines)), 0)

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write them, soon: as one event, which costs a step far less than one for each."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        with writing(self._folder):
            self._writer.add_summary(Summary(value=values), step)

    def flush(self) -> None:
        """Write them now."""
        with writing(self._folder):
            self._writer.flush()

    def close(self, *, failed: bool) -> None:
        """Write what is left."""
        with writing(self._folder):
            self._writer.close()
