"""Tokens per second of a training step: `lmhead train` against transformers.Trainer and a plain loop, at the same loss.

    python -m benchmarks.training                  a table, and JSON in benchmarks/results/training.json
    python -m benchmarks.training --quick          a tiny model and few steps: does it run?

Everybody trains a Llama of one size from the same weights on the same rows: those that `lmhead train` cuts from its
default text, with the same targets (none across documents), so the losses have to agree. Everybody's AdamW has the same
constant rates and clips at norm 1. What is timed is each loop's whole step: its batch, forward, backward, clipping,
update, bookkeeping. Each round takes some steps of each in turn; a turn's first step is not counted.

Two rows are not of that comparison: Muon instead of AdamW, and the model that `lmhead train` makes by default, with its
optimiser, at the same width, depth and vocabulary.
"""

import argparse
import copy
import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor

from benchmarks.harness import Report, Timings, cpu_seconds_of_others
from lmhead.evaluation.held_out.evaluate import Evaluation
from lmhead.models.config import GPTConfig
from lmhead.models.gpt import GPT
from lmhead.models.transformers.formats.hf_format import to_hugging_face
from lmhead.training.config.optimizer_config import OptimizerConfig
from lmhead.training.config.train_config import TrainConfig, default_model
from lmhead.training.loop import Trainer
from lmhead.training.reporter import StepRecord
from lmhead.training.run.run_folder import RunFolder
from lmhead.training.setup import Ready, prepare

Precision = Literal["float32", "bfloat16"]
_RATE, _BETAS, _EPS, _CLIP = 1e-3, (0.9, 0.95), 1e-10, 1.0
_OURS = "lmhead train, {}, AdamW"
_TRAINER = "transformers.Trainer, {}"
_PLAIN = "plain loop, bfloat16 autocast, all logits"
_MUON = "lmhead train, bfloat16, Muon"
_DEFAULT = "lmhead train, bfloat16, its default model and optimiser"
_NEVER = 10**9  # steps: later than any of these runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The sizes that all share."""

    model: GPTConfig  # a Llama
    rows: int = 16  # a step
    warm_up: int = 3  # steps of each before the first round
    rounds: int = 5
    steps: int = 8  # of each in a round; the first of them is not counted

    @property
    def tokens(self) -> int:
        """Inputs in a step."""
        return self.rows * self.model.max_seq_len

    @property
    def total_steps(self) -> int:
        """Steps that each takes, in all."""
        return self.warm_up + self.rounds * self.steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Somebody who trains: `take(n)` takes n more steps and gives the seconds of each."""

    name: str
    take: Callable[[int], list[float]]
    losses: list[float]  # nats per scored token, of each step so far


def llama(*, vocab_size: int = 4096, embed_dim: int = 256, num_layers: int = 4, max_seq_len: int = 256) -> GPTConfig:
    """The config of a stock Llama."""
    return GPTConfig(
        vocab_size=vocab_size,
        embed_dim=embed_dim,
        num_heads=4,
        num_layers=num_layers,
        max_seq_len=max_seq_len,
        tie_weights=False,
    )


def adamw() -> OptimizerConfig:
    """AdamW with one constant rate, as the peers' here."""
    return OptimizerConfig(
        name="adamw",
        matrix_rate=_RATE,
        embedding_rate=_RATE,
        head_rate=_RATE,
        vector_rate=_RATE,
        weight_decay=0.0,
        beta1=_BETAS[0],
        beta2=_BETAS[1],
        warmup_steps=1,
        decay_share=0.0,
        clip=_CLIP,
    )


def compare(setting: Setting, folder: Path) -> tuple[Timings, dict[str, list[float]]]:
    """(Each one's median seconds a step in each round, each one's loss at every step)."""
    # Muon and the default model start as the default model does: its rates are made for that.
    zeros = dataclasses.replace(setting.model, embedding_std=1.0, zero_init_projections=True, zero_init_head=True)
    base = TrainConfig(
        steps=_NEVER, rows=setting.rows, model=setting.model, optimizer=adamw(), precision="float32", device="cpu"
    )
    ready = prepare(base, RunFolder.create(folder / "run"), lambda line: print(line, file=sys.stderr))
    batches = [_batch(ready, setting.rows, number) for number in range(setting.total_steps)]
    sizes = dataclasses.replace(
        default_model(),
        vocab_size=setting.model.vocab_size,
        embed_dim=setting.model.embed_dim,
        num_layers=setting.model.num_layers,
        max_seq_len=setting.model.max_seq_len,
    )
    gpt = ready.model
    assert isinstance(gpt, GPT)
    bf16 = dataclasses.replace(base, precision="bfloat16")
    default = OptimizerConfig(decay_share=0.0)

    def ours(name: str, config: TrainConfig, model: GPT) -> Peer:
        return _ours(name, config, ready, model, folder / f"run {len(peers)}")

    peers: list[Peer] = []
    peers.append(ours(_OURS.format("bfloat16"), bf16, copy.deepcopy(gpt)))
    peers.append(_through_trainer("float32", gpt, batches, folder))
    peers.append(ours(_MUON, dataclasses.replace(bf16, optimizer=default, model=zeros), GPT.from_config(zeros)))
    peers.append(_through_trainer("bfloat16", gpt, batches, folder))
    peers.append(ours(_DEFAULT, dataclasses.replace(bf16, optimizer=default, model=sizes), GPT.from_config(sizes)))
    peers.append(_plain_loop(gpt, batches))
    peers.append(ours(_OURS.format("float32"), base, copy.deepcopy(gpt)))
    timings = _interleave(peers, setting)
    return timings, {peer.name: peer.losses for peer in peers}


