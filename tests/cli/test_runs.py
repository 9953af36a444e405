"""`lmhead runs`: every run of a folder in a line, whatever state it is in."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lmhead.cli.main import main
from lmhead.training.config.train_config import TrainConfig
from lmhead.training.run.lock import LOCK_FILE
from lmhead.training.run.run_folder import RunFolder

TEXT = {"evaluation": "full", "bits_per_byte": 1.5, "nll": 2.0, "tokens": 9, "exact": 0, "answers": 0}


def fill(folder: Path) -> None:
    (folder / "model.safetensors").write_text("weights")
    (folder / "training.pt").write_text("state")


def make(folder: Path, *, taken: int = 0, steps: int = 4) -> RunFolder:
    run = RunFolder.create(folder)
    run.write_config(TrainConfig(steps=steps))
    for step in range(1, taken + 1):
        run.log({"step": step, "loss": 1.0})
    if taken:
        run.publish(taken, fill, keep=1)
    return run


def listed(capsys: pytest.CaptureFixture[str], folder: Path) -> dict[str, dict[str, object]]:
    capsys.readouterr()
    assert main(["runs", str(folder), "--json"]) == 0
    return {run["name"]: run for run in map(json.loads, capsys.readouterr().out.splitlines())}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    done = make(tmp_path / "done", taken=4)
    done.log({"step": 2, "evaluation": "quick", "bits_per_byte": 1.1, "nll": 1.0, "answers": 0, "exact": 0})
    done.log({"step": 4, **TEXT})
    chat = make(tmp_path / "chat", taken=4)
    for step, exact in ((2, 7), (4, 3)):
        chat.log({"step": step, **TEXT, "bits_per_byte": None, "exact": exact, "answers": 9})
    half = make(tmp_path / "half", taken=3)
    half.log({"step": 3, "evaluation": "quick", "bits_per_byte": None, "nll": 2.25, "answers": 0, "exact": 0})
    broken = make(tmp_path / "broken", taken=4)
    (broken.checkpoint(4) / "model.safetensors").write_bytes(b"")
    new = make(tmp_path / "new")
    for run in (done, chat, half, broken, new):
        run.lock.release()
    make(tmp_path / "held", taken=2)
    (tmp_path / "nobody").mkdir()
    (tmp_path / "nobody" / LOCK_FILE).touch()
    (tmp_path / "notes").mkdir()
    return tmp_path


def test_each_run_has_its_state_step_and_best_figure(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = listed(capsys, runs)
    assert {name: (run["state"], run["step"], run["steps"], run["best"]) for name, run in found.items()} == {
        "done": ("finished", 4, 4, "1.5000 bits/byte"),
        "chat": ("finished", 4, 4, "7 of 9 exact"),
        "half": ("stopped", 3, 4, "~2.2500 nats/token"),
        "broken": ("damaged", 4, 4, "-"),
        "new": ("empty", 0, 4, "-"),
        "held": ("running", 2, 4, "-"),
        "nobody": ("empty", 0, None, "-"),
    }
    assert (found["chat"]["figure"], found["chat"]["value"]) == ("exact", 7)
    assert "model.safetensors is missing or empty" in str(found["broken"]["detail"])
    assert "process" in str(found["held"]["detail"])


def test_the_table_has_a_line_a_run_and_says_what_is_damaged(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", str(runs)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["run", "state", "step", "best", "when", "size"]
    assert len(lines) == 1 + 7 + 1
    assert lines[-1].startswith("broken: ")
    assert max(map(len, lines[:-1])) <= 80


def test_a_name_is_cut_where_the_terminal_ends_and_never_sent_raw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make(tmp_path / ("\x1b]0;X\x07" + "long" * 40), taken=2)
    run.lock.release()
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["runs", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "\x1b" not in output
    assert "…" in output
    assert max(map(len, output.splitlines())) == 80


def test_a_run_alone_is_listed_and_damage_of_any_file_is_no_error(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("log.jsonl", "config.yaml"):
        (runs / "done" / name).write_bytes(b"\xff\xfe\x00[[[" * 50)
        found = listed(capsys, runs / "done")
    assert found["done"]["state"] == "damaged"
    assert "config.yaml is not YAML" in str(found["done"]["detail"])


def test_a_folder_without_runs_says_so_and_what_is_no_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", str(tmp_path)]) == 0
    assert "no runs in" in capsys.readouterr().out
    assert main(["runs", str(tmp_path / "x")]) == 2
    assert main(["runs", "a", "b"]) == 2
    assert main(["runs", "--jsn"]) == 2
    assert "did you mean --json?" in capsys.readouterr().err


def test_runs_are_listed_without_loading_torch(runs: Path) -> None:
    program = "import sys; from lmhead.cli.main import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program, "runs", str(runs)], check=True, capture_output=True)
