"""Bits per byte of averaged weights against the weights themselves, by schedule, over several seeds.

    python -m benchmarks.averaging                          a table; some minutes on two cores
    python -m benchmarks.averaging --steps 20 --seeds 0     does it run?

A small decoder is trained on `lmhead train`'s default text. Averages do not change how it trains, so each run is judged
with its last weights and with their mean over the last 60, 30 and 10 % of its steps, all on the same held-out tokens.
`--average` is the first of these for the linear schedule, the second for a constant one (docs/training/training.md).
"""

import argparse
import copy
import dataclasses
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Literal

from lmhead.batches.contract import Part
from lmhead.batches.text import TextRows
from lmhead.evaluation.held_out.evaluate import Evaluation, evaluate_held_out
from lmhead.labels.packing.wrapped_rows import WrappedRows
from lmhead.models.config import GPTConfig
from lmhead.training.config.optimizer_config import OptimizerConfig
from lmhead.training.config.train_config import TrainConfig, default_model
from lmhead.training.loop import Trainer
from lmhead.training.reporter import StepRecord
from lmhead.training.run.run_folder import RunFolder
from lmhead.training.setup import Ready, prepare
from lmhead.training.weights.average import WeightAverage
from lmhead.training.weights.initial_weights import initial_model

Schedule = Literal["linear", "cosine", "constant"]
SCHEDULES: tuple[Schedule, ...] = ("linear", "cosine", "constant")
_SHARES = (0.6, 0.3, 0.1)
_JUDGED = Part(tokens=30_000)


def model() -> GPTConfig:
    """The default decoder, smaller."""
    return dataclasses.replace(
        default_model(), vocab_size=512, embed_dim=64, num_heads=1, num_layers=2, mlp_dim=256, max_seq_len=128
    )


class _Silent:
    """A Reporter that tells nothing."""

    def step(self, record: StepRecord) -> None: ...
    def evaluating(self, step: int, done: int, total: int) -> None: ...
    def evaluation(self, step: int, result: Evaluation) -> None: ...
    def sample(self, step: int, text: str) -> None: ...
    def saved(self, step: int, folder: str) -> None: ...


def judge(base: TrainConfig, ready: Ready, schedule: Schedule, seed: int, folder: Path) -> list[float]:
    """Bits per byte of the last weights, and of the mean over each share."""
    config = dataclasses.replace(base, seed=seed, optimizer=OptimizerConfig(schedule=schedule))
    assert isinstance(ready.rows, TextRows)
    rows = copy.copy(ready.rows)
    rows._rows = WrappedRows(rows.stream, length=config.model.max_seq_len, seed=seed)
    ready = dataclasses.replace(ready, config=config, rows=rows, model=initial_model(config, None, ()))
    trainer = Trainer(RunFolder.create(folder), config, ready, _Silent(), time.perf_counter())
    averages = {share: WeightAverage(ready.model) for share in _SHARES}
    assert config.steps is not None
    for step in range(config.steps):
        trainer._step()
        for share, average in averages.items():
            if step >= (1 - share) * config.steps:
                average.add(since=0)
    judged = partial(
        evaluate_held_out, ready.model, ready.held_out, part=_JUDGED, device=ready.device, dtype=ready.dtype
    )
    figures = [judged()]
    for average in averages.values():
        with average.in_place():
            figures.append(judged())
    return [figure.bits_per_byte for figure in figures if figure.bits_per_byte is not None]


def main() -> None:
    """Parse the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    base = TrainConfig(steps=arguments.steps, rows=8, model=model())
    found: dict[Schedule, list[list[float]]] = {schedule: [] for schedule in SCHEDULES}
    with tempfile.TemporaryDirectory() as folder:
        ready = prepare(base, RunFolder.create(Path(folder) / "data"), lambda line: print(line, file=sys.stderr))
        for seed in arguments.seeds:
            for schedule in SCHEDULES:
                figures = judge(base, ready, schedule, seed, Path(folder) / f"{schedule} {seed}")
                found[schedule].append(figures)
                print(seed, schedule, *(f"{figure:.4f}" for figure in figures), file=sys.stderr, flush=True)
    print("| schedule | last weights |" + "".join(f" mean of the last {share:.0%} |" for share in _SHARES))
    print("|---|---|" + "---|" * len(_SHARES))
    for schedule, runs in found.items():
        cells = (
            f"{statistics.mean(column):.4f} ({min(column):.4f} to {max(column):.4f})"
            for column in zip(*runs, strict=True)
        )
        print(f"| {schedule} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
