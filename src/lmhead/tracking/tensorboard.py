"""TensorBoard: event files in RUN/tensorboard.

A resumed run goes on in another file, which hides what was logged of the steps that are taken again.
"""

from collections.abc import Mapping
from typing import Final, final

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
    require_package("tensorboard", "--track tensorboard")


@final
class TensorboardTracker(Tracker):
    """A writer of event files."""

    def __init__(self, run: TrackedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._folder = run.folder / "tensorboard"
        self.where = f"tensorboard --logdir {shell_word(str(self._folder))}"
        with writing(self._folder):
            again = run.step + 1 if run.step else None  # the first step that earlier files may have too
            self._writer = SummaryWriter(str(self._folder), purge_step=again, flush_secs=_SECONDS)
            if not run.step:
                self._writer.add_text("config", "".join(f"    {line}\n" for line in dump_yaml(run.config).splitlines()))

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write them, soon."""
        with writing(self._folder):
            for name, value in scalars.items():
                self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        """Write them now."""
        with writing(self._folder):
            self._writer.flush()

    def close(self, *, failed: bool) -> None:
        """Write what is left."""
        with writing(self._folder):
            self._writer.close()
