"""The main head and the MTP heads in one module."""

import pytest
import torch
from torch import nn

from lmhead.heads.combined import CombinedLMHead
from lmhead.losses.depth_weighting import DepthWeighting
from lmhead.losses.multi_token import MultiTokenPredictionLoss

B, T, D, V = 2, 6, 8, 13


def draw(**options):
    torch.manual_seed(0)
    head = CombinedLMHead(D, V, **{"use_mtp": True, "mtp_depth": 2, **options})
    return head, torch.randn(B, T, D, requires_grad=True), torch.randint(V, (B, T))


def test_mtp_works_in_training_only():
    head, hidden, _ = draw()
    logits, mtp_logits = head(hidden, [hidden, hidden])
    assert logits.shape == (B, T, V)
    assert [tuple(of_depth.shape) for of_depth in mtp_logits] == [(B, T - 1, V), (B, T - 2, V)]
    assert head(hidden)[1] is None
    head.eval()
    assert head(hidden, [hidden, hidden])[1] is None


def test_without_mtp_there_are_no_extra_parameters():
    head, hidden, _ = draw(use_mtp=False)
    assert sum(parameter.numel() for parameter in head.parameters()) == V * D
    assert head(hidden, [hidden, hidden])[1] is None


def test_the_main_head_is_tied_and_the_others_are_not():
    head, _, _ = draw()
    embedding = nn.Embedding(V, D)
    head.tie_embedding_weights(embedding)
    assert head.main.weight is embedding.weight
    assert sum(parameter.numel() for parameter in head.parameters()) == 3 * V * D


@pytest.mark.parametrize("weighting", [None, DepthWeighting(mtp_lambda=0.1, mtp_reduction="sum")])
def test_the_loss_is_that_of_its_logits(weighting):
    head, hidden, labels = draw()
    total, parts = head.loss(hidden, [hidden, hidden], labels=labels, weighting=weighting)
    options = {} if weighting is None else {"mtp_lambda": 0.1, "mtp_reduction": "sum"}
    logits, mtp_logits = head(hidden, [hidden, hidden])
    expected, expected_parts = MultiTokenPredictionLoss(V, mtp_depth=2, **options)(logits, mtp_logits, labels=labels)
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(parts, expected_parts)
    leaves = (hidden, *head.parameters())
    torch.testing.assert_close(torch.autograd.grad(total, leaves), torch.autograd.grad(expected, leaves))


def test_in_eval_mode_the_loss_is_the_main_loss():
    head, hidden, labels = draw()
    total, parts = head.eval().loss(hidden, [hidden, hidden], labels=labels)
    assert set(parts) == {"main_loss", "total_loss"}
    torch.testing.assert_close(total, head.main.loss(hidden, labels=labels))
