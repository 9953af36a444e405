"""Trackers are refused before anything is read, known by one id, and told whether the run went wrong."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import lmhead.tracking.trackers as module
from lmhead.cli.main import main
from lmhead.errors import InputError
from lmhead.tracking.tracker import TrackedRun, Tracker
from lmhead.tracking.trackers import ID_FILE, require_trackers, trackers
from lmhead.training.config.train_config import Tracking, TrainConfig
from lmhead.training.run.run_folder import RunFolder


class Kept(Tracker):
    """One that keeps what it is told."""

    where = "nowhere"

    def __init__(self, run: TrackedRun) -> None:
        self.run = run
        self.told: list[object] = []

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        self.told.append((step, scalars))

    def flush(self) -> None:
        self.told.append("flush")

    def close(self, *, failed: bool) -> None:
        self.told.append("failed" if failed else "closed")


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[Kept]:
    made: list[Kept] = []

    def make(run: TrackedRun) -> Kept:
        made.append(Kept(run))
        return made[-1]

    monkeypatch.setitem(module._TRACKERS, "wandb", (lambda: None, make))
    monkeypatch.setitem(module._TRACKERS, "trackio", (lambda: None, make))
    return made


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    (tmp_path / "ein Lauf: 3").mkdir()
    return RunFolder(tmp_path / "ein Lauf: 3")


def config(*track: Tracking) -> TrainConfig:
    return TrainConfig(track=track, seed=3)


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_a_package_that_is_missing_is_one_line_before_anything_is_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lmhead.packages.find_spec", lambda package: None if package == name else object())
    assert main(["train", "--data", "there-is-none", "--track", name]) == 2
    assert capsys.readouterr().err == (
        f'lmhead train: error: --track {name} needs {name}, which is not installed: pip install "lmhead[{name}]"\n'
    )
    assert list(tmp_path.iterdir()) == []


def test_another_word_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--track", "tensorbord"]) == 2
    assert capsys.readouterr().err == (
        "lmhead train: error: --track must be tensorboard, wandb or trackio, got tensorbord: did you mean "
        "tensorboard?\n"
    )


def test_wandb_without_a_key_is_one_line_before_anything_is_read(tmp_path: Path) -> None:
    words = ["-m", "lmhead", "train", "--data", "there-is-none", "--track", "wandb"]
    done = python(words, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == (
        "lmhead train: error: --track wandb: No API key configured. Use `wandb login` to log in: WANDB_MODE=offline "
        "keeps everything here, to be sent by `wandb sync`"
    )
    assert not (tmp_path / "runs").exists()


def test_training_outlives_wandb_s_process_and_says_so_once(tmp_path: Path) -> None:
    program = f"""
import os, signal, subprocess
from pathlib import Path
from lmhead.tracking.tracker import SparedTracker, TrackedRun
from lmhead.tracking.wandb import WandbTracker

folder = Path({str(tmp_path)!r})
tracker = WandbTracker(TrackedRun(folder=folder, id="a", config={{}}, step=0))
tracker = SparedTracker(tracker, "wandb", folder / "log.jsonl")
children = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "pid=,comm="], capture_output=True, text=True)
(core,) = [line.split()[0] for line in children.stdout.splitlines() if "wandb-core" in line]
os.kill(int(core), {int(signal.SIGKILL)})
os.waitpid(int(core), 0)
for step in range(3):
    tracker.log(step, {{"train/loss": 1.0}})
