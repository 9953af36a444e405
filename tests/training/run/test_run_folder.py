"""A run folder is whole at any moment, and refuses to be taken for another."""

import errno
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from lmhead.errors import InputError
from lmhead.training.config.train_config import TrainConfig, to_yaml
from lmhead.training.run.checkpoints import Use
from lmhead.training.run.run_folder import RunFolder


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
    run.lock.release()
    with pytest.raises(InputError, match="holds another run: give another out, or resume="):
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


def test_a_run_that_is_trained_is_refused_with_who_trains_it(run: RunFolder) -> None:
    with pytest.raises(InputError, match=f"run is being trained by process {os.getpid()}: give another out"):
        RunFolder.create(run.path)


def test_folders_named_by_the_time_never_collide(tmp_path: Path) -> None:
    runs = [RunFolder.create_in(tmp_path / "runs") for _ in range(3)]
    assert len({run.path for run in runs}) == 3
    for run in reversed(runs):  # the first one made runs/
        run.abandon()
    assert not (tmp_path / "runs").exists()


AT_ONE_MOMENT = """
import pathlib, sys, time
from lmhead.training.run.run_folder import RunFolder

time.strftime = lambda form: "now"
print("ready", flush=True)
sys.stdin.readline()
with RunFolder.create_in(pathlib.Path(sys.argv[1])) as run:
    print(run.path.name, flush=True)
    sys.stdin.readline()
"""


def test_processes_of_one_moment_have_folders_of_their_own(tmp_path: Path) -> None:
    words = [sys.executable, "-c", AT_ONE_MOMENT, str(tmp_path / "runs")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with ExitStack() as stack:
        processes = [stack.enter_context(subprocess.Popen(words, **pipes)) for _ in range(4)]
        assert [process.stdout.readline() for process in processes] == ["ready\n"] * 4
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        names = [process.stdout.readline().strip() for process in processes]
        for process in processes:
            process.communicate("end\n")
    assert sorted(names) == ["now", "now-2", "now-3", "now-4"]
    assert [process.returncode for process in processes] == [0] * 4


def test_a_folder_for_runs_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(InputError, match=r"cannot make the output folder .*: Not a directory: a part of that path"):
        RunFolder.create_in(tmp_path / "runs")
    with pytest.raises(InputError, match=r"the output folder .*runs is a file: give another out"):
        RunFolder.create(tmp_path / "runs")


def test_what_a_start_left_that_was_killed_is_nobodys_and_does_not_get_into_the_next_run(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run")
    run.write_text("tokenizer.json", "{}")
    (run.path / ".tokenizer.json.tmp").write_text("{")
    run.lock.release()  # as a kill does
    again = RunFolder.create(run.path)
    assert [entry.name for entry in again.path.iterdir()] == [".lock"]
    again.lock.release()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device: free some space; "),
        (OSError(errno.ENOTDIR, "Not a directory"), "Not a directory: a part of that path is a file"),
        (RuntimeError("writing failed"), "writing failed; "),
    ],
)
def test_a_save_that_fails_keeps_the_last_good_checkpoint(run: RunFolder, error: Exception, told: str) -> None:
    run.publish(1, fill, keep=1)

    def fail(folder: Path) -> None:
        fill(folder)
        raise error

    with pytest.raises(
        InputError,
        match=rf"cannot save .*step-2: {told}.*the last good checkpoint is .*step-1; after that: lmhead train --resume",
    ):
        run.publish(2, fail, keep=1)
    assert run.steps() == [1]
    assert (run.latest() / "model").read_text() == "weights"
    assert not [path for path in run.checkpoints.iterdir() if path.name.startswith(".")]


def test_a_folder_that_is_no_checkpoint_neither_counts_nor_is_in_the_way(run: RunFolder) -> None:
    for name in ("step-7", "step-50", "step-x", "step-007", "step-\u0663", "step-9.tmp", "mine"):
        (run.checkpoints / name).mkdir(parents=True)
    (run.checkpoints / "step-50" / "model.safetensors").write_text("half")
    (run.checkpoints / "step-8").write_text("a file")
    assert run.steps() == []
    with pytest.raises(InputError, match=r"no complete checkpoint yet \(step-7, step-8, step-50: incomplete\)"):
        run.checkpoint_for_use()
    for step in (5, 6, 7, 8):
        run.publish(step, fill, keep=2)
    assert run.steps() == [7, 8]
    assert run.checkpoint_for_use() == run.checkpoint(8)
    assert (run.checkpoints / "step-50" / "model.safetensors").read_text() == "half"
    assert run.go_back_to(8)[0] == f"{run.checkpoint(50)} is no complete checkpoint: passed over"
    run.publish(50, fill, keep=2)
    assert run.steps() == [8, 50]
    assert (run.checkpoints / "stray-step-50" / "model.safetensors").read_text() == "half"


@pytest.mark.parametrize(
    ("use", "command"),
    [
        ("resume", "go on from it with lmhead train --resume {run} --step 2"),
        ("sample", "take it with lmhead sample {run} --step 2"),
        ("init", "begin with it by init='{run}/checkpoints/step-2'"),
    ],
)
def test_a_damaged_checkpoint_is_named_with_the_newest_good_one_and_the_way_on(
    run: RunFolder, use: Use, command: str
) -> None:
    for step in (1, 2, 3, 4):
        run.publish(step, fill, keep=9)
    for step in (3, 4):
        (run.checkpoint(step) / "model").write_text("weightz")
    with pytest.raises(InputError) as caught:
        run.checkpoint_for_use(use=use)
    assert "step-4 is damaged: model (7 bytes) is not what was written" in str(caught.value)
    assert f"the newest good checkpoint is that of step 2: {command.format(run=run.path)}" in str(caught.value)
    assert run.checkpoint_for_use(2, use=use) == run.checkpoint(2)
    for step in (1, 2):
        (run.checkpoint(step) / "model").unlink()
    with pytest.raises(InputError, match="no other checkpoint is whole: train anew with lmhead train --config"):
        run.checkpoint_for_use(3, use=use)
    with pytest.raises(InputError, match="has no checkpoint of step 9, it has 1, 2, 3, 4"):
        run.checkpoint_for_use(9, use=use)


