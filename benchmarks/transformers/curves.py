"""Losses of 200 training steps, patched against stock, beside how far stock is from itself in another order of sums.

The third run is stock with everything that is no question of mathematics changed: another number of threads, and
the batch's rows in reversed order, so that sums over them are taken in another one. Whatever it differs by, a loss
computed in another order may differ by too.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import lmhead
from benchmarks.harness import Report, progress
from benchmarks.transformers.models import Batch, Size, build
from benchmarks.transformers.programs import versions

STEPS = 200
_RATE = 1e-3
_BANDS = (1, 50, 200)  # steps up to which the largest difference is told


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """Loss of each step."""

    stock: list[float]
    patched: list[float]
    reordered: list[float]  # stock again, sums in another order

    def apart(self, steps: int) -> tuple[float, float]:
        """Largest difference from stock in the first steps: (patched, stock reordered), nats."""
        return (
            max(abs(a - b) for a, b in zip(self.patched[:steps], self.stock[:steps], strict=True)),
            max(abs(a - b) for a, b in zip(self.reordered[:steps], self.stock[:steps], strict=True)),
        )


def _size(family: str) -> Size:
    return Size(family=family, D=64, layers=2, V=1024, rows=4, length=64)


MODELS: dict[str, tuple[Size, dict[str, Any]]] = {
    "Llama": (_size("llama"), {}),
    "Gemma 2": (_size("gemma2"), {"final_logit_softcapping": 5.0}),  # so that the cap is felt
    "Qwen 3": (_size("qwen3"), {}),
    "GPT-2": (_size("gpt2"), {}),
    "Mixtral, its router's loss": (_size("mixtral"), {"output_router_logits": True, "router_aux_loss_coef": 0.02}),
}


def measure(*, quick: bool) -> Report:
    """The largest differences, by model."""
    steps = 5 if quick else STEPS
    bands = [band for band in _BANDS if band <= steps]
    report = Report(
        name="transformers_curves",
        title=f"losses of {steps} steps: largest difference from stock, nats",
        columns=(
            "model",
            "first loss",
            "last loss",
            *(f"patched, to step {band}" for band in bands),
            *(f"stock reordered, to step {band}" for band in bands),
        ),
    )
    worst = 0.0
    for name, (size, options) in MODELS.items():
        progress(f"curves: {name}")
        found = curves(size, options, steps)
        ours, own = zip(*(found.apart(band) for band in bands), strict=True)
        first, last = f"{found.stock[0]:.4f}", f"{found.stock[-1]:.4f}"
        report.rows.append((name, first, last, *(f"{each:.0e}" for each in (*ours, *own))))
        report.measured[name] = {"stock": found.stock, "patched": found.patched, "reordered": found.reordered}
        patched, reordered = found.apart(steps)
        worst = max(worst, patched / max(reordered, 1e-6))
    report.measured["versions"] = versions()
    if not quick:
        report.goal("patched's largest difference by stock's from itself, the worst model", worst, at_most=2.0)
    return report


def curves(size: Size, options: dict[str, Any], steps: int) -> Curves:
    """The losses of one model trained three times from the same weights on the same batches."""
    stock, patched = stock_and_patched(size, options, steps)
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if threads > 1 else 2)
    try:
        turned = [{name: ids.flip(0) for name, ids in batch.items()} for batch in _batches(size, steps)]
        return Curves(stock=stock, patched=patched, reordered=_train(build(size, **options), turned))
    finally:
        torch.set_num_threads(threads)


def stock_and_patched(size: Size, options: dict[str, Any], steps: int) -> tuple[list[float], list[float]]:
    """The losses of both, from the same weights on the same batches."""
    batches = _batches(size, steps)
    stock = _train(build(size, **options), batches)
    model = build(size, **options)
    lmhead.patch(model)
    return stock, _train(model, batches)


def _batches(size: Size, steps: int) -> list[Batch]:
    return [_batch(size, step) for step in range(steps)]


def _batch(size: Size, step: int) -> Batch:
    """Ids of a language to be learnt: what follows a token is one of four; a quarter of the labels is ignored."""
    table = torch.randint(size.V, (size.V, 4), generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(1000 + step)
    ids = torch.randint(64, (size.rows, 1), generator=generator)
    for _ in range(size.length - 1):
        choice = torch.randint(4, (size.rows,), generator=generator)
        ids = torch.cat([ids, table[ids[:, -1], choice][:, None]], 1)
    ignored = torch.rand(ids.shape, generator=generator) < 0.25
    return {"input_ids": ids, "labels": ids.masked_fill(ignored, -100)}


def _train(model: Any, batches: list[Batch]) -> list[float]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE)
    losses: list[float] = []
    for batch in batches:
        loss: Tensor = model(**batch).loss
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses
