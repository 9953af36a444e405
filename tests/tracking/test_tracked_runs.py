"""A run that is stopped and resumed, tracked by all three without a network: every step is there, the log's values."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.tracking.wandb_file import exit_codes, history

TINY = [
    *("--vocab-size", "300", "--embed-dim", "32", "--num-heads", "2", "--num-layers", "1", "--max-seq-len", "32"),
    *(
        "--rows",
        "4",
        "--steps",
        "14",
        "--save-every",
        "4",
        "--eval-every",
        "6",
        "--eval-tokens",
        "64",
        "--prompt",
        "def",
        "--device",
        "cpu",
    ),
]
STOPPED_BEHIND = 10  # steps
PROGRAM = f"""
import os, signal, sys
import lmhead.training.loop as loop
from lmhead.cli.main import main

real = loop.Trainer._step

def step(trainer):
    real(trainer)
    if trainer.progress.step == {STOPPED_BEHIND}:
        os.kill(os.getpid(), signal.SIGTERM)

loop.Trainer._step = step
sys.exit(main(sys.argv[1:]))
"""


def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "TRACKIO"))}
    return {
        **kept,
        "OMP_NUM_THREADS": "1",
        "WANDB_MODE": "offline",
        "TRACKIO_DIR": str(folder / "trackio"),
        "HOME": str(folder),
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stopped after ten of fourteen steps, and resumed to its end."""
    folder = tmp_path_factory.mktemp("tracked")
    (folder / "a.py").write_text("".join(f"def f{i}(x):\n    return x + {i}\n\n" for i in range(300)))
    words = [
        "train",
        "--data",
        str(folder / "a.py"),
        "--out",
        "run",
        *TINY,
        "--track",
        "tensorboard",
        "wandb",
        "trackio",
    ]
    stopped = call([sys.executable, "-c", PROGRAM, *words], folder)
    assert stopped.returncode == 128 + signal.SIGTERM, stopped.stderr
    assert "tensorboard: tensorboard --logdir run/tensorboard\n" in stopped.stdout
    assert "wandb: wandb sync run/wandb/offline-run-" in stopped.stdout
    assert "trackio: trackio show --project lmhead\n" in stopped.stdout
    resumed = call([sys.executable, "-m", "lmhead", "train", "--resume", "run"], folder)
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming at step 10" in resumed.stdout
    assert "* " not in resumed.stdout  # trackio's own words
    return folder / "run"


def call(words: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        words,
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=600,
        stdin=subprocess.DEVNULL,
    )


def logged(run: Path) -> dict[tuple[str, int], float]:
    """(name of a scalar, step) -> value, of log.jsonl."""
    found = {}
    for line in map(json.loads, (run / "log.jsonl").read_text().splitlines()):
        group = "train" if "loss" in line else f"eval_{line.get('evaluation')}"
        names = ("loss", "grad_norm", "rate", "tokens", "nll", "bits_per_byte", "accuracy", "perplexity")
        found |= {(f"{group}/{name}", line["step"]): line[name] for name in names if name in line}
    return found


def compared(scalars: list[tuple[str, int, float]], run: Path) -> tuple[dict[Any, Any], dict[Any, Any]]:
    expected = logged(run)
    assert ("train/loss", 14) in expected
    assert ("eval_quick/nll", 6) in expected
    assert ("eval_full/bits_per_byte", 14) in expected
    return {(name, step): value for name, step, value in scalars if (name, step) in expected}, expected


def test_tensorboard_has_the_log_s_values_once(run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == list(range(1, 15))
    assert [event.step for event in events.Scalars("eval_quick/nll")] == [6, 12]
    got, expected = compared(
        [(name, each.step, each.value) for name in events.Tags()["scalars"] for each in events.Scalars(name)], run
    )
    assert got == pytest.approx(expected, rel=1e-6)  # float32
    assert b"vocab_size: 300" in events.Tensors("config/text_summary")[0].tensor_proto.string_val[0]


def test_wandb_has_the_log_s_values_under_one_id(run: Path) -> None:
    files = sorted(run.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(files) == 2
    assert {file.name for file in files} == {f"run-{(run / '.tracked').read_text().strip()}.wandb"}
    first, second = map(history, files)
    assert [line["step"] for line in second if "train/loss" in line] == list(range(11, 15))
    scalars = [(name, line["step"], value) for line in first + second for name, value in line.items()]
    got, expected = compared(scalars, run)
    assert got == expected
    assert [exit_codes(file) for file in files] == [[0], [0]]


def test_trackio_has_the_log_s_values_in_one_run(run: Path) -> None:
    database = sqlite3.connect(next((run.parent / "trackio").glob("*.db")))
    rows = database.execute("select run_name, step, metrics from metrics order by id").fetchall()
    assert {name for name, _, _ in rows} == {(run / ".tracked").read_text().strip()}
    got, expected = compared(
        [(name, step, value) for _, step, metrics in rows for name, value in json.loads(metrics).items()], run
    )
    assert got == expected
