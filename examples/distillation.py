"""Distillation: a small model learns what a larger one expects: python examples/distillation.py [--file book.txt]

`lmhead.linear_divergence` takes the hidden states and the heads of both, which may be of different widths, and makes
the logits of neither. A teacher is trained on bytes first; then a student of a fifth of its size learns from it, at
every position of the same text, the whole distribution of what comes next. For models of transformers: hidden states
are `model.base_model(ids).last_hidden_state`, the weight is `model.get_output_embeddings().weight`, a cap on the logits
(Gemma 2) is `softcap=`, and the vocabularies are the same. Beside a loss of hard targets a `temperature=` T needs the
factor T^2, which is not in the divergence (docs/loss/distillation.md).
"""

import argparse
from pathlib import Path
from pydoc_data.topics import topics
from typing import Literal, get_args

import torch
from torch import Tensor

import lmhead

V, ROWS, LENGTH = 256, 16, 32  # bytes; rows of a batch; bytes of a row
Kind = Literal["forward_kl", "reverse_kl", "jensen_shannon", "total_variation"]


def read(file: Path | None) -> Tensor:
    """The text as bytes."""
    return torch.tensor(list(file.read_bytes() if file else "\n\n".join(topics.values()).encode()))


def new_model(*, width: int, layers: int) -> lmhead.GPT:
    """A decoder that reads bytes, with heads of 16."""
    heads = width // 16
    config = lmhead.GPTConfig(vocab_size=V, embed_dim=width, num_heads=heads, num_layers=layers, max_seq_len=LENGTH)
    return lmhead.GPT.from_config(config)


def draw(ids: Tensor) -> Tensor:
    """[B, T]: rows of the text, from anywhere in it."""
    return ids[torch.randint(len(ids) - LENGTH + 1, (ROWS, 1)) + torch.arange(LENGTH)]


def divergence(student: lmhead.GPT, teacher: lmhead.GPT, rows: Tensor, kind: Kind = "forward_kl") -> Tensor:
    """Nats per position. Both predict from the same positions, so nothing is shifted."""
    with torch.no_grad():
        known = teacher.hidden(rows)
    return lmhead.linear_divergence(
        student.hidden(rows), student.lm_head.weight, known, teacher.lm_head.weight, kind=kind
    )


def train_teacher(teacher: lmhead.GPT, ids: Tensor, steps: int) -> float:
    """The loss of its last step, nats per byte."""
    optimizer = torch.optim.AdamW(teacher.parameters(), lr=3e-3)
    loss = torch.zeros(())
    for _ in range(steps):
        rows = draw(ids)
        loss = teacher.loss(rows, lmhead.Targets.from_labels(rows))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


def main() -> None:
    """Train a teacher, distil it, and compare on rows that nobody was trained on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path, help="a text of your own")
    parser.add_argument("--kind", choices=get_args(Kind), default="forward_kl")
    parser.add_argument("--steps", type=int, default=200, help="of the teacher, and again of the student")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    if given.steps < 1:
        parser.error(f"--steps must be >= 1, got {given.steps}")
    kind: Kind = given.kind
    torch.manual_seed(given.seed)
    ids = read(given.file).to(given.device)
    trained, held_out = ids[len(ids) // 10 :], ids[: len(ids) // 10]
    teacher, student = (new_model(width=w, layers=n).to(given.device) for w, n in ((64, 2), (32, 1)))
    sizes = [sum(parameter.numel() for parameter in model.parameters()) for model in (teacher, student)]
    print(f"teacher: {sizes[0]:,} parameters, loss {train_teacher(teacher, trained, given.steps):.3f} nats per byte")
    teacher.eval()
    rows = draw(held_out)
    before = divergence(student, teacher, rows, kind).item()
    optimizer = torch.optim.AdamW(student.parameters(), lr=3e-3)
    for _ in range(given.steps):
        loss = divergence(student, teacher, draw(trained), kind)  # the line
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = divergence(student, teacher, rows, kind).item()
    print(f"student: {sizes[1]:,} parameters, {kind} from the teacher {before:.3f} -> {after:.3f} nats, held out")


if __name__ == "__main__":
    main()
