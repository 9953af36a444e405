"""Collators: what a model scores of their batches is what its Examples say, alone, padded or packed."""

import pickle

import pytest
import torch

import lmhead
from lmhead import ArgumentError, ArgumentTypeError, Example, PackedCollator, PaddedCollator, causal_lm_loss

pytest.importorskip("transformers", reason="transformers is not installed: pip install 'lmhead[test]'")
pytest.importorskip("datasets", reason="datasets is not installed: pip install 'lmhead[test]'")

from tests.trainers.tiny import examples, llama


@pytest.fixture(scope="module")
def model():
    return llama().double().eval()


@pytest.fixture(scope="module")
def alone(model):
    """The summed nll of all Examples, each read by itself, and how many tokens that is."""
    nll = 0.0
    for example in examples():
        ids = torch.from_numpy(example.ids).long()[None]
        labels = torch.from_numpy(example.labels())[None]
        nll += float(causal_lm_loss(model(ids).logits, labels, reduction="sum").detach())
    return nll, sum(int(example.learnt[1:].sum()) for example in examples())


def scored(model, batch):
    """(summed nll by the model's own loss, labels that Trainer would count)."""
    count = (batch["labels"][..., 1:] != -100).sum()
    assert count == (batch["labels"] != -100).sum()  # as older versions of Trainer count them
    return float(model(**batch, num_items_in_batch=1).loss.detach()), int(count)


@pytest.mark.parametrize("given", ["examples", "dataset"])
@pytest.mark.parametrize("multiple", [1, 8])
def test_padded_batches_score_each_example_as_alone(model, alone, given, multiple):
    rows = examples() if given == "examples" else list(lmhead.trainer_dataset(examples()))
    collate = PaddedCollator(pad_id=9, pad_to_multiple_of=multiple)
    parts = [scored(model, collate(rows[start : start + 5])) for start in range(0, len(rows), 5)]
    assert sum(nll for nll, _ in parts) == pytest.approx(alone[0], rel=1e-6)  # the model takes its loss in float32
    assert sum(count for _, count in parts) == alone[1]
    assert collate(rows)["input_ids"].shape[1] % multiple == 0


@pytest.mark.parametrize("given", ["pieces", "seq_lengths", "position_ids"])
@pytest.mark.parametrize(("attention", "dtype"), [("sdpa", None), ("eager", torch.float64)])
def test_packed_batches_score_each_example_as_alone(model, alone, given, attention, dtype):
    packed = lmhead.pack(examples(), length=40, overflow="drop")
    rows = packed.rows if given == "pieces" else list(lmhead.trainer_dataset(packed))
    if given != "pieces":
        rows = [{name: row[name] for name in ("input_ids", "labels", given)} for row in rows]
    collate = PackedCollator(dtype=dtype, pad_to_multiple_of=8)
    model.set_attn_implementation(attention)
    nll, count = scored(model, collate(rows))
    model.set_attn_implementation("sdpa")
    assert nll == pytest.approx(alone[0], rel=1e-6)
    assert count == alone[1]


@pytest.mark.parametrize("mask", [True, False])
def test_packed_batches_keep_documents_apart(model, alone, mask):
    rows = list(lmhead.trainer_dataset(lmhead.pack(examples(), length=40, overflow="drop")))
    batch = PackedCollator(mask=mask)(rows)
    assert ("attention_mask" in batch) == mask
    assert scored(model, batch) == pytest.approx(alone, rel=1e-6)
    batch = PackedCollator(mask=mask)(rows[:3])
    assert lmhead.check_isolation(model, {name: batch[name] for name in batch if name != "labels"}).ok


def test_collators_go_to_workers():
    for collate in (PaddedCollator(pad_id=3), PackedCollator(dtype=torch.float32)):
        assert pickle.loads(pickle.dumps(collate)) == collate


PACKED = {"input_ids": [5, 6, 7], "labels": [-100, 6, -100], "seq_lengths": [2, 1]}


@pytest.mark.parametrize(
    ("collator", "row", "said"),
    [
        (PackedCollator, {"input_ids": [5, 6], "labels": [-100, 6]}, "set remove_unused_columns=False"),
        (PackedCollator, PACKED | {"seq_lengths": [2, 2]}, "seq_lengths must add up to the row's 3 tokens, got 4"),
        (PaddedCollator, PACKED, "take a PackedCollator"),
        (PaddedCollator, {"input_ids": [5, 6], "labels": [6, 7]}, "do not shift them"),
        (PaddedCollator, {"input_ids": [5, 6], "labels": [6]}, "labels must be aligned with the row's 2 input_ids"),
        (PaddedCollator, {"text": "a"}, "features must have input_ids, got text"),
    ],
)
def test_rows_that_do_not_fit_are_refused(collator, row, said):
    with pytest.raises(ArgumentError, match=said):
        collator()([row])


@pytest.mark.parametrize(
    ("collator", "row"), [(PaddedCollator, [5, 6]), (PackedCollator, Example.of([5, 6], trained=[True] * 2))]
)
def test_rows_of_another_kind_are_refused(collator, row):
    with pytest.raises(ArgumentTypeError, match=r"lmhead\.trainer_dataset"):
        collator()([row])


def test_no_row_is_no_batch():
    with pytest.raises(ArgumentError, match="features must be at least one row"):
        PaddedCollator()([])
