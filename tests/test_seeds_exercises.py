"""The experiments and exercises of the documents in docs/about/seeds.md, answered; the course's pages show them."""

import math
from pydoc_data.topics import topics

import pytest
import torch
import torch.nn.functional as F

import lmhead

# --- S0: logit shifting -----------------------------------------------------------------------------------------------


def test_s0_exercise_a_loop_over_rows_and_positions():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 5, 7), torch.randint(7, (2, 5))
    labels[1, 2:] = -100
    losses = [
        torch.logsumexp(logits[b, t], 0) - logits[b, t, labels[b, t + 1]]
        for b in range(2)
        for t in range(4)
        if labels[b, t + 1] != -100
    ]
    assert len(losses) == 5
    torch.testing.assert_close(lmhead.causal_lm_loss(logits, labels), torch.stack(losses).mean())


@pytest.mark.parametrize("t", range(5))
def test_s0_exercise_which_row_predicts_which_label(t):
    torch.manual_seed(0)
    logits, labels = torch.randn(5, 7, requires_grad=True), torch.full((5,), -100)
    labels[t] = 3  # this label alone is scored, from the row before it; of the first one no row knows
    lmhead.causal_lm_loss(logits, labels).backward()
    assert logits.grad is not None
    assert logits.grad.abs().sum(-1).nonzero().flatten().tolist() == ([t - 1] if t else [])


def test_s0_exercise_a_transposed_slice_has_no_view_and_reshape_mends_it():
    torch.manual_seed(0)
    positions_first, labels = torch.randn(5, 2, 7), torch.randint(7, (2, 5))
    kept = positions_first.transpose(0, 1)[:, :-1]
    with pytest.raises(RuntimeError, match="view"):
        kept.view(-1, 7)
    torch.testing.assert_close(kept.contiguous().view(-1, 7), kept.reshape(-1, 7))
    expected = F.cross_entropy(kept.reshape(-1, 7), labels[:, 1:].reshape(-1))
    torch.testing.assert_close(lmhead.causal_lm_loss(positions_first.transpose(0, 1), labels), expected)


# --- S3: the loss function of language models -------------------------------------------------------------------------


def test_s3_half_the_probability_costs_log_2_more():
    costs = [lmhead.cross_entropy(torch.tensor([p, 1 - p]).log(), torch.tensor(0)).item() for p in (0.30, 0.15)]
    assert [f"{cost:.2f}" for cost in costs] == ["1.20", "1.90"]
    assert costs[1] - costs[0] == pytest.approx(math.log(2), rel=1e-5)


# --- S4: the forward pass with loss -----------------------------------------------------------------------------------


def test_s4_experiment_1_uniform_logits_cost_log_4():
    model = lmhead.GPT(vocab_size=4, embed_dim=4, num_heads=2, num_layers=2)
    with torch.no_grad():
        model.model.embed_tokens.weight.zero_()  # tied: the head is 0 as well, and every logit
    logits, loss = model(torch.tensor([[0, 1, 2]]), torch.tensor([[1, 2, 3]]), return_logits=True)
    assert (logits == 0).all()
    assert loss.item() == pytest.approx(math.log(4), rel=1e-6)


def test_s4_experiment_2_a_margin_of_100_on_the_right_token_costs_0():
    assert lmhead.cross_entropy(torch.tensor([0.0, 100.0, 0.0, 0.0]), torch.tensor(1)).item() == pytest.approx(
        0, abs=1e-30
    )


def test_s4_experiment_3_a_margin_of_100_on_a_wrong_token_costs_100():
    assert lmhead.cross_entropy(torch.tensor([0.0, 100.0, 0.0, 0.0]), torch.tensor(2)).item() == pytest.approx(100)


def test_s4_experiment_4_without_targets_the_pair_is_logits_and_none():
    pair = lmhead.GPT(vocab_size=4, embed_dim=4, num_heads=2, num_layers=2)(torch.tensor([[0, 1, 2]]))
    assert pair[0].shape == (1, 3, 4)
    assert pair[1] is None


def test_s4_exercise_a_sum_grows_with_the_tokens_and_a_mean_does_not():
    torch.manual_seed(0)
    logits, targets = torch.randn(6, 5), torch.randint(5, (6,))
    once, twice = (
        {how: lmhead.cross_entropy(z, y, reduction=how) for how in ("mean", "sum")}
        for z, y in ((logits, targets), (logits.repeat(2, 1), targets.repeat(2)))
    )
    torch.testing.assert_close(twice["mean"], once["mean"])
    torch.testing.assert_close(twice["sum"], 2 * once["sum"])


def test_s4_exercise_exp_1000_is_infinite_and_log_sum_exp_is_not():
    logits = torch.tensor([1000.0, 999.0, 0.0])
    assert logits.exp().sum().isinf()
    assert lmhead.cross_entropy(logits, torch.tensor(1)).item() == pytest.approx(1 + math.log1p(math.exp(-1)), rel=1e-6)


@pytest.mark.parametrize("margin", [10.0, 1e3, 1e6, 1e30])
def test_s4_exercise_there_is_no_highest_loss(margin):
    assert lmhead.cross_entropy(torch.tensor([margin, 0.0]), torch.tensor(1)).item() == pytest.approx(margin, rel=1e-4)


def test_s4_exercise_the_shift_as_two_slices():
    ids = torch.tensor([10, 11, 12, 13, 14])
    x, y = ids[:-1], ids[1:]
    assert list(zip(x.tolist(), y.tolist(), strict=True)) == [(10, 11), (11, 12), (12, 13), (13, 14)]
    assert lmhead.shift_labels(ids).tolist() == [*y.tolist(), lmhead.IGNORE_INDEX]


def test_s4_a_real_text_in_random_windows_has_a_falling_loss():
    text = topics["assert"] + topics["for"]
    letters = sorted(set(text))
    row = torch.tensor([letters.index(letter) for letter in text])  # one row of ids
    torch.manual_seed(0)
    model = lmhead.GPT(len(letters), embed_dim=32, num_heads=2, num_layers=1, max_seq_len=32, init="gpt2")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        starts = torch.randint(len(row) - 33, (8,)).tolist()
        x, y = (torch.stack([row[start + shift : start + shift + 32] for start in starts]) for shift in (0, 1))
        _, loss = model(x, targets=y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(len(letters)), abs=0.2)
    assert sum(losses[-5:]) / 5 < losses[0] - 1
