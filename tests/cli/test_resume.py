"""`lmhead train --resume RUN`: finished, longer, elsewhere, damaged, edited, or in somebody else's hands."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lmhead.cli.main import main
from lmhead.training.config.train_config import TrainConfig, to_yaml
from lmhead.training.run.run_folder import RunFolder

TINY = [
    *("--vocab-size", "280", "--embed-dim", "16", "--num-heads", "2", "--num-layers", "1", "--mlp-dim", "16"),
    *("--max-seq-len", "16", "--rows", "2", "--log-every", "100", "--keep", "9", "--save-every", "2", "--prompt", "a"),
]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("text") / "text.txt"
    file.write_text("".join(f"line {i} of a small text, number {i * 7 % 13}\n" for i in range(60)))
    return file


@pytest.fixture(scope="module")
def finished(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "finished"
    flags = ("--steps", "6", "--eval-every", "4", "--sample-every", "4")
    assert main(["train", "--data", str(text), "--out", str(run), *TINY, *flags]) == 0
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """The finished run, moved."""
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture
def stopped(run: Path) -> Path:
    """As it was when it had saved its fourth step."""
    shutil.rmtree(run / "checkpoints" / "step-6")
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    kept = [record for record in records if record["step"] < 4 or (record["step"] == 4 and "loss" in record)]
    (run / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in kept))
    return run


def resume(run: Path, *flags: str) -> int:
    return main(["train", "--resume", str(run), *flags])


def refused(capsys: pytest.CaptureFixture[str], run: Path, *flags: str) -> str:
    capsys.readouterr()
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name != ".lock"}
    assert resume(run, *flags) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name != ".lock"} == before
    return error


def losses(run: Path) -> dict[int, float]:
    return {record["step"]: record["loss"] for record in RunFolder(run).records() if "loss" in record}


def test_a_finished_run_says_so_without_reading_the_data_anew(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmhead.training.setup.prepare", None)
    capsys.readouterr()
    assert resume(run) == 0
    output = capsys.readouterr().out
    assert re.search(r"run: finished at step 6: \d+\.\d{4} bits/byte over [\d,]+ held-out tokens", output)
    assert f"try: lmhead sample {run}" in output
    assert f"to go on: lmhead train --resume {run} --steps 12" in output


def test_a_finished_run_whose_last_checkpoint_is_damaged_is_told_and_goes_on_from_the_newest_good_one(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = losses(run)
    weights = run / "checkpoints" / "step-6" / "training.pt"
    weights.write_bytes(weights.read_bytes()[:20_000])
    error = refused(capsys, run)
    assert "step-6 is damaged: training.pt (20,000 bytes) is not what was written" in error
    assert f"lmhead train --resume {run} --step 4 (the steps after 4 are taken again)" in error
    assert resume(run, "--step", "4") == 0
    output = capsys.readouterr().out
    assert f"checkpoint of step 6: set aside as {run / 'checkpoints' / 'aside-step-6'}" in output
    assert "resuming at step 4" in output
    assert losses(run) == before
    assert RunFolder(run).steps() == [2, 4, 6]
    assert resume(run) == 0


def test_sample_refuses_damaged_weights_and_takes_the_step_that_it_names(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "checkpoints" / "step-6" / "training.pt").unlink()
    words = ["sample", str(run), "--tokens", "1", "--prompt", "a"]
    assert main(words) == 0  # nothing that is read is damaged
    (run / "checkpoints" / "step-6" / "model.safetensors").write_bytes(b"\0" * 64)
    capsys.readouterr()
    assert main(words) == 2
    assert f"take it with lmhead sample {run} --step 4" in capsys.readouterr().err
    assert main([*words, "--step", "4"]) == 0
    assert main(["sample", str(run / "checkpoints" / "step-6"), *words[2:]]) == 2
    assert "step-6 is damaged: model.safetensors (64 bytes)" in capsys.readouterr().err


def test_init_refuses_damaged_weights(run: Path, text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "checkpoints" / "step-6" / "model.safetensors").write_bytes(b"\0" * 64)
    capsys.readouterr()
    assert main(["train", "--init", str(run), "--data", str(text)]) == 2
    assert f"begin with it by --init {run}/checkpoints/step-4" in capsys.readouterr().err


@pytest.mark.parametrize("step", ["-1", "5"])
def test_a_step_without_a_checkpoint_is_refused(run: Path, step: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "2, 4, 6" in refused(capsys, run, f"--step={step}")


def test_a_step_without_a_run_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--step", "5"]) == 2
    assert "--step must come with --resume RUN" in capsys.readouterr().err


def test_what_was_due_at_the_checkpoint_is_made_on_resume_once(
    stopped: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert resume(stopped) == 0
    made = [set(record) - {"seconds"} for record in RunFolder(finished).records()]
    assert [set(record) - {"seconds"} for record in RunFolder(stopped).records()] == made
    shutil.rmtree(stopped / "checkpoints" / "step-6")
    assert resume(stopped) == 0
    assert [set(record) - {"seconds"} for record in RunFolder(stopped).records()] == made


def test_a_run_that_was_killed_before_its_last_evaluation_makes_it(run: Path) -> None:
    lines = (run / "log.jsonl").read_text().splitlines(keepends=True)
    (run / "log.jsonl").write_text("".join(lines[:-1]))
    assert resume(run) == 0
    records = [json.loads(line) for line in lines]
    assert RunFolder(run).records() == records


def test_a_finished_run_is_made_longer_and_the_schedules_new_shape_is_said(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert resume(run, "--steps", "40") == 0
    output = capsys.readouterr().out
    assert (
        "steps: 6 -> 40; the rates' factor is 0.35 now, 0.00 until now, at most 0.92 from here on, "
        "and falls from step 18 on, to 0.042 at the end" in output
    )
    folder = RunFolder(run)
    seal = folder.seal()
    assert seal is not None
    assert (folder.config().steps, seal.config.steps, folder.steps()[-1], len(losses(run))) == (40, 40, 40, 40)
    capsys.readouterr()
    assert resume(run) == 0
    assert "finished at step 40" in capsys.readouterr().out
    assert resume(run, "--steps", "20") == 2
    assert "steps must be at least the 40 that were taken, got 20" in capsys.readouterr().err


def test_minutes_are_refused_where_the_length_is_fixed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, run, "--minutes", "9")
    assert "minutes must be left out where the length is fixed, 6 steps here, got 9: --steps makes" in error


def test_a_run_goes_on_from_elsewhere_and_out_is_refused_only_where_it_is_another_folder(
    stopped: Path, finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = stopped.rename(stopped.with_name("renamed"))
    (moved.parent / "link").symlink_to(moved)
    (moved.parent / "inside").mkdir()
    monkeypatch.chdir(moved.parent / "inside")
    assert "leave --out else out" in refused(capsys, Path("../renamed"), "--out", "else")
    assert resume(Path("../renamed"), "--out", str(moved.parent / "link"), "--device", "cpu") == 0
    assert "device: auto -> cpu; from here on" in capsys.readouterr().out
    assert losses(moved) == losses(finished)


@pytest.mark.parametrize("flags", [("--seed", "3"), ("--pattern", "x"), ("--precision", "auto"), ("--rows", "3")])
def test_what_decides_the_numbers_stays(run: Path, flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert f"cannot resume {run} with another config (" in refused(capsys, run, *flags)


def test_an_edited_config_is_refused_by_name_and_put_back_as_it_is_told(
    stopped: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = (stopped / "config.yaml").read_text()
    (stopped / "config.yaml").write_text(config.replace("label_smoothing: 0.0", "label_smoothing: 0.2"))
    error = refused(capsys, stopped)
    assert "got label_smoothing: 0.0 -> 0.2" in error
    subprocess.run(re.findall(r"cp \S+ [^;\s]+", error)[0].split(), check=True)
    assert resume(stopped) == 0
    assert losses(stopped) == losses(finished)


def test_a_damaged_config_is_refused_with_the_way_on(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (stopped / "config.yaml").write_bytes((stopped / "config.yaml").read_bytes()[:700])
    assert f"cp {stopped}/.sealed.yaml {stopped}/config.yaml" in refused(capsys, stopped)


@pytest.mark.parametrize("harm", ["missing", "folder", "binary"])
def test_a_damaged_log_does_not_stop_a_resume(
    stopped: Path, finished: Path, harm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log = stopped / "log.jsonl"
    if harm == "binary":
        log.write_bytes(log.read_bytes().replace(b"loss", b"\xff\xfe\x00", 1))
    else:
        log.unlink()
        if harm == "folder":
            log.mkdir()
    assert resume(stopped) == 0
    assert "log.jsonl" in capsys.readouterr().out.split("resuming at step")[0]
    assert (stopped / "log.jsonl.damaged").exists() == (harm != "missing")
    assert losses(stopped).items() <= losses(finished).items()


def test_other_data_are_refused_before_the_first_checkpoint_too(
    run: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(run / "checkpoints")
    other = tmp_path / "other.txt"
    other.write_text(text.read_text().replace("small", "large"))
    assert "the data are not those that this run was trained on" in refused(capsys, run, "--data", str(other))


def start(*words: str | Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "lmhead.cli.main", "train", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_a_run_in_one_processs_hands_is_in_no_others_until_that_is_killed(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = ["--data", str(text), "--out", str(run), *TINY]
    process = start(*words, "--steps", "100000", "--eval-every", "100000", "--sample-every", "100000")
    deadline = time.monotonic() + 60
    while not (run / "checkpoints" / "step-2").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert main(["train", *words, "--steps", "2"]) == 2
    assert f"is being trained by process {process.pid}" in capsys.readouterr().err
    assert resume(run) == 2
    assert f"is being trained by process {process.pid}: wait for it or stop it" in capsys.readouterr().err
    assert main(["sample", str(run), "--tokens", "1", "--prompt", "a"]) == 0
    assert main(["runs", str(run)]) == 0
    assert " running " in capsys.readouterr().out
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert main(["runs", str(run)]) == 0
    assert " stopped " in capsys.readouterr().out
    step = max(losses(run))
    assert resume(run, "--steps", str(step + 1)) == 0


def test_a_config_of_an_earlier_lmhead_without_a_seal_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(to_yaml(TrainConfig(seed=4)))
    assert RunFolder.open(tmp_path).sealed_config(None).seed == 4
