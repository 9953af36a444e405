"""The trackers by name: checked before anything is read, opened when a run begins or goes on, closed when it ends."""

import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Final

from lmhead.errors import InputError
from lmhead.shown import shown_line
from lmhead.tracking.tensorboard import TensorboardTracker, require_tensorboard
from lmhead.tracking.tracker import SparedTracker, TrackedRun, Tracker
from lmhead.tracking.trackio import TrackioTracker, require_trackio
from lmhead.tracking.wandb import WandbTracker, require_wandb
from lmhead.training.config.train_config import Tracking, TrainConfig
from lmhead.training.run.run_folder import RunFolder

ID_FILE: Final = ".tracked"
_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,80}")

_TRACKERS: Final[dict[Tracking, tuple[Callable[[], None], Callable[[TrackedRun], Tracker]]]] = {
    "tensorboard": (require_tensorboard, TensorboardTracker),
    "wandb": (require_wandb, WandbTracker),
    "trackio": (require_trackio, TrackioTracker),
}


def require_trackers(names: Sequence[Tracking] | None) -> None:
    """Refuse trackers that cannot be used here.

    Raises:
        InputError: the first that is not installed, or that is not let in where it sends to.
    """
    for name in names or ():
        _TRACKERS[name][0]()


@contextmanager
def trackers(run: RunFolder, config: TrainConfig, step: int) -> Iterator[dict[Tracking, Tracker]]:
    """The trackers that a config names, open; at the end each is closed, told whether the run went wrong.

    One that fails by then is told of, and stops nothing.

    Raises:
        InputError: one of them cannot be opened.
    """
    opened: dict[Tracking, Tracker] = {}
    failed = True
    try:
        if config.track:
            tracked = TrackedRun(folder=run.path, id=_id(run), config=asdict(config), step=step)
            for name in dict.fromkeys(config.track):
                opened[name] = SparedTracker(_TRACKERS[name][1](tracked), name, run.log_file)
        yield opened
        failed = False
    finally:
        for each in opened.values():
            each.close(failed=failed)


def _id(run: RunFolder) -> str:
    """The run's own among all others, wherever its folder lies; made when it is first tracked."""
    file = run.path / ID_FILE
    if not file.exists():
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", run.path.resolve().name)[:64]
        run.write_text(ID_FILE, f"{name}-{secrets.token_hex(4)}\n")
    try:
        written = file.read_bytes()[:200].decode("ascii", "backslashreplace").strip()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from None
    if not _ID.fullmatch(written):
        raise InputError(
            f"{file} must hold the id of a tracked run, got {shown_line(written)!r}: remove it, and the run is tracked "
            "as another one from here on"
        )
    return written
