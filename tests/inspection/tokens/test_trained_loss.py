"""What is shown is what is trained: the mean of the shown losses is the loss that the model gives for the batch."""

import numpy as np
import pytest
import torch
from tests.trainers.tiny import examples, llama

import lmhead
from lmhead import PackedCollator, PaddedCollator, pack
from lmhead.errors import IGNORE_INDEX


def shown_loss(seen):
    """Mean of the losses of what is scored, and their number."""
    scored = [row.scores.nll[row.targets != IGNORE_INDEX] for row in seen.rows]
    return np.concatenate(scored).mean(), sum(map(len, scored))


def left_padded(features):
    """As for generation; the first label of each row is no text's."""
    batch = PaddedCollator()(features)
    size = batch["input_ids"].shape[1]
    lengths = batch["attention_mask"].sum(1).tolist()
    return {
        name: torch.stack([row.roll(size - n) for row, n in zip(column, lengths, strict=True)])
        for name, column in batch.items()
    }


def trl_padded(features):
    return _trl(features, padding_free=False)


def trl_packed(features):
    return _trl(features, padding_free=True)


def _trl(features, **options):
    trl = pytest.importorskip("trl", reason="TRL is not installed: pip install 'lmhead[test]'")
    collator = trl.trainer.sft_trainer.DataCollatorForLanguageModeling(pad_token_id=0, **options)
    return collator(
        [{"input_ids": each.ids.tolist(), "completion_mask": each.trained.astype(int).tolist()} for each in features]
    )


def packed(features):
    return PackedCollator()(pack(features, length=40, overflow="drop").rows)


@pytest.mark.parametrize("collator", [PaddedCollator(), left_padded, packed, trl_padded, trl_packed])
@torch.no_grad()
def test_the_shown_losses_are_those_of_the_model_itself(collator):
    model, batch = llama().eval(), collator(examples(9))
    keywords = {"use_cache": False} | {name: column for name, column in batch.items() if torch.is_tensor(column)}
    own = model(**keywords).loss.item()
    seen = lmhead.inspect(batch, model)
    mean, count = shown_loss(seen)
    assert count == int((batch["labels"][:, 1:] != IGNORE_INDEX).sum())
    np.testing.assert_allclose(mean, own, rtol=1e-5)
    assert not seen.errors
