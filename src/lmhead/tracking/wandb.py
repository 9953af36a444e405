"""Weights & Biases: a run of the project lmhead, or of WANDB_PROJECT; without a network by WANDB_MODE=offline.

Its own variables decide where it goes. A resumed run has the id that it had, and steps that are taken again are logged
again: the charts go by `step`, not by the order of what was logged.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import final

from lmhead.errors import InputError
from lmhead.options import option
from lmhead.packages import require_package
from lmhead.shown import shell_word
from lmhead.tracking.tracker import TrackedRun, Tracker


def require_wandb() -> None:
    """Refuse where it cannot be used; on a terminal it may ask for the key.

    Raises:
        InputError: it is not installed, has no key, or cannot reach its server.
    """
    require_package("wandb", option("track", "wandb"))
    import wandb

    if wandb.setup().settings.mode in ("offline", "disabled"):
        return
    try:
        wandb.login()
    except (wandb.Error, OSError) as error:
        raise _refusal(error) from None


@final
class WandbTracker(Tracker):
    """One sitting of a run there."""

    def __init__(self, run: TrackedRun) -> None:
        import wandb

        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "lmhead"),
                id=run.id,
                name=run.folder.name,
                resume="allow",
                config=run.config,
                dir=os.environ.get("WANDB_DIR", run.folder),
                settings=wandb.Settings(console="off", silent=True),  # what is shown is data's text, and a bar
            )
            self._run.define_metric("*", step_metric="step")
        except (wandb.Error, OSError) as error:
            raise _refusal(error) from None
        kept = f"wandb sync {shell_word(str(Path(self._run.dir).parent))}"
        self.where = kept if self._run.offline else str(self._run.url)

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Hand them to wandb's own process."""
        with _reached():
            self._run.log({"step": step, **scalars})

    def flush(self) -> None:
        """Nothing, for wandb has no such call: its own process writes within 15 seconds what it sends or keeps."""

    def close(self, *, failed: bool) -> None:
        """Wait until everything is sent, or written where it is offline."""
        with _reached():
            self._run.finish(exit_code=int(failed))


@contextmanager
def _reached() -> Iterator[None]:
    """What breaks once a run has begun, as an InputError: the connection to wandb's own process, say."""
    import wandb

    try:
        yield
    except (wandb.Error, OSError) as error:
        raise InputError(f"its process is gone ({error})") from None


def _refusal(error: Exception) -> InputError:
    said = str(error).partition("\n")[0].rstrip(".")
    return InputError(
        f"{option('track', 'wandb')}: {said}: WANDB_MODE=offline keeps everything here, to be sent by `wandb sync`"
    )
