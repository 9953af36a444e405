"""What is trained in a trial: small runs of every kind, each made once without a disturbance, to be judged by."""

import hashlib
import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.training.chat_runs import write_chat

ROOT: Final = Path(__file__).parents[3]
_SIZES: Final = ("--embed-dim", "16", "--num-heads", "2", "--num-layers", "1", "--mlp-dim", "32", "--vocab-size", "280")
_OFTEN: Final = ("--save-every", "10", "--eval-every", "15", "--sample-every", "25", "--precision", "float32")
_PATIENCE: Final = 300.0  # seconds until a command counts as hanging


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A run that could be made."""

    name: str
    data: str  # file name
    flags: tuple[str, ...]


SUBJECTS: Final = (
    Subject(name="texts", data="texts.jsonl", flags=("--max-seq-len", "16", "--rows", "4", "--steps", "80")),
    Subject(name="chats", data="chats.jsonl", flags=("--max-seq-len", "160", "--rows", "2", "--steps", "60")),
    Subject(
        name="averaged",
        data="texts.jsonl",
        flags=("--max-seq-len", "16", "--rows", "4", "--steps", "80", "--average", "--keep-best", "--keep", "1"),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended."""

    status: int | None  # None: it hung, and was killed
    output: str  # both streams

    @property
    def traceback(self) -> bool:
        """Whether it ended in pages that no user should see."""
        return "Traceback (most recent" in self.output or "Exception ignored" in self.output

    @property
    def last_line(self) -> str:
        """What it said at its end."""
        lines = self.output.strip().splitlines()
        return lines[-1] if lines else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Undisturbed:
    """A subject's run that nothing happened to."""

    subject: Subject
    run: Path
    data: Path
    seconds: float
    weights: str
    losses: dict[int, float]
    sampled: str  # of the run as `halved` leaves it: SAMPLE says so


def undisturbed(subject: Subject, folder: Path) -> Undisturbed:
    """Train the subject, in a folder of its own."""
    folder.mkdir(parents=True)
    data = folder / subject.data
    if subject.data == "chats.jsonl":
        write_chat(data, 60)
    else:
        draw = random.Random(0)
        rows = [{"text": " ".join(draw.choice("abcdefgh") * draw.randint(1, 5) for _ in range(40))} for _ in range(120)]
        data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    began = time.monotonic()
    ended = finish(start(train_words(subject, data, folder / "run")))
    assert ended.status == 0, ended.output
    seconds = time.monotonic() - began
    weights, losses = result_of(folder / "run")
    sampled = finish(start(sample_words(halved(folder / "run", folder / "half"))))
    assert sampled.status == 0, sampled.output
    return Undisturbed(
        subject=subject,
        run=folder / "run",
        data=data,
        seconds=seconds,
        weights=weights,
        losses=losses,
        sampled=sampled.output,
    )


def train_words(subject: Subject, data: Path, out: Path) -> list[str]:
    """The command that starts the run."""
    return ["train", "--data", str(data), "--out", str(out), *_SIZES, *_OFTEN, *subject.flags]


def sample_words(run: Path) -> list[str]:
    """A command that reads the run's newest checkpoint."""
    return ["sample", str(run), "--tokens", "8", "--seed", "0", "--prompt", "a b"]


def halved(whole: Path, folder: Path) -> Path:
    """A copy of an undisturbed run as it was some steps before its end: what a killed run leaves."""
    run = folder / "run"
    shutil.copytree(whole, run)
    steps = sorted(int(path.name[5:]) for path in (run / "checkpoints").glob("step-*"))
    for step in steps[1:]:
        shutil.rmtree(run / "checkpoints" / f"step-{step}")
    return run


def start(words: list[str], *, stdout: int | None = None, cwd: Path | None = None) -> subprocess.Popen[bytes]:
    """The command line in a process of its own."""
    environment = dict(os.environ, PYTHONPATH=str(ROOT / "src"), OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    environment |= {"TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": ""}
    return subprocess.Popen(
        [sys.executable, "-m", "lmhead", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.STDOUT if stdout is None else subprocess.PIPE,
        env=environment,
        cwd=cwd,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[bytes], *, within: float = _PATIENCE) -> Ended:
    """Wait for it."""
    try:
        out, err = process.communicate(timeout=within)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        return Ended(status=None, output=((out or b"") + (err or b"")).decode(errors="replace"))
    return Ended(status=process.returncode, output=((out or b"") + (err or b"")).decode(errors="replace"))


def result_of(run: Path) -> tuple[str, dict[int, float]]:
    """The digest of the last checkpoint's weights, and the logged losses by step."""
    steps = sorted(int(path.name[5:]) for path in (run / "checkpoints").glob("step-*"))
    weights = (run / "checkpoints" / f"step-{steps[-1]}" / "model.safetensors").read_bytes() if steps else b""
    losses = {}
    for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if "loss" in record:
            losses[record["step"]] = record["loss"]
    return hashlib.sha256(weights).hexdigest(), losses


def advised(output: str) -> list[list[str]]:
    """Every `lmhead train --resume ...` that an output tells its reader to type, as words."""
    found = []
    for line in output.splitlines():
        for piece in line.split("lmhead train --resume ")[1:]:
            words = shlex.split(piece.split(";")[0].split(": ")[0].rstrip(".),"))
            taken = [words[0].rstrip(",;")]
            if len(words) > 2 and words[1] == "--step":
                taken += ["--step", words[2].rstrip(",;.)")]
            found.append(["train", "--resume", *taken])
    return found
