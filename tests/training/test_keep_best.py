"""--keep-best: the best checkpoint of the evaluations along the way outlives the newer ones, and is named."""

import dataclasses
import json
from pathlib import Path

import pytest

import lmhead.training.evaluating
import lmhead.training.loop
from lmhead.cli.main import main
from lmhead.evaluation.held_out.evaluate import Evaluation, evaluate_held_out
from lmhead.training.best import best_of
from lmhead.training.run.run_folder import RunFolder

TINY = [
    *("--vocab-size", "300", "--embed-dim", "16", "--num-layers", "1", "--max-seq-len", "32", "--rows", "2"),
    *("--steps", "10", "--save-every", "100", "--eval-every", "2", "--sample-every", "100", "--prompt", "def"),
    *("--keep", "1", "--keep-best"),
]
FIGURES = {2: 5.0, 4: 3.0, 6: 4.0, 8: 3.5, 10: 3.5}  # nats of the evaluation on a part, by step


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("text") / "text.txt"
    file.write_text("".join(f"def f{j}(x):\n    return x + {j}\n\n" for j in range(300)))
    return file


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Evaluations whose figures are FIGURES, in their order; the last one, on all, keeps its own."""
    made: list[object] = []

    def judge(*given: object, part: object = None, **options: object) -> Evaluation:
        result = evaluate_held_out(*given, part=part, **options)  # type: ignore[arg-type]
        if part is None:
            return result
        made.append(part)
        step = [*FIGURES][len(made) - 1]
        return dataclasses.replace(result, nll=FIGURES[step], bits_per_byte=FIGURES[step] / 2)

    monkeypatch.setattr(lmhead.training.evaluating, "evaluate_held_out", judge)
    return made


def test_the_best_one_is_kept_beside_the_newest_and_named(
    text: Path, tmp_path: Path, judged: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(["train", "--data", str(text), "--out", str(run), *TINY]) == 0
    assert len(judged) == len(FIGURES)  # the last step too, on the same part
    assert RunFolder(run).steps() == [4, 10]
    output = capsys.readouterr().out
    assert "best of the evaluations along the way: step 4, 1.5000 bits per byte of a part; kept in " in output
    assert f"{run}/checkpoints/step-4: lmhead sample {run} --step 4" in output


def test_a_resumed_run_knows_the_best_one(
    text: Path, tmp_path: Path, judged: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    real = lmhead.training.loop.schedule

    def killed(step: int, *rest: object) -> float:
        if step == 8:
            raise KeyboardInterrupt
        return real(step, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(lmhead.training.loop, "schedule", killed)
        assert main(["train", "--data", str(text), "--out", str(run), *TINY]) == 130
    assert RunFolder(run).steps() == [4, 8]
    del judged[3:]  # the evaluation at the checkpoint's step is made again
    assert main(["train", "--resume", str(run)]) == 0
    assert RunFolder(run).steps() == [4, 10]


def test_without_it_only_the_newest_are_kept(text: Path, tmp_path: Path, judged: list[object]) -> None:
    run = tmp_path / "run"
    assert main(["train", "--data", str(text), "--out", str(run), *TINY, "--no-keep-best", "--save-every", "2"]) == 0
    assert RunFolder(run).steps() == [10]
    assert len(judged) == len(FIGURES) - 1


def test_the_best_is_the_first_of_the_lowest_on_a_part_whose_checkpoint_is_there() -> None:
    lines = [
        {"step": 1, "evaluation": "quick", "nll": 1.0, "bits_per_byte": None},  # its checkpoint is gone
        {"step": 2, "evaluation": "quick", "nll": 2.0, "bits_per_byte": 0.5},
        {"step": 3, "loss": 0.1},
        {"step": 3, "evaluation": "quick", "nll": 2.0, "bits_per_byte": 0.5},
        {"step": 3, "evaluation": "full", "nll": 1.5, "bits_per_byte": 0.4},
    ]
    best = best_of(json.loads(json.dumps(lines)), {2, 3})
    assert best is not None
    assert (best.step, best.nll, best.bits_per_byte) == (2, 2.0, 0.5)
    assert best_of([], {1}) is None
