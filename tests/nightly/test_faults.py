"""The fault injector itself: a trial is judged right, and what a message advises is read as it stands."""

from pathlib import Path

import pytest
from tests.nightly.faults.injuries import INJURIES, Scene
from tests.nightly.faults.subjects import SUBJECTS, Undisturbed, advised, undisturbed
from tests.nightly.faults.trial import run_trial


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


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("go on with: lmhead train --resume runs/a", ["train", "--resume", "runs/a"]),
        ("broken; go on with: lmhead train --resume 'a b' --step 30, or", ["train", "--resume", "a b", "--step", "30"]),
    ],
)
def test_advice_is_read_as_somebody_types_it(line: str, words: list[str]) -> None:
    assert advised(line) == [words]
