"""What the training loss by source costs: a step's loss and gradient with it and without it, in turn.

    python -m benchmarks.losses_by_source            a table, and JSON in benchmarks/results/losses_by_source.json
    python -m benchmarks.losses_by_source --quick    a tiny model: does it run?

The step is the default model's on rows of texts end to end, several documents in each. What is measured is its forward
and backward: the optimizer's step, which is the same, would only hide the difference.
"""

import argparse
import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.harness import Case, Report, interleave
from lmhead.labels.packing.wrapped_rows import DocumentStream, WrappedRows
from lmhead.models.config import GPTConfig
from lmhead.models.gpt import GPT
from lmhead.training.config.train_config import default_model
from lmhead.training.step.loss_by_source import LossBySource
from lmhead.training.step.window import WindowCounts, backward

_CPU = torch.device("cpu")
_COUNTS = (2, 12, 100)  # of one source a run asks for nothing
_WITHOUT = "without"
_DOCUMENTS = 400
_MOST = 1.01  # of a step's time


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The sizes of a comparison."""

    model: GPTConfig
    rows: int = 16
    rounds: int = 15


def compare(setting: Setting) -> Report:
    """A step without sources, and with some."""
    torch.manual_seed(0)
    model, draw, dtype = GPT.from_config(setting.model), np.random.default_rng(0), torch.bfloat16
    lengths = draw.integers(20, 400, _DOCUMENTS).tolist()
    stream = DocumentStream.of([draw.integers(0, setting.model.vocab_size, length).tolist() for length in lengths])
    window = [WrappedRows(stream, length=setting.model.max_seq_len, seed=0).take(0, setting.rows)]

    def step(count: int) -> None:
        model.zero_grad()
        sums = LossBySource(draw.integers(0, count, _DOCUMENTS), count) if count else None
        counts = WindowCounts.of(window)
        backward(model.loss, window, counts, device=_CPU, dtype=dtype, label_smoothing=0.0, z_loss=0.0, sums=sums)

    taken = {_WITHOUT: 0, **{f"{count} sources": count for count in _COUNTS}}
    cases = [Case(name=name, run=partial(step, count)) for name, count in taken.items()]
    timings = interleave(cases, rounds=setting.rounds, label="a step: ")
    report = Report(
        name="losses_by_source", title="Training loss by source", columns=("", "seconds", "of the step's time")
    )
    for name in taken:
        ratio = timings.ratio(name, _WITHOUT)
        report.rows.append((name, f"{timings.median(name):.3f}", f"{ratio:.3f}"))
        report.measured[name] = {"seconds": timings.seconds[name], "ratio": ratio}
        if name != _WITHOUT:
            report.goal(name, ratio, at_most=_MOST)
    report.notes.append(f"{setting.rows} rows of {setting.model.max_seq_len} tokens, {dtype}. {timings.note()}")
    return report


def main() -> None:
    """Print the table, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, help="the JSON's path")
    given = parser.parse_args()
    setting = Setting(model=default_model())
    if given.quick:
        tiny = GPTConfig(vocab_size=300, embed_dim=32, num_heads=2, num_layers=1, max_seq_len=32)
        setting = Setting(model=tiny, rows=40, rounds=1)
    report = compare(setting)
    print(report.table())
    if given.out is not None or not given.quick:
        report.save(given.out)


if __name__ == "__main__":
    main()
