"""Trains a small run on one process or on several ranks; what its log says."""

import dataclasses
import json
import time
from pathlib import Path

from lmhead.models.config import GPTConfig
from lmhead.ranks.ranks import ALONE
from lmhead.training.config.optimizer_config import OptimizerConfig
from lmhead.training.config.train_config import TrainConfig
from lmhead.training.loop import Trainer
from lmhead.training.reporter import Reporter, Reporters, StepRecord
from lmhead.training.run.run_folder import RunFolder
from lmhead.training.setup import prepare


def tiny(data: Path, out: Path, **options: object) -> TrainConfig:
    """A run of some seconds: 12 steps of 2 x 6 rows."""
    style = options.pop("style", "modern")
    sizes = {"vocab_size": 280, "embed_dim": 32, "num_heads": 2, "num_layers": 2, "max_seq_len": 32}
    sizes |= {"mlp_dim": 64} if style == "modern" else {}
    model = GPTConfig(
        style=style,
        tie_weights=bool(options.pop("tied", False)),
        dropout=options.pop("dropout", 0.0),
        **sizes,
    )
    known = {
        "steps": 12, "rows": 6, "accumulate": 2, "device": "cpu", "precision": "float32", "save_every": 100,
        "eval_every": 6, "sample_every": 6, "model": model,
        "optimizer": OptimizerConfig(name=options.pop("name", "adamw"), warmup_steps=2),
    }  # fmt: skip
    config = TrainConfig(out=str(out), **{**known, **options})
    return dataclasses.replace(config, data=dataclasses.replace(config.data, paths=(str(data),))).resolved()


def trained(ranks, config: TrainConfig, *reporters: Reporter) -> list[dict]:
    """The records of the run's log."""
    path = Path(config.out)
    run = RunFolder(path)
    if ranks.first:
        run = RunFolder.create(path)
    ready = prepare(config, run, lambda line: None, ranks=ranks)
    trainer = Trainer(run, ready.config, ready, Reporters(*reporters), time.perf_counter())
    ranks.agreed(lambda: run.write_config(ready.config, fingerprint=ready.fingerprint()))
    trainer.train()
    run.lock.release()
    return [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()] if ranks.first else []


class Read:
    """A Reporter that keeps the tokens that were read by each step."""

    def __init__(self) -> None:
        self.tokens: list[int] = []

    def step(self, record: StepRecord) -> None:
        self.tokens.append(record.read)

    def evaluating(self, *_) -> None: ...

    evaluation = sample = saved = evaluating


def tokens_read(ranks, config: TrainConfig) -> list[int]:
    """So far, at each step; on rank 0."""
    reporter = Read()
    trained(ranks, config, reporter)
    return reporter.tokens


def trained_alone(config: TrainConfig) -> list[dict]:
    """By one process."""
    return trained(ALONE, config)


def words(count: int, seed: int = 0) -> str:
    """A text that a small model learns something of."""
    import random

    draw = random.Random(seed)
    stock = ["the", "a", "cat", "dog", "sat", "ran", "on", "mat", "hat", "and", "then", "slept"]
    return "\n\n".join(" ".join(draw.choice(stock) for _ in range(40)) + "." for _ in range(count))
