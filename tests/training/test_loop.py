"""A run that is killed and resumed is the run that was not; bad numbers stop it before a step is taken."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import lmhead.training.loop
from lmhead.cli.main import main
from lmhead.cli.run_display import _Lines
from lmhead.training.config.optimizer_config import OptimizerConfig
from lmhead.training.reporter import StepRecord
from lmhead.training.run.run_folder import RunFolder

TINY = [
    *("--vocab-size", "300", "--embed-dim", "32", "--num-heads", "2", "--num-layers", "1", "--max-seq-len", "32"),
    *("--rows", "4", "--log-every", "1", "--eval-every", "1000", "--sample-every", "1000", "--prompt", "def"),
]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    for i in range(12):
        lines = [f"def f{i}_{j}(x):\n    return x + {i * j}\n\n" for j in range(30)]
        (folder / f"{i}.py").write_text("".join(lines))
    return folder


def command(text: Path, out: Path, *flags: str) -> list[str]:
    return ["train", "--data", str(text), "--out", str(out), *TINY, *flags]


def losses(run: Path) -> dict[int, float]:
    return {record["step"]: record["loss"] for record in RunFolder(run).records() if "loss" in record}


def weights(run: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(RunFolder(run).latest() / "training.pt", weights_only=True)["model"]
    return state


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def start(words: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "lmhead.cli.main", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def wait_for_step(run: Path, step: int) -> None:
    deadline = time.monotonic() + 600  # the machine may be busy
    while time.monotonic() < deadline:
        if max(losses(run), default=0) >= step:
            return
        time.sleep(0.01)
    pytest.fail(f"the run never came to step {step}")


@pytest.mark.usefixtures("one_thread")
def test_a_killed_and_resumed_run_ends_bit_for_bit_as_one_that_was_not(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--steps", "60", "--save-every", "7", "--dropout", "0.1", "--accumulate", "2")
    killed = start(command(text, tmp_path / "killed", *flags))
    wait_for_step(tmp_path / "killed", 23)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert 20 < max(losses(tmp_path / "killed")) < 60
    assert main(["train", "--resume", str(tmp_path / "killed")]) == 0
    assert "resuming at step" in capsys.readouterr().out
    assert main(command(text, tmp_path / "whole", *flags)) == 0
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    one, other = weights(tmp_path / "killed"), weights(tmp_path / "whole")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("killed_at", [8, 14])
def test_a_timed_run_killed_before_its_length_was_fixed_or_after_takes_the_same_steps(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    monkeypatch.setattr(lmhead.training.loop, "steps_that_fit", lambda *given: 9)
    real = lmhead.training.loop.schedule

    def schedule(step: int, steps: int | None, config: OptimizerConfig) -> float:
        if step == killed_at:
            raise KeyboardInterrupt  # nothing is saved, as by a kill
        return real(step, steps, config)

    with monkeypatch.context() as patch:
        patch.setattr(lmhead.training.loop, "schedule", schedule)
        flags = ("--minutes", "1000", "--save-every", "5", "--decay-share", "1.0")
        assert main(command(text, tmp_path / "run", *flags)) == 130
    run = RunFolder(tmp_path / "run")
    before = {record["step"]: record["rate"] for record in run.records() if "rate" in record}
    assert max(before) == killed_at
    assert run.steps()[-1] == (12 if killed_at > 12 else 5)  # the one that was saved as the length was fixed
    assert run.config().steps == (21 if killed_at > 12 else None)
    assert main(["train", "--resume", str(run.path)]) == 0
    after = {record["step"]: record["rate"] for record in run.records() if "rate" in record}
    assert {step: after[step] for step in before} == before
    assert max(after) == run.config().steps == (21 if killed_at > 12 else 5 + 12 + 9)


@pytest.mark.usefixtures("heeded_signals")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_signal_saves_and_stops(text: Path, tmp_path: Path, number: signal.Signals, status: int) -> None:
    process = start(command(text, tmp_path / "run", "--steps", "100000", "--save-every", "100000"))
    wait_for_step(tmp_path / "run", 5)
    process.send_signal(number)
    output, errors = process.communicate(timeout=600)
    assert (process.returncode, errors) == (status, "")
    assert f"stopped by {number.name} after step" in output
    assert RunFolder(tmp_path / "run").steps() == [max(losses(tmp_path / "run"))]


def test_a_gradient_that_is_not_finite_stops_before_the_step(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    flags = (
        "--steps",
        "50",
        "--save-every",
        "2",
        "--embedding-rate",
        "1e38",
        "--head-rate",
        "1e38",
        "--warmup-steps",
        "1",
    )
    assert main(command(text, run, *flags)) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "so the step was not taken; its batch is rows" in error
    assert ".py" in error
    assert all(torch.isfinite(torch.tensor(loss)) for loss in losses(run).values())
    step = int(error.split("step ")[1].split(":")[0])
    assert max(losses(run), default=0) == step - 1


def test_before_the_first_step_no_rate_is_blamed(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(text, tmp_path / "run", "--steps", "2", "--z-loss", "1e38")) == 1
    error = capsys.readouterr().err
    assert "step 1: the loss is inf" in error
    assert error.endswith("no rate has acted yet: look at the weights that training starts from, or at --z-loss\n")


def test_weights_of_which_none_has_a_gradient_are_refused(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--style", "course", "--steps", "2", "--init-std", "1e-300")
    assert main(command(text, tmp_path / "run", *flags)) == 2
    assert "the gradient of the first step must not be 0" in capsys.readouterr().err


def test_a_clip_of_nothing_is_off(text: Path, tmp_path: Path) -> None:
    for clip in ("0", "1e9"):
        assert main(command(text, tmp_path / clip, "--steps", "4", "--clip", clip)) == 0
    assert losses(tmp_path / "0") == losses(tmp_path / "1e9")
    assert len(set(losses(tmp_path / "0").values())) == 4


def test_a_step_tells_what_it_read_and_what_it_trained(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records: list[StepRecord] = []
    evaluating: list[tuple[int, int, int]] = []
    monkeypatch.setattr(_Lines, "step", lambda self, record: records.append(record))
    monkeypatch.setattr(_Lines, "evaluating", lambda self, *told: evaluating.append(told))
    flags = ("--steps", "4", "--accumulate", "2", "--eval-every", "3", "--eval-tokens", "100")
    assert main(command(text, tmp_path / "run", *flags)) == 0
    assert [record.read for record in records] == [4 * 32 * 2 * step for step in (1, 2, 3, 4)]
    assert all(0 < record.tokens <= record.read for record in records)
    trained = [record.trained_per_second / record.tokens_per_second for record in records]
    scored = [one.tokens - other for one, other in zip(records, [0, *(each.tokens for each in records)], strict=False)]
    assert trained == pytest.approx([count / 256 for count in scored])
    assert {step for step, _, _ in evaluating} == {3, 4}
    for at in (3, 4):
        done = [done for step, done, _ in evaluating if step == at]
        totals = {total for step, _, total in evaluating if step == at}
        assert done == sorted(done)
        assert {done[-1]} == totals


def test_accumulated_micro_batches_give_the_whole_batchs_gradient(text: Path, tmp_path: Path) -> None:
    flags = ("--steps", "3", "--precision", "float32", "--optimizer.name", "adamw")
    assert main(command(text, tmp_path / "whole", *flags, "--rows", "8")) == 0
    assert main(command(text, tmp_path / "parts", *flags, "--rows", "2", "--accumulate", "4")) == 0
    whole, parts = losses(tmp_path / "whole"), losses(tmp_path / "parts")
    assert list(whole.values()) == pytest.approx(list(parts.values()), rel=1e-5)


def test_the_last_step_is_saved_before_it_is_evaluated(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(text, tmp_path / "run", "--steps", "3")) == 0
    output = capsys.readouterr().out
    assert output.index("step 3: saved") < output.index("step 3: held out")


def test_minutes_become_steps_that_are_written_down(text: Path, tmp_path: Path) -> None:
    assert main(command(text, tmp_path / "run", "--minutes", "0.02")) == 0
    run = RunFolder(tmp_path / "run")
    assert run.config().steps == run.steps()[-1] == max(losses(run.path))


def test_the_log_is_json_lines_with_the_steps_evaluations_and_samples(text: Path, tmp_path: Path) -> None:
    assert main(command(text, tmp_path / "run", "--steps", "4", "--eval-every", "2", "--sample-every", "2")) == 0
    records = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records if "loss" in record] == [1, 2, 3, 4]
    assert [record["evaluation"] for record in records if "evaluation" in record] == ["quick", "full"]
    assert [record["step"] for record in records if "sample" in record] == [2, 2, 2, 4, 4, 4]


def test_a_resume_on_other_text_is_refused(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "text"
    folder.mkdir()
    for file in text.iterdir():
        (folder / file.name).write_text(file.read_text())
    assert main(command(folder, tmp_path / "run", "--steps", "3")) == 0
    capsys.readouterr()
    (folder / "0.py").write_text("x = 1\n" * 500)
    (folder / "1.py").write_text("y = 1\n" * 500)
    assert main(["train", "--resume", str(tmp_path / "run"), "--steps", "6"]) == 2
    assert "the data are not those that this run was trained on" in capsys.readouterr().err
