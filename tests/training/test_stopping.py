"""A signal at any moment: the right status, one line, nothing lost; the run goes on as if it had not come."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lmhead.cli.plans.plan
import lmhead.training.checkpoints.checkpointing
import lmhead.training.evaluating
import lmhead.training.loop
import lmhead.training.setup
import lmhead.training.text_setup
from lmhead.cli.main import main
from lmhead.training.run.run_folder import RunFolder
from lmhead.training.stopping import Stopped, StopRequest, stop_requests, stops_at_once

TINY = [
    *("--vocab-size", "300", "--embed-dim", "16", "--num-layers", "1", "--max-seq-len", "32", "--rows", "2"),
    *("--eval-every", "2", "--sample-every", "3", "--save-every", "2", "--prompt", "def"),
]
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    for i in range(12):
        (folder / f"{i}.py").write_text("".join(f"def f{i}_{j}(x):\n    return x + {i * j}\n\n" for j in range(30)))
    return folder


@pytest.fixture(scope="module")
def whole(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    assert main(words(text, out)) == 0
    return out


def words(text: Path, out: Path, *flags: str) -> list[str]:
    return ["train", "--data", str(text), "--out", str(out), *TINY, *(flags or ("--steps", "6"))]


def told(run: Path) -> list[dict[str, Any]]:
    """The log without what the clock decides."""
    of_the_clock = ("seconds", "started")
    return [{k: v for k, v in record.items() if k not in of_the_clock} for record in RunFolder(run).records()]


def raising(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, number: int, *, call: int = 1) -> None:
    """The signal comes when `name` of `owner` is called for the call-th time."""
    real: Callable[..., Any] = getattr(owner, name)
    calls = []

    def called(*arguments: Any, **options: Any) -> Any:
        calls.append(name)
        if len(calls) == call:
            signal.raise_signal(number)
        return real(*arguments, **options)

    monkeypatch.setattr(owner, name, called)


MOMENTS = {  # where, of what, which call -> is the run in the folder afterwards?
    "reading": (lmhead.training.text_setup, "read_corpus", 1, False),
    "training the tokenizer": (lmhead.training.text_setup, "train_tokenizer", 1, False),
    "making the optimiser": (lmhead.training.loop, "Optimizers", 1, False),
    "the first step": (lmhead.training.loop, "schedule", 1, True),
    "a later step": (lmhead.training.loop, "schedule", 4, True),
    "a save": (lmhead.training.checkpoints.checkpointing, "write_checkpoint", 2, True),
    "an evaluation along the way": (lmhead.training.evaluating, "evaluate_held_out", 1, True),
    "a sample along the way": (lmhead.training.setup, "sample", 1, True),
    "a second sample along the way": (lmhead.training.setup, "sample", 2, True),
    "the last sample": (lmhead.training.setup, "sample", 6, True),
    "the last evaluation": (lmhead.training.evaluating, "evaluate_held_out", 3, True),
}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_at_any_moment_loses_nothing(
    text: Path,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    moment: str,
    number: signal.Signals,
) -> None:
    owner, name, call, kept = MOMENTS[moment]
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        raising(patch, owner, name, number, call=call)
        assert main(words(text, run)) == 128 + number
    output = "".join(capfd.readouterr())
    assert "Traceback" not in output
    assert [line for line in output.splitlines() if "stopped" in line] == [output.splitlines()[-1]]
    assert output.splitlines()[-1].startswith(f"stopped by {number.name}")
    assert run.exists() == kept
    if kept:
        assert main(["train", "--resume", str(run)]) == 0
        assert told(run) == told(whole)


@pytest.mark.parametrize("number", SIGNALS)
def test_every_signal_saves_the_step_that_it_found(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    raising(monkeypatch, lmhead.training.loop, "schedule", number, call=3)
    before = signal.getsignal(number)
    assert main(words(text, tmp_path / "run")) == 128 + number
    assert RunFolder(tmp_path / "run").steps()[-1] == 3
    assert signal.getsignal(number) == before


def test_a_signal_that_comes_while_the_result_is_told_leaves_a_finished_run(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    raising(monkeypatch, lmhead.cli.plans.plan, "xz_bits", signal.SIGTERM)
    assert main(words(text, tmp_path / "run")) == 143
    assert told(tmp_path / "run") == told(whole)


@pytest.mark.parametrize("moment", ["write_checkpoint", "seconds_per_position"])
def test_a_signal_while_a_timed_run_fixes_its_length(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    run = tmp_path / "run"
    minutes = words(text, run, "--minutes", "0.001", "--save-every", "100")
    with monkeypatch.context() as patch:
        saves = moment == "write_checkpoint"
        owner = lmhead.training.checkpoints.checkpointing if saves else lmhead.training.evaluating
        raising(patch, owner, moment, signal.SIGTERM)
        assert main(minutes) == 143
    fixed = RunFolder(run).config().steps
    assert (fixed is None) == (moment == "write_checkpoint")  # nothing is timed any more once a stop is asked for
    assert RunFolder(run).steps() == [12]
    assert main(["train", "--resume", str(run)]) == 0
    assert RunFolder(run).config().steps == RunFolder(run).steps()[-1]


def test_nothing_is_logged_of_an_evaluation_that_was_stopped(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raising(monkeypatch, lmhead.training.evaluating, "evaluate_held_out", signal.SIGTERM, call=2)
    assert main(words(text, tmp_path / "run")) == 143
    assert [record["step"] for record in told(tmp_path / "run") if "evaluation" in record] == [2]
    assert max(record["step"] for record in told(tmp_path / "run")) == 4


def test_a_second_signal_acts_at_once_and_says_what_is_saved(
    text: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(lmhead.training.stopping, "_ONE_REQUEST", -1.0)
        raising(patch, lmhead.training.loop, "schedule", signal.SIGINT, call=4)
        raising(patch, lmhead.training.checkpoints.checkpointing, "write_checkpoint", signal.SIGTERM, call=2)
        assert main(words(text, run)) == 143
    report, last = capfd.readouterr().out.splitlines()[-2:]
    assert report == f"report: {run}/report.html"
    assert last.startswith("stopped by SIGTERM at once, after step 4; step 2 is saved; go on with: lmhead train --res")
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["step-2"]
    assert main(["train", "--resume", str(run)]) == 0
    assert told(run) == told(whole)


def test_a_signal_that_is_ignored_stays_ignored(
    text: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raising(monkeypatch, lmhead.training.text_setup, "read_corpus", signal.SIGHUP)
    raising(monkeypatch, lmhead.training.loop, "schedule", signal.SIGHUP, call=3)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        assert main(words(text, tmp_path / "run")) == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert told(tmp_path / "run") == told(whole)


def test_what_comes_within_a_second_is_the_same_request() -> None:
    clock = [0.0]
    request = StopRequest(now=lambda: clock[0])
    assert not request
    request.ask(signal.SIGHUP)
    clock[0] = 0.9
    request.ask(signal.SIGHUP)  # a shell sends it too
    assert request.name == "SIGHUP"
    clock[0] = 1.1
    with pytest.raises(Stopped) as raised:
        request.ask(signal.SIGINT)
    assert raised.value.name == "SIGINT"


def test_cleaning_up_is_not_cut_off_by_the_same_request() -> None:
    cleaned = []
    with stops_at_once():
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            signal.raise_signal(signal.SIGTERM)
            cleaned.append(True)
    assert cleaned


def test_requests_end_with_their_block() -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    with stops_at_once(), stop_requests() as request:
        signal.raise_signal(signal.SIGTERM)
        assert request.name == "SIGTERM"
    assert [signal.getsignal(each) for each in SIGNALS] == before
