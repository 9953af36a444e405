"""A run folder is whole at any moment, and refuses to be taken for another."""

import errno
from pathlib import Path

import pytest

from lmhead.errors import InputError
from lmhead.training.config import TrainConfig
from lmhead.training.run_folder import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder.create(tmp_path / "run")
    run.write_config(TrainConfig(seed=5))
    return run


def fill(folder: Path) -> None:
    (folder / "model").write_text("weights")


def test_the_config_comes_back(run: RunFolder) -> None:
    assert RunFolder.open(run.path).config() == TrainConfig(seed=5)


def test_a_folder_that_holds_a_run_is_refused_with_both_remedies(run: RunFolder) -> None:
    with pytest.raises(InputError, match="holds another run: pass another --out, or --resume"):
        RunFolder.create(run.path)


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="exists and is not empty"):
        RunFolder.create(tmp_path)


def test_a_folder_without_a_run_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run in"):
        RunFolder.open(tmp_path)


def test_the_newest_checkpoints_are_kept(run: RunFolder) -> None:
    for step in (5, 10, 20, 100):
        run.publish(step, fill, keep=2)
    assert run.steps() == [20, 100]
    assert run.latest() == run.checkpoint(100)


def test_a_run_without_checkpoints_says_so(run: RunFolder) -> None:
    with pytest.raises(InputError, match="no complete checkpoint yet"):
        run.latest()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("writing failed")])
def test_a_full_disk_keeps_the_last_good_checkpoint(run: RunFolder, error: Exception) -> None:
    run.publish(1, fill, keep=1)

    def fail(folder: Path) -> None:
        fill(folder)
        raise error

    with pytest.raises(
        InputError, match=r"cannot save .*step-2: .*the last good checkpoint is .*step-1: free some space"
    ):
        run.publish(2, fail, keep=1)
    assert run.steps() == [1]
    assert (run.latest() / "model").read_text() == "weights"
    assert not [path for path in run.checkpoints.iterdir() if path.name.startswith(".")]


def test_a_draft_that_a_kill_left_is_no_checkpoint(run: RunFolder) -> None:
    (run.checkpoints / ".draft-step-7").mkdir(parents=True)
    assert run.steps() == []
    run.publish(7, fill, keep=1)
    assert run.steps() == [7]


def test_an_abandoned_run_leaves_nothing_behind(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "runs" / "one")
    run.write_config(TrainConfig())
    run.write_text("tokenizer.json", "{}")
    run.abandon()
    assert not (tmp_path / "runs").exists()


def test_a_run_with_steps_is_not_abandoned(run: RunFolder) -> None:
    run.log({"step": 1})
    run.abandon()
    RunFolder.open(run.path).abandon()
    assert run.config() == TrainConfig(seed=5)


def test_what_no_run_wrote_is_named(run: RunFolder) -> None:
    run.log_file.write_text("5\n")
    with pytest.raises(InputError, match=r"log\.jsonl has a line that no run wrote: 5"):
        run.records()


def test_what_was_logged_after_the_save_is_logged_again(run: RunFolder) -> None:
    run.log({"step": 2, "loss": 1.0})
    run.log({"step": 2, "sample": "x"})
    run.rewind_log(2)
    assert run.records() == [{"step": 2, "loss": 1.0}]


def test_a_line_that_a_kill_cut_off_is_dropped_and_later_steps_are_rewound(run: RunFolder) -> None:
    for step in (1, 2, 3):
        run.log({"step": step, "loss": 0.0})
    with run.log_file.open("a") as stream:
        stream.write('{"step": 4, "lo')
    assert [record["step"] for record in run.records()] == [1, 2, 3]
    run.rewind_log(2)
    run.log({"step": 3, "loss": 0.0})
    assert [record["step"] for record in run.records()] == [1, 2, 3]
