"""EvaluationMixin and StatisticsCallback over two ranks, against one: exits with 1 where a figure differs.

    python -m tests.nightly.trainer_ranks

Two processes on the CPU (gloo). 22 rows in batches of 3: each rank's last batch is filled up with rows of the first.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from tests.trainers.tiny import arguments, examples, llama
from transformers import Trainer

import lmhead

FIGURES = ("nll", "perplexity", "accuracy", "entropy", "tokens")


class EvaluatingTrainer(lmhead.EvaluationMixin, Trainer):
    """Evaluates exactly."""


def run(folder: Path, *, ranks: int) -> None:
    """A short run, its log in `folder`: as many rows a step on one rank as on two."""
    model = llama()
    with torch.no_grad():
        model.lm_head.weight *= 30
    lmhead.patch(model)
    data = lmhead.trainer_dataset(examples())
    trainer = EvaluatingTrainer(
        model=model,
        args=arguments(
            folder,
            max_steps=2,  # of a third, two ranks would read rows twice
            gradient_accumulation_steps=4 // ranks,
            per_device_eval_batch_size=3,
            learning_rate=0.01,
            train_sampling_strategy="sequential",
            **({"ddp_backend": "gloo"} if ranks > 1 else {}),
        ),
        train_dataset=data,
        eval_dataset=data,
        data_collator=lmhead.PaddedCollator(),
        callbacks=[lmhead.StatisticsCallback()],
    )
    trainer.train()
    trainer.evaluate()


def records(folder: Path) -> list[dict[str, float]]:
    """What was logged."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def differences(one: Path, two: Path) -> list[str]:
    """A line for each figure that differs."""
    pairs = list(zip(records(one), records(two), strict=True))
    names = ("step", "loss", "grad_norm", "rate", *FIGURES)
    return [
        f"step {left['step']}: {name} is {left[name]} on one rank, {right[name]} on two"
        for left, right in pairs
        for name in names
        if name in left and abs(left[name] - right[name]) > 1e-4 * abs(left[name])
    ]


def main() -> int:
    """0 where all figures are equal."""
    with tempfile.TemporaryDirectory() as folder:
        one, two = Path(folder, "one"), Path(folder, "two")
        run(one, ranks=1)
        launch = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--nproc-per-node",
            "2",
            "-m",
            "tests.nightly.trainer_ranks",
        ]
        subprocess.run([*launch, str(two)], check=True)
        found = differences(one, two)
        print("\n".join(found) or f"{len(records(one))} records equal over one rank and two")
    return bool(found)


if __name__ == "__main__":
    if sys.argv[1:]:
        run(Path(sys.argv[1]), ranks=2)
    else:
        sys.exit(main())
