"""Conversations and flags for tests of training on them."""

import json
import random
from pathlib import Path

from examples.make_chat import conversation, questions

TINY = [
    *("--embed-dim", "32", "--num-heads", "2", "--num-layers", "1", "--max-seq-len", "160", "--rows", "2"),
    *("--eval-every", "1000", "--sample-every", "1000", "--save-every", "1000", "--precision", "float32"),
]


def write_chat(file: Path, count: int = 40, *, seed: int = 0, extra: tuple[dict[str, object], ...] = ()) -> Path:
    """A file of conversations, and `extra` rows at its end."""
    draw, asked = random.Random(seed), questions()
    rows = [{"messages": conversation(draw, asked)} for _ in range(count)]
    file.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *extra]), encoding="utf-8")
    return file


def train_words(data: Path, out: Path, *flags: str) -> list[str]:
    """The command that trains a tiny model from scratch on conversations."""
    return ["train", "--data", str(data), "--out", str(out), "--vocab-size", "300", *TINY, *flags]
