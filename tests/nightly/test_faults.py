"""The fault injector itself: a trial is judged right, and what a message advises is read as it stands."""

import io
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from tests.nightly.faults import subjects, trial
from tests.nightly.faults.injuries import INJURIES, Scene
from tests.nightly.faults.subjects import SUBJECTS, Ended, Undisturbed, advised, undisturbed
from tests.nightly.faults.trial import run_trial

from lmhead.cli.main import main
from lmhead.version import __version__

START, FINISH = subjects.start, subjects.finish  # themselves: below they are replaced


def run_here(words: list[str], **_: object) -> Ended:
    """What `finish(start(words))` gives, without a process: no message here tells of one."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        status = main(words)
    return Ended(status=status, output=said.getvalue())


@pytest.fixture(scope="module", autouse=True)
def _without_processes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (subjects, trial):
            patch.setattr(module, "start", lambda words: words)
            patch.setattr(module, "finish", run_here)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return undisturbed(SUBJECTS[0], tmp_path_factory.mktemp("faults") / "whole")


def test_a_damaged_run_ends_as_if_nothing_had_been_or_says_what_to_bring_back(
    whole: Undisturbed, tmp_path: Path
) -> None:
    verdict = run_trial("flipped", whole, 0, tmp_path / "trial")
    assert verdict.outcome in ("same", "told"), verdict
    assert not verdict.bad, verdict


def test_other_weights_at_the_end_are_a_loss(
    whole: Undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(scene: Scene) -> None:
        scene.what = "nothing"

    monkeypatch.setitem(INJURIES, "nothing", nothing)
    monkeypatch.setattr("tests.nightly.faults.trial.train_words", lambda *_: ["runs", str(tmp_path)])
    (tmp_path / "trial/run").mkdir(parents=True)
    monkeypatch.setattr("tests.nightly.faults.trial.result_of", lambda run: ("other", {}))
    assert run_trial("nothing", whole, 0, tmp_path / "trial").bad


def test_a_command_is_a_process_and_ends_with_what_it_said() -> None:
    assert FINISH(START(["--version"])) == Ended(status=0, output=f"lmhead {__version__}\n")
    refused = FINISH(START(["trian"]))
    assert (refused.status, refused.last_line) == (2, "lmhead: error: unknown command 'trian': did you mean train?")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("go on with: lmhead train --resume runs/a", ["train", "--resume", "runs/a"]),
        ("broken; go on with: lmhead train --resume 'a b' --step 30, or", ["train", "--resume", "a b", "--step", "30"]),
    ],
)
def test_advice_is_read_as_somebody_types_it(line: str, words: list[str]) -> None:
    assert advised(line) == [words]