def test_going_back_sets_later_checkpoints_aside(run: RunFolder) -> None:
    for _ in range(2):
        for step in (1, 2, 3):
            run.publish(step, fill, keep=9)
        run.log({"step": 3, "loss": 0.0})
        notes = run.go_back_to(1)
        assert [note.split(":")[0] for note in notes] == ["checkpoint of step 2", "checkpoint of step 3"]
        assert (run.steps(), run.records()) == ([1], [])
    assert sorted(path.name for path in run.checkpoints.glob("aside-*")) == [
        "aside-step-2",
        "aside-step-2-2",
        "aside-step-3",
        "aside-step-3-2",
    ]


def test_a_run_that_was_moved_while_it_is_trained_is_told_and_nothing_is_made_where_it_was(run: RunFolder) -> None:
    run.publish(1, fill, keep=1)
    run.path.rename(run.path.with_name("moved"))
    for write in (
        lambda: run.log({"step": 2}),
        lambda: run.publish(2, fill, keep=1),
        lambda: run.write_config(TrainConfig()),
    ):
        with pytest.raises(InputError, match=r"got no such folder: it was removed or renamed; bring it back"):
            write()
    assert not run.path.exists()
    RunFolder.create(run.path)
    with pytest.raises(InputError, match=r"got another run of that name"):
        run.log({"step": 2})


def test_what_a_kill_left_half_removed_is_swept(run: RunFolder) -> None:
    run.publish(1, fill, keep=1)
    (run.checkpoints / ".old-step-0").mkdir()
    run.publish(2, fill, keep=1)
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-2"]


@pytest.mark.parametrize(
    "content", [b"", b" \n", b"seed: [", b"\xff\xfe", b"\x00" * 20, b"5", b"seed: x", b"sede: 5", None]
)
@pytest.mark.parametrize("sealed_in", ["run", "checkpoint"])
def test_a_damaged_config_is_told_with_the_sealed_copy(run: RunFolder, content: bytes | None, sealed_in: str) -> None:
    if sealed_in == "checkpoint":
        run.publish(3, fill, keep=1)
        (run.path / ".sealed.yaml").unlink()
        copy = run.checkpoint(3) / "train_config.yaml"
    else:
        copy = run.path / ".sealed.yaml"
    run.config_file.unlink() if content is None else run.config_file.write_bytes(content)
    with pytest.raises(InputError, match=rf"its sealed copy is whole, so put that back: cp {copy} {run.config_file}$"):
        RunFolder.open(run.path).config()
    shutil.copy(copy, run.config_file)
    assert RunFolder.open(run.path).sealed_config(None) == TrainConfig(seed=5)


def test_an_edited_config_is_refused_by_the_fields_before_and_after_the_first_checkpoint(run: RunFolder) -> None:
    edited = replace(TrainConfig(seed=6, log_every=99), label_smoothing=0.1)
    run.config_file.write_text(to_yaml(edited))
    expected = r"must stay as it was sealed when the run began, got seed: 5 -> 6; label_smoothing: 0\.0 -> 0\.1"
    with pytest.raises(InputError, match=expected):
        run.sealed_config(None)
    run.publish(3, fill, keep=1)
    (run.path / ".sealed.yaml").unlink()
    with pytest.raises(InputError, match=expected):
        run.sealed_config(run.checkpoint(3))


def test_a_seal_that_was_edited_along_with_the_config_is_found_by_the_checkpoint(run: RunFolder) -> None:
    run.publish(3, fill, keep=1)
    RunFolder(run.path).write_config(TrainConfig(seed=6))
    with pytest.raises(InputError, match="seed: 5 -> 6"):
        run.sealed_config(run.checkpoint(3))


def test_steps_that_are_written_down_later_break_no_seal_and_edited_ones_do(run: RunFolder) -> None:
    run.publish(3, fill, keep=1)
    run.write_config(TrainConfig(seed=5, steps=40))
    assert run.sealed_config(run.checkpoint(3)).steps == 40
    run.config_file.write_text(to_yaml(TrainConfig(seed=5)))  # as after a kill between the seal and config.yaml
    assert run.sealed_config(run.checkpoint(3)).steps == 40
    run.config_file.write_text(to_yaml(TrainConfig(seed=5, steps=50)))
    with pytest.raises(InputError, match=r"steps: 40 -> 50.*; steps with resume makes a run longer"):
        run.sealed_config(run.checkpoint(3))


def test_a_checkpoint_in_the_place_of_its_run_is_told(run: RunFolder) -> None:
    run.publish(3, fill, keep=1)
    with pytest.raises(InputError, match=f"is a checkpoint: give its run, {run.path}, and step=3"):
        RunFolder.open(run.checkpoint(3))


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


def test_a_line_that_a_kill_cut_off_is_dropped_and_later_steps_are_rewound(run: RunFolder) -> None:
    for step in (1, 2, 3):
        run.log({"step": step, "loss": 0.0})
    with run.log_file.open("a") as stream:
        stream.write('{"step": 4, "lo')
    assert [record["step"] for record in run.records()] == [1, 2, 3]
    run.go_back_to(2)
    run.log({"step": 3, "loss": 0.0})
    assert [record["step"] for record in run.records()] == [1, 2, 3]
