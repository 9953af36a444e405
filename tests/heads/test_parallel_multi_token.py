"""The parallel heads of multi-token prediction."""

import pytest
import torch
import torch.nn.functional as F

from lmhead.errors import ArgumentError
from lmhead.heads.parallel_multi_token import MultiTokenPredictionHead

B, T, D, V = 2, 6, 8, 13


def draw(depth=2, **options):
    torch.manual_seed(0)
    head = MultiTokenPredictionHead(D, V, mtp_depth=depth, **options)
    return head, [torch.randn(B, T, D) for _ in range(depth)], torch.randint(V, (B, T))


@pytest.mark.parametrize("bias", [False, True])
def test_a_list_of_hidden_states_gives_a_list_of_shorter_logits(bias):
    head, hiddens, _ = draw(bias=bias)
    logits = head(hiddens)
    assert [tuple(of_depth.shape) for of_depth in logits] == [(B, T - 1, V), (B, T - 2, V)]
    torch.testing.assert_close(logits[1], F.linear(hiddens[1][:, :-2], head.heads[1].weight, head.heads[1].bias))


def test_one_hidden_state_serves_all_depths():
    head, hiddens, _ = draw()
    for ours, theirs in zip(head(hiddens[0]), head([hiddens[0]] * 2), strict=True):
        assert torch.equal(ours, theirs)


def test_a_row_shorter_than_the_depth_gives_no_logits():
    head, _, labels = draw()
    assert [of_depth.shape[1] for of_depth in head(torch.zeros(B, 1, D))] == [0, 0]
    sums = head.losses(torch.zeros(B, 1, D), labels=labels[:, :1])
    assert [loss.item() for loss in sums] == [0.0, 0.0]


def test_the_losses_are_those_of_its_logits():
    head, hiddens, labels = draw()
    sums = head.losses(hiddens, labels=labels)
    for k, (logits, loss) in enumerate(zip(head(hiddens), sums, strict=True), 1):
        predicted = logits[:, : T - k - 1].flatten(0, 1)
        torch.testing.assert_close(loss, F.cross_entropy(predicted, labels[:, k + 1 :].flatten(), reduction="sum"))


def test_another_number_of_hidden_states_is_refused():
    head, hiddens, _ = draw()
    with pytest.raises(ArgumentError, match="hiddens must hold 2 tensors, one a depth, got 1"):
        head(hiddens[:1])


def test_depth_zero_is_refused():
    with pytest.raises(ArgumentError, match="mtp_depth must be >= 1"):
        MultiTokenPredictionHead(D, V, mtp_depth=0)
