"""Evaluations of a run with multi-token prediction: in log, screen and report, of texts and of answers."""

import re
from pathlib import Path

import pytest
from tests.training.chat_runs import train_words, write_chat

from lmhead.cli.main import main
from lmhead.record.record import read_record
from lmhead.training.run.run_folder import RunFolder

TINY = (
    *("--vocab-size", "300", "--embed-dim", "32", "--num-heads", "2", "--num-layers", "1", "--max-seq-len", "32"),
    *("--rows", "4", "--steps", "8", "--eval-every", "4", "--sample-every", "1000", "--prompt", "def"),
)
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    lines = [f"def f{i}(x):\n    return x + {i * i}\n\n" for i in range(150)]
    (tmp_path / "a.py").write_text("".join(lines))
    (tmp_path / "b.py").write_text("".join(reversed(lines)))
    return tmp_path


def test_a_run_tells_of_drafts_by_depth(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = text / "run"
    assert main(["train", "--data", str(text), "--out", str(run), *TINY, "--mtp", "2"]) == 0
    along, last = [line for line in RunFolder(run).records() if "evaluation" in line]
    for line in (along, last):
        assert list(line["classes"]["depth"]) == ["1", "2", "3"]
        assert [set(depth) for depth in line["depths"]] == [{"nll", "accuracy", "acceptance", "tokens"}] * 2
        first, second = (depth["acceptance"] for depth in line["depths"])
        assert line["accepted_length"] == pytest.approx(1 + first + first * second)
    assert {"decoded_length", "sampled_length"}.isdisjoint(along)
    assert 1 <= last["decoded_length"] <= 3
    assert 1 < last["sampled_length"] <= 3
    said = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert f"step 4: drafts accepted {first_two(along)}: {along['accepted_length']:.2f} tokens a forward" in said
    assert f"multi-token prediction: {last['decoded_length']:.2f} tokens a forward of greedy decoding" in said
    assert read_record(run / "log.jsonl").damage is None
    assert "accepted_length" in (run / "report.html").read_text()


def first_two(line: dict) -> str:  # type: ignore[type-arg]
    return ", ".join(f"{depth['acceptance']:.1%}" for depth in line["depths"])


def test_answers_are_drafted_too(tmp_path: Path) -> None:
    run = tmp_path / "run"
    data = write_chat(tmp_path / "chat.jsonl", 60)
    assert main(train_words(data, run, "--steps", "2", "--mtp", "1")) == 0
    last = [line for line in RunFolder(run).records() if "evaluation" in line][-1]
    assert last["depths"][0]["tokens"] <= last["tokens"]
    assert {"decoded_length", "sampled_length", "accepted_length"} <= set(last)
    assert list(last["classes"])[-2:] == ["part", "depth"]
