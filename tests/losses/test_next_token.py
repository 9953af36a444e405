"""causal_lm_loss and LanguageModelingLoss: who shifts, and what is averaged."""

import pytest
import torch
import torch.nn.functional as F

from lmhead.errors import ArgumentError, ArgumentTypeError
from lmhead.labels.targets import Targets, shift_labels
from lmhead.losses.next_token import LanguageModelingLoss, causal_lm_loss


def draw(*shape, V=11, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(*shape, V, generator=generator, requires_grad=True)
    return logits, torch.randint(V, shape, generator=generator)


@pytest.mark.parametrize("shape", [(6,), (3, 6), (2, 3, 6)])
def test_it_is_the_sliced_cross_entropy(shape):
    logits, labels = draw(*shape)
    expected = F.cross_entropy(logits[..., :-1, :].reshape(-1, 11), labels[..., 1:].reshape(-1))
    torch.testing.assert_close(causal_lm_loss(logits, labels), expected)


def test_without_labels_there_is_no_loss():
    assert causal_lm_loss(torch.zeros(1, 2, 3), None) is None


def test_per_token_losses_stand_where_they_are_predicted():
    logits, labels = draw(2, 4)
    losses = causal_lm_loss(logits, labels, reduction="none")
    assert losses.shape == labels.shape
    assert (losses[:, -1] == 0).all()
    torch.testing.assert_close(losses[0, 1], F.cross_entropy(logits[0, 1], labels[0, 2]))


def test_the_last_logits_get_no_gradient():
    logits, labels = draw(2, 4)
    causal_lm_loss(logits, labels).backward()
    assert (logits.grad[:, -1] == 0).all()
    assert (logits.grad[:, :-1] != 0).all()


def test_a_row_of_one_token_has_nothing_to_predict():
    logits, labels = draw(2, 1)
    loss = causal_lm_loss(logits, labels)
    loss.backward()
    assert loss.item() == 0.0
    assert (logits.grad == 0).all()


def test_documents_and_weights():
    logits, labels = draw(5)
    weight = torch.tensor([9.0, 1.0, 2.0, 9.0, 3.0])  # of predicting labels[t]
    loss = causal_lm_loss(logits, labels, document=torch.tensor([0, 0, 0, 1, 1]), token_weight=weight)
    one = [F.cross_entropy(logits[t], labels[t + 1]) for t in range(4)]
    torch.testing.assert_close(loss, (one[0] + 2 * one[1] + 3 * one[3]) / 6)


def test_low_precision_logits_give_a_float32_loss():
    logits, labels = draw(2, 5)
    half = logits.detach().bfloat16()
    loss = causal_lm_loss(half, labels)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, causal_lm_loss(half.float(), labels))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_labels_and_their_shift_agree(reduction):
    logits, labels = draw(3, 6)
    criterion = LanguageModelingLoss(11, label_smoothing=0.1, reduction=reduction)
    by_labels = criterion(logits, labels=labels)
    torch.testing.assert_close(by_labels, criterion(logits, targets=shift_labels(labels)))
    torch.testing.assert_close(by_labels, criterion(logits, targets=Targets.from_labels(labels)))
    expected = F.cross_entropy(
        logits.reshape(-1, 11), shift_labels(labels).reshape(-1), label_smoothing=0.1, reduction=reduction
    )
    torch.testing.assert_close(by_labels, expected.reshape(by_labels.shape))


def test_targets_keep_their_own_ignore_index():
    logits, labels = draw(1, 4)
    criterion = LanguageModelingLoss(11, ignore_index=0)
    targets = Targets.from_labels(torch.zeros_like(labels))  # id 0 is a token here
    torch.testing.assert_close(
        criterion(logits, targets=targets), F.cross_entropy(logits[0, :-1], torch.zeros(3, dtype=torch.long))
    )
    assert criterion(logits, labels=torch.zeros_like(labels)).item() == 0.0


def test_micro_batches_with_a_divisor_add_up():
    logits, labels = draw(4, 6)
    labels[0, 2:] = -100
    criterion = LanguageModelingLoss(11)
    whole = criterion(logits, labels=labels)
    divisor = Targets.from_labels(labels).count
    parts = [criterion(logits[rows], labels=labels[rows], divisor=divisor) for rows in (slice(1), slice(1, 4))]
    torch.testing.assert_close(sum(parts), whole)


def test_ids_by_position_are_refused():
    logits, labels = draw(2, 4)
    with pytest.raises(ArgumentTypeError, match=r"labels=\.\.\. or targets=\.\.\."):
        LanguageModelingLoss(11)(logits, labels)


def test_another_vocabulary_is_refused():
    logits, labels = draw(2, 4)
    with pytest.raises(ArgumentError, match="V = 12"):
        LanguageModelingLoss(12)(logits, labels=labels)


def test_its_options_show():
    assert "label_smoothing=0.1" in repr(LanguageModelingLoss(5, label_smoothing=0.1))
