"""StatisticsCallback: accuracy, entropy and the exact loss of training, and the record that a run's report reads.

Nothing of it waits for the device while a window of micro-batches runs: sums stay where they are made, and are read
when Trainer logs, which waits anyway.
"""

import json
import time
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from lmhead.errors import ArgumentError, InputError
from lmhead.losses.token_mean import TokenMean
from lmhead.ops.problem import TokenStatistics
from lmhead.record.header import header
from lmhead.trainers.taken_statistics import patch_of, taken_statistics
from lmhead.training.environment import environment
from lmhead.training.run.files import free_name
from lmhead.training.run.log import LOG_FILE, Record, RunLog

_PLACES = ("output_dir", "logging_dir")
_EVALUATED = ("bits_per_byte", "nll", "perplexity", "accuracy", "entropy", "tokens", "bytes")


class StatisticsCallback:
    """A TrainerCallback that logs what a patched model's loss knows, and writes `log.jsonl` as `lmhead train` does.

        Trainer(model=model, ..., callbacks=[lmhead.StatisticsCallback()])

    To Trainer's logs it adds, over the scored tokens of all steps since the last ones and over all ranks: `nll` (nats
    per token: a mean over tokens, not over steps), `accuracy`, `entropy`, and `tokens`, how many were scored so far.
    log.jsonl begins with a header: the arguments, the environment and the model. It gets a record for each step: step,
    loss (its nll), accuracy, entropy, rate, tokens, seconds, and grad_norm where Trainer logs it; and one for each
    evaluation by EvaluationMixin.

    Args:
        folder: of log.jsonl; None: the trainer's output_dir. A resumed run goes on in it; an older run's is set aside.

    Raises:
        ArgumentError: when training begins: the model is not patched, or label smoothing or Liger's fused loss would go
            past the patch. At the first batch whose loss has gone past it.
    """

    def __new__(cls, folder: str | Path | None = None) -> Self:
        """Of a class that is transformers' TrainerCallback too, which is not imported before one is made."""
        try:
            from transformers import TrainerCallback
        except ImportError:
            raise InputError('StatisticsCallback needs transformers: pip install "lmhead[hf]"') from None
        made = cls if issubclass(cls, TrainerCallback) else type(cls.__name__, (cls, TrainerCallback), {})
        callback: Self = object.__new__(made)
        return callback

    def __init__(self, folder: str | Path | None = None) -> None:
        self._folder = folder
        self._log: RunLog | None = None  # of the first rank
        self._world = 1
        self._began = 0.0  # time.perf_counter() of step 0, as if a resumed run had not been stopped
        self._tokens = 0
        self._rate = 0.0
        self._window: Tensor | None = None  # [4], of the micro-batches since the last step
        self._steps: list[tuple[int, float, float, Tensor]] = []  # step, rate, seconds, sums [4]: not read yet
        self._forget()

    def on_train_begin(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:
        """Refuse what goes past the patch; open the log.

        Raises:
            ArgumentError: the model is not patched, or another loss would go past the patch.
        """
        _refuse_other_losses(args)
        patch_of(model)
        self._world = args.world_size
        self._window, self._steps, self._tokens, seconds = None, [], 0, 0.0
        self._forget()
        if state.is_world_process_zero:
            folder = Path(args.output_dir if self._folder is None else self._folder)
            folder.mkdir(parents=True, exist_ok=True)
            self._log = RunLog(folder / LOG_FILE)
            self._tokens, seconds = _go_on(self._log, state.global_step)
            self._log.head(_header(args, model), step=state.global_step)
        self._began = time.perf_counter() - seconds

    def on_substep_end(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:
        """A micro-batch that no step follows."""
        self._add(model)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, *, optimizer: Any, **_: Any) -> None:
        """The schedule's factor of this step."""
        group = optimizer.param_groups[0]
        whole = group.get("initial_lr", args.learning_rate)
        self._rate = float(group["lr"] / whole) if whole else 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:
        """The last micro-batch of a step."""
        self._add(model)
        assert self._window is not None
        self._steps.append((state.global_step, self._rate, time.perf_counter() - self._began, self._window))
        self._window = None

    def on_log(self, args: Any, state: Any, control: Any, *, logs: dict[str, Any], **_: Any) -> None:
        """Add to logs and history; reporters that come before this one have to be told by EvaluationMixin."""
        if self.add_to(logs) and state.log_history and state.log_history[-1]["step"] == state.global_step:
            state.log_history[-1].update({name: logs[name] for name in ("nll", "accuracy", "entropy", "tokens")})

    def on_evaluate(self, args: Any, state: Any, control: Any, *, metrics: dict[str, Any], **_: Any) -> None:
        """A record of an evaluation over tokens."""
        self._read(grad_norm=None)
        for name in [name for name in metrics if name.endswith("_nll")]:
            prefix = name.removesuffix("_nll")
            record = {each: metrics.get(f"{prefix}_{each}") for each in _EVALUATED}
            of = {} if prefix == "eval" else {"set": prefix.removeprefix("eval_")}
            begin = f"{prefix}_nll/"
            sources = {
                name.removeprefix(begin): (metrics[name], metrics[f"{prefix}_tokens/{name.removeprefix(begin)}"])
                for name in metrics
                if name.startswith(begin)
            }
            told = {"classes": {"source": sources}} if sources else {}
            self._write({"step": state.global_step, "evaluation": "full", **record, **of, **told})

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A checkpoint never outlives the log of its steps."""
        self._read(grad_norm=None)
        if self._log is not None:
            self._log.sync()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write what is left."""
        self._read(grad_norm=None)

    def add_to(self, logs: dict[str, Any]) -> bool:
        """Put the figures since the last logs into logs of a training's steps; whether there are any."""
        if "loss" not in logs:
            return False
        self._read(grad_norm=logs.get("grad_norm"))
        if not self._nll.weight:
            return False
        logs["nll"], logs["tokens"] = self._nll.mean, self._tokens
        logs["accuracy"], logs["entropy"] = self._hits.mean, self._entropy.mean
        self._forget()
        return True

    def _add(self, model: Any) -> None:
        sums = _sums(taken_statistics(model))
        self._window = sums if self._window is None else self._window + sums

    def _read(self, *, grad_norm: float | None) -> None:
        """Bring the sums of all steps up to now to the host: the one wait. All ranks come here together."""
        if not self._steps:
            return
        sums = torch.stack([each for *_, each in self._steps])  # [S, 4]
        if self._world > 1:
            torch.distributed.all_reduce(sums)
        last = self._steps[-1][0]
        for (step, rate, seconds, _), row in zip(self._steps, sums.tolist(), strict=True):
            self._record(step, rate, seconds, row, grad_norm if step == last else None)
        self._steps = []

    def _record(self, step: int, rate: float, seconds: float, sums: list[float], grad_norm: float | None) -> None:
        nll, entropy, hits, scored = sums
        self._tokens += int(scored)
        for mean, total in ((self._nll, nll), (self._entropy, entropy), (self._hits, hits)):
            mean.add(total, scored)
        if not scored:
            return
        known = {} if grad_norm is None else {"grad_norm": float(grad_norm)}
        self._write(
            {
                "step": step,
                "loss": nll / scored,
                **known,
                "rate": rate,
                "tokens": self._tokens,
                "seconds": round(seconds, 3),
                "accuracy": hits / scored,
                "entropy": entropy / scored,
            }
        )

    def _write(self, record: Record) -> None:
        if self._log is not None:
            self._log.append(record)

    def _forget(self) -> None:
        """Begin anew what goes into Trainer's logs."""
        self._nll, self._entropy, self._hits = TokenMean(), TokenMean(), TokenMean()


def _sums(statistics: TokenStatistics) -> Tensor:
    """[4]: nll, entropy, hits and scored tokens, on their device, in float64 where that has it."""
    wide = torch.float32 if statistics.nll.device.type == "mps" else torch.float64
    columns = (statistics.nll, statistics.entropy, statistics.hit, statistics.scored)
    return torch.stack([column.to(wide).sum() for column in columns])


def _go_on(log: RunLog, step: int) -> tuple[int, float]:
    """Tokens and seconds up to `step`, where the log goes on; before a run that begins, an older log is set aside."""
    if not step:
        if log.file.is_file():
            log.file.rename(free_name(log.file))
        return 0, 0.0
    log.rewind(step)
    records = [record for record in log.records() if "loss" in record]
    return (records[-1]["tokens"], records[-1]["seconds"]) if records else (0, 0.0)


def _header(args: Any, model: Any) -> Record:
    """What the log tells of the run; where it lies is not in it, and secrets are hidden by transformers.

    Arguments may be anything: what JSON has no word for is told as text.
    """
    said = {name: value for name, value in args.to_dict().items() if name not in _PLACES}
    config = json.loads(json.dumps(said, default=str, skipkeys=True))
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return header(
        started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        config=config,
        model={
            "name": str(getattr(getattr(model, "config", None), "name_or_path", "")) or type(model).__name__,
            "parameters": sum(size for size, _ in sizes),
            "trained": sum(size for size, trained in sizes if trained),
        },
        environment=environment(args.device, torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else None),
    )


def _refuse_other_losses(args: Any) -> None:
    """Refuse arguments by which Trainer's loss goes past the patch.

    Raises:
        ArgumentError: names the first one.
    """
    if args.label_smoothing_factor:
        raise ArgumentError(
            f"label_smoothing_factor must be 0, got {args.label_smoothing_factor}: Trainer then smooths logits by "
            "itself and gives the patched model no labels, so nothing is saved and nothing known of the loss"
        )
    fused = "fused_linear_cross_entropy"
    if getattr(args, "use_liger_kernel", False) and (args.liger_kernel_config or {}).get(fused, True):
        raise ArgumentError(
            f"use_liger_kernel must be without its fused loss, got one that replaces the patched forward: "
            f'liger_kernel_config={{"{fused}": False}} keeps its other kernels'
        )
