"""Event files: what a kill left behind the last checkpoint is hidden when the run goes on, and a full disk is told."""

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lmhead.errors import InputError
from lmhead.tracking.tensorboard import TensorboardTracker
from lmhead.tracking.tracker import TrackedRun


def run(folder: Path, *, step: int = 0) -> TrackedRun:
    return TrackedRun(folder=folder, id="a", config={"seed": 3, "prompt": "</script>"}, step=step)


def losses(folder: Path) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [(each.step, each.value) for each in events.Scalars("train/loss")]


def test_steps_that_are_taken_again_are_shown_once_as_they_were_taken_last(tmp_path: Path) -> None:
    killed = TensorboardTracker(run(tmp_path))
    for step in range(1, 11):
        killed.log(step, {"train/loss": 1.0})
    killed.flush()  # and no close
    resumed = TensorboardTracker(run(tmp_path, step=8))
    for step in range(9, 13):
        resumed.log(step, {"train/loss": 2.0})
    resumed.close(failed=False)
    assert losses(tmp_path) == [(step, 1.0 if step <= 8 else 2.0) for step in range(1, 13)]
    killed.close(failed=True)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("a file")
    with pytest.raises(InputError, match=r"^cannot write .*tensorboard: "):
        TensorboardTracker(run(tmp_path))