def _interleave(peers: list[Peer], setting: Setting) -> Timings:
    """As harness.interleave, but in each turn some steps are taken, and the median step counts; no turn is repeated."""
    for peer in peers:
        peer.take(setting.warm_up)
    seconds: dict[str, list[float | None]] = {peer.name: [] for peer in peers}
    disturbed: dict[str, list[float | None]] = {peer.name: [] for peer in peers}
    for number in range(setting.rounds):
        turn = number % len(peers)
        for peer in [*peers[turn:], *peers[:turn]]:
            others, start = cpu_seconds_of_others(), time.perf_counter()
            seconds[peer.name].append(statistics.median(peer.take(setting.steps)[1:]))
            available = (time.perf_counter() - start) * (os.cpu_count() or 1)
            disturbed[peer.name].append((cpu_seconds_of_others() - others) / available)
        print(f"round {number + 1} of {setting.rounds}", file=sys.stderr, flush=True)
    return Timings(seconds=seconds, disturbed=disturbed)


def _batch(ready: Ready, rows: int, number: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets [rows, T] of a step, as lmhead.training.loop makes them."""
    batch = ready.rows.take(number * rows, rows)
    return batch.ids.contiguous(), batch.targets.ids.contiguous()


@dataclass(frozen=True, slots=True)
class _Listener:
    """A Reporter that keeps the losses."""

    losses: list[float] = field(default_factory=list)

    def step(self, record: StepRecord) -> None:
        self.losses.append(record.loss)

    def evaluating(self, step: int, done: int, total: int) -> None: ...
    def evaluation(self, step: int, result: Evaluation) -> None: ...
    def sample(self, step: int, text: str) -> None: ...
    def saved(self, step: int, folder: str) -> None: ...


def _ours(name: str, config: TrainConfig, ready: Ready, model: GPT, folder: Path) -> Peer:
    listener, run = _Listener(), RunFolder.create(folder)
    run.write_config(config)
    dtype = torch.float32 if config.precision == "float32" else torch.bfloat16
    trainer = Trainer(run, config, dataclasses.replace(ready, model=model, dtype=dtype), listener, time.perf_counter())
    return Peer(name=name, take=lambda count: [_seconds(trainer._step) for _ in range(count)], losses=listener.losses)


def _stock(model: GPT) -> transformers.LlamaForCausalLM:
    """transformers' own Llama with the weights of `model`."""
    tensors, config = to_hugging_face(model)
    stock = transformers.LlamaForCausalLM(transformers.LlamaConfig(**config))
    stock.load_state_dict(tensors)
    return stock


class _Clock(transformers.TrainerCallback):
    """Notes when each step has ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_begin(self, *_: object, **__: object) -> None:
        self.ends = [time.perf_counter()]

    def on_step_end(self, *_: object, **__: object) -> None:
        self.ends.append(time.perf_counter())


def _through_trainer(precision: Precision, model: GPT, batches: list[tuple[Tensor, Tensor]], folder: Path) -> Peer:
    """Each turn is one call of `train()`; model and optimiser go on, the data go on, saving and logging are off."""
    arguments = transformers.TrainingArguments(
        output_dir=str(folder / "trainer"),
        per_device_train_batch_size=len(batches[0][0]),
        max_steps=1,
        learning_rate=_RATE,
        lr_scheduler_type="constant",
        adam_beta1=_BETAS[0],
        adam_beta2=_BETAS[1],
        adam_epsilon=_EPS,
        weight_decay=0.0,
        max_grad_norm=_CLIP,
        bf16=precision == "bfloat16",
        use_cpu=True,
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    stock, clock, losses = _stock(model), _Clock(), list[float]()
    stock.register_forward_hook(lambda module, inputs, output: losses.append(float(output.loss.detach())))
    trainer = transformers.Trainer(model=stock, args=arguments, callbacks=[clock])
    trainer.remove_callback(transformers.PrinterCallback)

    def take(count: int) -> list[float]:
        ahead = batches[len(losses) : len(losses) + count]
        trainer.train_dataset = [  # `shift_labels`: targets that are shifted already; `labels` asks for a loss
            {"input_ids": ids, "labels": targets, "shift_labels": targets}
            for batch in ahead
            for ids, targets in zip(*batch, strict=True)
        ]
        trainer.args.max_steps = count
        trainer.train()
        return [after - before for before, after in zip(clock.ends, clock.ends[1:], strict=False)]

    return Peer(name=_TRAINER.format(precision), take=take, losses=losses)


def _plain_loop(model: GPT, batches: list[tuple[Tensor, Tensor]]) -> Peer:
    stock, losses = _stock(model).train(), list[float]()
    optimizer = torch.optim.AdamW(stock.parameters(), lr=_RATE, betas=_BETAS, eps=_EPS, weight_decay=0.0, fused=True)

    def step() -> None:
        ids, targets = batches[len(losses)]
        with torch.autocast("cpu", torch.bfloat16):
            logits = stock(ids, use_cache=False).logits
        loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(stock.parameters(), _CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(float(loss.detach()))

    return Peer(name=_PLAIN, take=lambda count: [_seconds(step) for _ in range(count)], losses=losses)


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def report(setting: Setting, timings: Timings, losses: dict[str, list[float]], *, quick: bool) -> Report:
    """The table, and the goals of the full sizes."""
    model, ours = setting.model, _OURS.format("bfloat16")
    result = Report(
        name="training",
        title=(
            f"a training step, V {model.vocab_size}, D {model.embed_dim}, {model.num_layers} layers, "
            f"{setting.rows} x {model.max_seq_len} tokens"
        ),
        columns=(
            "",
            "tokens/s",
            "ms a step",
            "lmhead train, AdamW, is faster by",
            f"loss, steps {setting.total_steps - setting.steps + 1} to {setting.total_steps}",
            "largest difference of a step's loss",
        ),
    )
    exact = losses[_TRAINER.format("float32")]
    same = {name for name in losses if name not in (_MUON, _DEFAULT)}
    for name, curve in losses.items():
        apart = max(abs(one - other) for one, other in zip(curve, exact, strict=True))
        median = timings.median(name)
        result.rows.append(
            (
                name,
                f"{setting.tokens / median:,.0f}",
                f"{1e3 * median:.0f}",
                "" if name == ours else f"{timings.ratio(name, ours):.2f}",
                f"{statistics.mean(curve[-setting.steps :]):.3f}",
                f"{apart:.4f}" if name in same else "another recipe",
            )
        )
    result.measured = {
        "tokens_a_step": setting.tokens,
        "setting": dataclasses.asdict(setting),
        "seconds_a_step": timings.seconds,
        "disturbed": timings.disturbed,
        "losses": losses,
        "uncommitted": _uncommitted(),
    }
    result.notes.append(
        f"Other processes took {_typical(timings.disturbed):.0%} of the cores' time in the median turn, "
        f"{timings.most_disturbed():.0%} in the worst."
    )
    if quick:
        return result
    faster = min((_TRAINER.format("float32"), _TRAINER.format("bfloat16")), key=timings.median)
    result.goal(f"speed against: {faster}", timings.ratio(faster, ours), at_least=2.0)
    result.goal(f"speed against: {_PLAIN}", timings.ratio(_PLAIN, ours), at_least=1.0)
    difference = abs(statistics.mean(losses[ours][-setting.steps :]) - statistics.mean(exact[-setting.steps :]))
    result.goal("loss apart from transformers.Trainer's in float32, nats", difference, at_most=0.02)
    return result


def _typical(shares: dict[str, list[float | None]]) -> float:
    return statistics.median(share for turns in shares.values() for share in turns if share is not None)


def _uncommitted() -> list[str]:
    """Files of the library that differ from the commit in the report."""
    root = Path(__file__).parent.parent
    command = ["git", "status", "--porcelain", "--", "src/lmhead"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    return [line[3:] for line in done.stdout.splitlines()]


def main() -> None:
    """Parse the command line, run, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8, help="of each in a round, at least 2: the first is not counted")
    parser.add_argument("--quick", action="store_true", help="a tiny model, two rounds of three steps, nothing saved")
    parser.add_argument("--json", type=Path, metavar="FILE", help="instead of benchmarks/results/training.json")
    arguments = parser.parse_args()
    if arguments.steps < 2 or arguments.rounds < 1:
        parser.error("--steps must be >= 2 and --rounds >= 1")
    setting = Setting(model=llama(), rounds=arguments.rounds, steps=arguments.steps)
    if arguments.quick:
        tiny = llama(vocab_size=512, embed_dim=64, num_layers=2, max_seq_len=64)
        setting = Setting(model=tiny, rows=4, warm_up=1, rounds=2, steps=3)
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    with tempfile.TemporaryDirectory() as folder:
        timings, losses = compare(setting, Path(folder))
    result = report(setting, timings, losses, quick=arguments.quick)
    print(result.table(), flush=True)
    if not arguments.quick or arguments.json:
        print(f"\n{result.save(arguments.json)}")


if __name__ == "__main__":
    main()
