"""Small models that are trained, saved and taken up by any number of ranks, without data or a config."""

import dataclasses
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor
from torch.distributed.tensor import DTensor

from lmhead.data.tokenizer.run_tokenizer import RunTokenizer
from lmhead.data.tokenizer.text_ends import TextEnds
from lmhead.labels.targets import Targets
from lmhead.models.causal_lm import CausalLM
from lmhead.models.gpt import GPT
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.ranks.own_part import reshard
from lmhead.ranks.ranks import Ranks
from lmhead.ranks.sharding import Blueprint, shard, whole_state
from lmhead.training.checkpoint import Progress, restore_checkpoint, write_checkpoint
from lmhead.training.checkpoints.rank_checkpoints import RankCheckpoints
from lmhead.training.checkpoints.state_tensors import state_tensors
from lmhead.training.config.optimizer_config import OptimizerConfig
from lmhead.training.optimizers.optimizer import Optimizers
from lmhead.training.run.run_folder import RunFolder
from lmhead.training.weights.average import WeightAverage
from lmhead.training.weights.published_model import write_model

VOCABULARY, CONTEXT, ROWS = 31, 12, 4
TOKENIZER = RunTokenizer(
    backend=Tokenizer(WordLevel({str(number): number for number in range(VOCABULARY)}, unk_token="0")),
    ends=TextEnds(begin=(0,), end=0),
    bos_id=0,
    eos_ids=(0,),
)


@dataclass(frozen=True)
class Case:
    """A model and how it is trained."""

    name: str
    optimizer: str = "muon"
    tied: bool = False
    dtype: torch.dtype = torch.float32
    frozen: bool = False  # the first block
    modules: bool = False  # of multi-token prediction
    dropout: float = 0.0
    averaged: bool = True
    style: str = "modern"
    width: int = 10  # which 4 ranks do not divide


CASES = [
    Case("muon"),
    Case("adamw, tied", optimizer="adamw", tied=True, averaged=False),
    Case("muon, tied, with masters", tied=True, dtype=torch.bfloat16),
    Case("a frozen block", optimizer="adamw", frozen=True, averaged=False),
    Case("biases", style="course", width=9),
    Case("modules, with masters", modules=True, dtype=torch.bfloat16),
]


class Training:
    """A model, its optimisers and its average, from step to step."""

    def __init__(self, case: Case, ranks: Ranks, folder: Path) -> None:
        torch.manual_seed(3)
        model: CausalLM = GPT(
            VOCABULARY,
            case.width,
            1,
            2,
            style=case.style,
            max_seq_len=CONTEXT,
            tie_weights=case.tied,
            dropout=case.dropout,
        )
        if case.modules:
            model = MultiTokenModel.behind(model, depth=1)
        if case.frozen:
            model.model.layers[0].requires_grad_(False)
        self.ranks, self.model = ranks, model.to(case.dtype).train()
        self.blueprint = Blueprint.of(self.model)
        if ranks.size > 1:
            shard(self.model, ranks, dtype=torch.float32)
        self.optimizers = Optimizers(self.model, OptimizerConfig(name=case.optimizer, weight_decay=0.01))
        self.average = WeightAverage(self.model) if case.averaged else None
        self.progress = Progress(step=0, tokens=0, seconds=0.25, fingerprint="data")
        self.run = RunFolder(folder)
        self.checkpoints: RankCheckpoints | None = None

    def train(self, to: int, each: Callable[[], None] = lambda: None) -> None:
        """Batches depend on the step alone; a rank takes its rows of each."""
        for step in range(self.progress.step, to):
            generator = torch.Generator().manual_seed(step)
            rows = torch.randint(0, VOCABULARY, (ROWS, CONTEXT + 1), generator=generator)
            first, count = self.ranks.rows(0, ROWS)
            self._loss(rows[first : first + count]).backward()
            self.optimizers.step(0.5)
            if self.average is not None:
                self.average.add(since=1)
            self.progress = dataclasses.replace(
                self.progress, step=step + 1, tokens=self.progress.tokens + rows.numel()
            )
            each()

    def _loss(self, rows: Tensor) -> Tensor:
        ids, targets = rows[:, :-1], rows[:, 1:]
        if isinstance(self.model, MultiTokenModel):
            return self.model.multi_token_loss(ids, Targets.from_targets(targets))[0]
        return self.model.loss(ids, targets)

    @torch.no_grad()
    def evaluate(self) -> None:
        """Behind which FSDP2 keeps the root whole."""
        self._loss(torch.zeros(1, CONTEXT + 1, dtype=torch.int64))

    def save(self) -> None:
        """Begin to; of one process, all of it."""
        if self.ranks.size == 1:
            self.run.publish(self.progress.step, self._write, keep=9)
            return
        if self.checkpoints is None:
            self.checkpoints = RankCheckpoints(self.run, self.ranks, self.model, self.optimizers, self.average)
        with nullcontext() if self.average is None else self.average.in_place():
            state = whole_state(self.model, self.ranks)
        plain = None if state is None else self.blueprint.filled(state)
        self.checkpoints.begin(self.progress, lambda draft: write_model(draft, plain, TOKENIZER), keep=9)

    def _write(self, draft: Path) -> None:
        write_checkpoint(draft, self.model, self.optimizers, TOKENIZER, self.progress, self.average)

    def saved(self) -> None:
        """Save, to the end."""
        self.save()
        if self.checkpoints is not None:
            assert self.checkpoints.wait(keep=9) == self.run.checkpoint(self.progress.step)

    def restore(self, step: int) -> None:
        """From the checkpoint of a step."""
        folder = self.run.checkpoint(step)
        self.progress = restore_checkpoint(
            folder, self.model, self.optimizers, self.average, ranks=self.ranks, seed=7
        )  # fmt: skip

    def whole(self) -> dict[str, Tensor]:
        """Every tensor of the state, whole."""
        reshard(self.model)
        found = state_tensors(self.model, self.optimizers, self.average)
        return {name: _whole(tensor).clone() for name, tensor in found.items()}


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    """Names of tensors that are not the same bit for bit, or in one of the two alone."""
    unlike = [name for name in one.keys() & other.keys() if not torch.equal(one[name], other[name])]
    return sorted([*(one.keys() ^ other.keys()), *unlike])


def stage(ranks: Ranks, folder: Path, cases: list[Case], first: int, to: int) -> list[str]:
    """Take up each case at step `first`, train it and save it at step `to`; what was not as it was saved."""
    wrong = []
    for case in cases:
        path = folder / case.name
        path.mkdir(exist_ok=True)
        training = Training(case, ranks, path)
        if first:
            training.restore(first)
            kept = torch.load(path / f"whole-{first}.pt", weights_only=True)
            wrong += [f"{case.name}: {name}" for name in differing(training.whole(), kept["state"])]
            if dataclasses.asdict(training.progress) != kept["progress"]:
                wrong.append(f"{case.name}: {training.progress}")
        training.train(to)
        state = {"state": training.whole(), "progress": dataclasses.asdict(training.progress)}
        if ranks.first:
            torch.save(state, path / f"whole-{to}.pt")
        training.evaluate()
        training.saved()
    return wrong