tracker.flush()
tracker.close(failed=False)
print("trained")
"""
    done = python(["-c", program], tmp_path, WANDB_MODE="offline")
    assert (done.returncode, done.stdout) == (0, "trained\n")
    said = [line for line in done.stderr.splitlines() if line.startswith("wandb: its process is gone (")]
    assert len(said) == 1
    assert said[0].endswith(f": training goes on without it, the log is {tmp_path / 'log.jsonl'}")


def python(words: list[str], folder: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**environment, "HOME": str(folder), **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_run_keeps_its_id_wherever_it_lies(run: RunFolder, kept: list[Kept]) -> None:
    with trackers(run, config("wandb", "trackio"), 0) as opened:
        assert [*opened] == ["wandb", "trackio"]
    moved = RunFolder(run.path.rename(run.path.with_name("moved")))
    with trackers(moved, config("wandb"), 7):
        pass
    assert len({each.run.id for each in kept}) == 1
    assert kept[0].run.id.startswith("ein-Lauf-3-")
    assert [each.run.step for each in kept] == [0, 0, 7]
    assert kept[0].run.config["seed"] == 3


def test_two_runs_of_one_name_have_two_ids(tmp_path: Path, kept: list[Kept]) -> None:
    for parent in ("a", "b"):
        (tmp_path / parent / "run").mkdir(parents=True)
        with trackers(RunFolder(tmp_path / parent / "run"), config("wandb"), 0):
            pass
    assert kept[0].run.id != kept[1].run.id


@pytest.mark.parametrize("written", [b"", b"two words", b"../../x", b"\xff\xfe", b"a" * 99, b"\x1b[2J"])
def test_an_id_that_was_damaged_is_one_line(run: RunFolder, kept: list[Kept], written: bytes) -> None:
    (run.path / ID_FILE).write_bytes(written)
    with pytest.raises(InputError) as refused, trackers(run, config("wandb"), 0):
        pass
    assert ".tracked must hold the id of a tracked run, got" in str(refused.value)
    assert "\x1b" not in str(refused.value)


def test_trackers_are_told_whether_the_run_went_wrong(run: RunFolder, kept: list[Kept]) -> None:
    with trackers(run, config("wandb"), 0):
        pass
    with pytest.raises(ZeroDivisionError), trackers(run, config("wandb", "trackio", "wandb"), 0):
        raise ZeroDivisionError
    assert [each.told for each in kept] == [["closed"], ["failed"], ["failed"]]


def test_one_that_does_not_open_closes_those_that_did(
    run: RunFolder, kept: list[Kept], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(run: TrackedRun) -> Tracker:
        raise InputError("no")

    monkeypatch.setitem(module._TRACKERS, "trackio", (lambda: None, refuse))
    with pytest.raises(InputError, match="no"), trackers(run, config("wandb", "trackio"), 0):
        pass
    assert [each.told for each in kept] == [["failed"]]


class Broken(Kept):
    """One whose disk is full."""

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        super().log(step, scalars)
        raise InputError("cannot write x: No space left on device")

    def close(self, *, failed: bool) -> None:
        raise InputError("cannot write y: No space left on device")


def test_one_that_breaks_stops_no_training_and_is_told_of_once(
    tmp_path: Path, kept: list[Kept], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken: list[Broken] = []

    def make(run: TrackedRun) -> Tracker:
        broken.append(Broken(run))
        return broken[-1]

    monkeypatch.setitem(module._TRACKERS, "tensorboard", (lambda: None, make))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.py").write_text("".join(f"def f{i}(x):\n    return x + {i}\n\n" for i in range(300)))
    size = ["--vocab-size", "300", "--embed-dim", "16", "--num-heads", "2", "--num-layers", "1", "--max-seq-len", "32"]
    words = ["train", "--data", "a.py", "--out", "run", *size, "--rows", "2", "--steps", "4", "--device", "cpu"]
    assert main([*words, "--track", "tensorboard", "wandb"]) == 0
    assert [told[0] for told in broken[0].told if isinstance(told, tuple)] == [1]
    assert [told[0] for told in kept[0].told if isinstance(told, tuple)] == [1, 2, 3, 4, 4]
    assert kept[0].told[-1] == "closed"
    said = [line for line in capsys.readouterr().err.splitlines() if "No space left" in line]
    assert said == [
        "tensorboard: cannot write x: No space left on device: training goes on without it, the log is run/log.jsonl"
    ]


def test_one_that_cannot_be_closed_leaves_the_others_to_be_closed(
    run: RunFolder, kept: list[Kept], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(module._TRACKERS, "tensorboard", (lambda: None, Broken))
    with trackers(run, config("tensorboard", "wandb"), 0):
        pass
    assert kept[0].told == ["closed"]
    assert "cannot write y" in capsys.readouterr().err


def test_without_a_tracker_nothing_is_written(run: RunFolder) -> None:
    for track in (None, ()):
        require_trackers(track)
        with trackers(run, TrainConfig(track=track), 0) as opened:
            assert opened == {}
    assert list(run.path.iterdir()) == []


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_each_choice_has_its_tracker(name: Tracking) -> None:
    check: Callable[[], None] = module._TRACKERS[name][0]
    assert check.__name__ == f"require_{name}"
