"""A plain PyTorch loop around a model of one's own: python examples/plain_loop.py [--file book.txt] [--steps 200]

Any module that makes hidden states [B, T, D] will do; here it is a GRU that reads bytes. What is lmhead's is the head:
`head.loss(hidden, labels=ids)` shifts the labels, and gives the mean loss without ever making the logits [B, T, V].
Without `--file` the text is Python's own help, and the whole run takes some seconds on a CPU.
"""

import argparse
import math
from pathlib import Path
from pydoc_data.topics import topics

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import lmhead

V, WIDTH, ROWS, LENGTH = 256, 128, 16, 64  # bytes; of the hidden states; of a batch; bytes of a row


class Model(nn.Module):
    """A model of one's own: bytes in, hidden states out, and lmhead's head behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, WIDTH)
        self.body = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.head = lmhead.LanguageModelingHead(WIDTH, V)

    def hidden(self, ids: Tensor) -> Tensor:
        """[B, T] -> [B, T, D]."""
        hidden: Tensor = self.body(self.embedding(ids))[0]
        return hidden


def read(file: Path | None) -> tuple[Tensor, Tensor]:
    """(what is trained on, what is held out) as bytes: the first tenth is held out."""
    text = file.read_bytes() if file else "\n\n".join(topics.values()).encode()
    ids = torch.tensor(list(text))
    border = len(ids) // 10
    return ids[border:], ids[:border]


def draw(ids: Tensor) -> Tensor:
    """[B, T]: rows of the text, from anywhere in it."""
    starts = torch.randint(len(ids) - LENGTH + 1, (ROWS, 1))
    return ids[starts + torch.arange(LENGTH)]


def full_logits_loss(model: Model, rows: Tensor) -> Tensor:
    """The same loss as everybody writes it: all logits, the shift as two slices, cross entropy."""
    logits = model.head(model.hidden(rows))
    return F.cross_entropy(logits[:, :-1].reshape(-1, V), rows[:, 1:].reshape(-1))


@torch.no_grad()
def bits_per_byte(model: Model, ids: Tensor) -> float:
    """Over all rows of a text end to end; the first byte of each has nothing before it and is not scored."""
    rows = ids[: len(ids) // LENGTH * LENGTH].view(-1, LENGTH)
    parts = torch.split(rows, 64)
    nats = sum(float(model.head.loss(model.hidden(part), labels=part, reduction="sum")) for part in parts)
    return nats / math.log(2) / rows[:, 1:].numel()


def main() -> None:
    """Train, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path, help="a text of your own")
    parser.add_argument("--steps", type=int, default=200, help="of training, at least one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    if given.steps < 1:
        parser.error(f"--steps must be >= 1, got {given.steps}")
    torch.manual_seed(given.seed)
    trained, held_out = (part.to(given.device) for part in read(given.file))
    model = Model().to(given.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(1, given.steps + 1):
        rows = draw(trained)
        loss = model.head.loss(model.hidden(rows), labels=rows)  # the line
        if step == 1:
            other = full_logits_loss(model, rows).item()
            print(f"step 1: loss {loss.item():.4f} nats, by full logits {other:.4f}; log V is {math.log(V):.4f}")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0 or step == given.steps:
            print(f"step {step}: loss {loss.item():.4f} nats per byte")
    print(f"held out: {bits_per_byte(model, held_out):.3f} bits per byte over {len(held_out):,} bytes")


if __name__ == "__main__":
    main()
