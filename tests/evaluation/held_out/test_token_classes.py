"""Losses by class add up to the evaluation's, and each class's mean is that of its tokens in float64."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tests.evaluation.held_out.held_out_data import LENGTH, V, chat, chat_rows, model, text, text_rows

from lmhead.batches.chat import HeldOutChat
from lmhead.batches.contract import HeldOut, Part, TrainingRows
from lmhead.evaluation.held_out.evaluate import Evaluation, evaluate_held_out
from lmhead.evaluation.held_out.token_classes import Means, TokenClasses
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.ops.problem import TokenStatistics

CPU = torch.device("cpu")


def judged(rows: TrainingRows, held_out: HeldOut, part: Part | None = None) -> tuple[Evaluation, dict[str, Means]]:
    sums = TokenClasses.of(rows, held_out).sums()
    told = evaluate_held_out(model(), held_out, part=part, device=CPU, dtype=torch.float32, seen=sums.add)
    return told, sums.means()


def exact(held_out: HeldOut, name: Callable[[PackedBatch, int, int], str]) -> dict[str, tuple[float, int]]:
    """By hand, in float64: nats and tokens of each class."""
    wide, sums = model().double(), defaultdict[str, list[float]](list)
    for batch in held_out.batches():
        with torch.no_grad():
            logits = wide(batch.ids, document=batch.attention_document)[0]
        nll = -logits.log_softmax(-1).gather(-1, batch.targets.ids.clamp(min=0)[..., None])[..., 0]
        for row, place in batch.targets.scored.nonzero().tolist():
            sums[name(batch, row, place)].append(float(nll[row, place]))
    return {each: (float(np.mean(values)), len(values)) for each, values in sums.items()}


def assert_same(means: Means, expected: dict[str, tuple[float, int]]) -> None:
    assert {name: tokens for name, (_, tokens) in means.items()} == {name: n for name, (_, n) in expected.items()}
    for name, (nll, _) in means.items():
        assert nll == pytest.approx(expected[name][0], rel=2e-6)


@pytest.mark.parametrize("data", [(text_rows, text), (chat_rows, chat)], ids=["text", "chat"])
def test_each_kind_of_class_adds_up_to_the_evaluation(data: Any) -> None:
    rows, held_out = data[0](), data[1]()
    for part in (None, Part(tokens=30)):
        told, classes = judged(rows, held_out, part)
        for kind in ("position", "frequency", "source"):
            assert sum(tokens for _, tokens in classes[kind].values()) == told.tokens
            total = sum(nll * tokens for nll, tokens in classes[kind].values())
            assert total / told.tokens == pytest.approx(told.nll, rel=1e-6)


def test_positions_are_those_in_the_document_whatever_window_reads_them() -> None:
    def band(batch: PackedBatch, row: int, place: int) -> str:
        at = int(batch.document_positions[row, place])
        return "0-15" if at < 16 else "16-63" if at < 64 else "64-255"

    _, classes = judged(text_rows(), text())
    assert list(classes["position"]) == ["0-15", "16-63", "64-255"]
    assert_same(classes["position"], exact(text(), band))


def test_bands_of_frequency_are_of_the_training_data_and_rise() -> None:
    counts = text_rows().target_counts()

    def band(batch: PackedBatch, row: int, place: int) -> str:
        target = int(batch.targets.ids[row, place])
        times = int(counts[target]) if target < len(counts) else 0
        return (
            "never" if not times else "1-9 times" if times < 10 else "10-99 times" if times < 100 else "100-999 times"
        )

    _, classes = judged(text_rows(), text())
    assert_same(classes["frequency"], exact(text(), band))
    assert list(classes["frequency"]) == ["never", "1-9 times", "10-99 times", "100-999 times"]


def test_sources_are_files() -> None:
    held_out = chat()
    _, classes = judged(chat_rows(), held_out)
    table = held_out.table()

    def source(batch: PackedBatch, row: int, place: int) -> str:
        return str(table.sources[table.source[batch.source[row, place]]])

    assert_same(classes["source"], exact(held_out, source))


def test_prompts_of_every_eighth_conversation_are_scored_beside_all_responses() -> None:
    held_out = chat()
    told, classes = judged(chat_rows(), held_out)
    assert list(classes["part"]) == ["prompt", "response"]
    assert classes["part"]["response"] == (pytest.approx(told.nll, rel=1e-6), told.tokens)
    nll: list[float] = []
    wide, number = model().double(), 0
    for batch in held_out.batches():
        with torch.no_grad():
            logprobs = wide(batch.ids)[0].log_softmax(-1)
        for row in range(len(batch.ids)):
            length = int((batch.document[row] >= 0).sum())
            prompt = ~batch.targets.scored[row, : length - 1] & (number % 8 == 0)
            following = batch.ids[row, 1:length]
            nll += (-logprobs[row, torch.arange(length - 1), following])[prompt].tolist()
            number += 1
    assert classes["part"]["prompt"] == (pytest.approx(np.mean(nll), rel=2e-6), len(nll))


@pytest.mark.parametrize("part", [None, Part(tokens=30)])
def test_what_is_looked_at_beside_it_does_not_change_an_evaluation(part: Part | None) -> None:
    seen: list[tuple[PackedBatch, TokenStatistics]] = []
    for held_out in (text(), chat()):
        plain = evaluate_held_out(model(), held_out, part=part, device=CPU, dtype=torch.float32)
        watched = evaluate_held_out(
            model(), held_out, part=part, device=CPU, dtype=torch.float32, seen=lambda *both: seen.append(both)
        )
        for name in ("nll", "perplexity", "bits_per_byte"):
            assert getattr(watched, name) == pytest.approx(getattr(plain, name), rel=1e-6)
        counts = ("tokens", "answers", "exact", "accuracy", "bytes", "whole")
        assert [getattr(watched, name) for name in counts] == [getattr(plain, name) for name in counts]
    assert {batch.ids.shape[1] for batch, _ in seen} >= {LENGTH}
    assert all(int(batch.ids.max()) < V for batch, _ in seen)


def test_an_id_that_training_does_not_have_was_never_to_be_predicted() -> None:
    held_out = chat()
    assert isinstance(held_out, HeldOutChat)
    classes = TokenClasses.of(chat_rows(), held_out)
    assert len(classes.frequency) < V
