"""evaluate: a model and held-out batches of any kind, without a training run around them."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from lmhead.batches.contract import Part
from lmhead.evaluation.held_out.evaluate import Evaluation, evaluate_held_out, seconds_per_position
from lmhead.labels.example import Example
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.labels.packing.packed_rows import pack
from lmhead.models.config import GPTConfig
from lmhead.models.gpt import GPT

V, LENGTH = 30, 12


@dataclass
class Held:
    """Held-out batches that are given."""

    given: list[PackedBatch]
    answers: bool = True
    bytes: int = 100
    scored: int = 0
    parts: list[Part | None] = field(default_factory=list)
    tokens = window = stride = LENGTH

    def __post_init__(self) -> None:
        self.scored = sum(batch.targets.count for batch in self.given)

    def fingerprint(self) -> str:
        return ""

    def batches(self, part: Part | None = None) -> Iterator[PackedBatch]:
        self.parts.append(part)
        return iter(self.given if part is None else self.given[:1])

    def read(self, part: Part | None = None) -> int:
        return sum(batch.ids.numel() for batch in (self.given if part is None else self.given[:1]))


@pytest.fixture
def model() -> GPT:
    torch.manual_seed(0)
    config = GPTConfig(vocab_size=V, embed_dim=16, num_heads=2, num_layers=2, max_seq_len=LENGTH, init_std=0.5)
    return GPT.from_config(config)


def examples() -> list[Example]:
    draw = np.random.default_rng(0)
    return [Example.of(draw.integers(0, V, n).tolist(), trained=[t > n // 2 for t in range(n)]) for n in (3, 5, 4, 7)]


def judged(model: GPT, given: list[PackedBatch], **options: object) -> Evaluation:
    return evaluate_held_out(model, Held(given), device=torch.device("cpu"), dtype=torch.float32, **options)  # type: ignore[arg-type]


def test_documents_that_share_a_row_are_scored_as_alone_where_the_batch_isolates_them(model: GPT) -> None:
    rows = pack(examples(), length=LENGTH, overflow="drop")
    together = [rows.take(0, rows.rows_per_epoch)]
    alone = [pack([each], length=LENGTH, overflow="drop").take(0, 1) for each in examples()]
    shared, apart = judged(model, together), judged(model, alone)
    assert shared.nll == pytest.approx(apart.nll, rel=1e-5)
    assert (shared.tokens, shared.answers, shared.exact) == (apart.tokens, apart.answers, apart.exact)
    crossing = judged(model, [dataclasses.replace(batch, isolated=False) for batch in together])
    assert abs(crossing.nll - apart.nll) > 1e-3


def test_a_token_that_weighs_more_counts_once_and_one_that_weighs_nothing_does_not(model: GPT) -> None:
    (example,) = examples()[3:]
    heavy = dataclasses.replace(example, weight=np.where(np.arange(7) == 6, 0, 5).astype(np.float32))
    lighter = Example.of(example.ids.tolist(), trained=[*example.trained[:6].tolist(), False])
    with_weights, without = (
        judged(model, [pack([each], length=LENGTH, overflow="drop").take(0, 1)]) for each in (heavy, lighter)
    )
    assert with_weights == without
    assert with_weights.tokens == 2


def test_a_part_has_its_share_of_the_bytes_and_is_not_the_whole(model: GPT) -> None:
    given = [pack([each], length=LENGTH, overflow="drop").take(0, 1) for each in examples()]
    whole, part = judged(model, given), judged(model, given, part=Part())
    assert (whole.whole, whole.bytes, whole.tokens) == (True, 100, 7)
    assert (part.whole, part.bytes, part.tokens) == (False, round(100 / 7), 1)


def test_a_position_takes_some_time(model: GPT) -> None:
    given = [pack([each], length=LENGTH, overflow="drop").take(0, 1) for each in examples()]
    held = Held(given)
    assert seconds_per_position(model, held, device=torch.device("cpu"), dtype=torch.float32) > 0
    assert held.parts == [Part()]
    assert not model.training
