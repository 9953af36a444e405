"""The definition against numbers worked by hand. The back-ends are held to the same numbers."""

import math

import pytest
import torch

from lmhead import linear_cross_entropy
from lmhead.ops.backends import BACKENDS

LOGITS = (1.0, 2.0, 0.5, -1.0)
SUM_EXP = 12.123940
LSE = math.log(SUM_EXP)

pytestmark = pytest.mark.parametrize("backend", sorted(BACKENDS))


def head(*logits):
    """hidden [1, 1] and weight [V, 1] whose product is `logits`."""
    return torch.ones(1, 1, dtype=torch.float64), torch.tensor(logits, dtype=torch.float64)[:, None]


def loss_of(backend, target, *logits, **options):
    hidden, weight = head(*logits)
    return linear_cross_entropy(hidden, weight, torch.tensor([target]), backend=backend, **options).item()


def test_worked_example(backend):
    assert loss_of(backend, 1, *LOGITS) == pytest.approx(0.495182, abs=1e-6)


def test_uniform_logits_cost_log_v(backend):
    assert loss_of(backend, 2, 0.0, 0.0, 0.0, 0.0) == pytest.approx(1.386294, abs=1e-6)


def test_margin_of_100_nats(backend):
    assert loss_of(backend, 0, 100.0, 0.0) == pytest.approx(0.0, abs=1e-40)
    assert loss_of(backend, 1, 100.0, 0.0) == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("probabilities", "target", "loss"), [((0.2, 0.7, 0.1), 1, 0.3567), ((0.1, 0.8, 0.1), 0, 2.3026)]
)
def test_from_probabilities(backend, probabilities, target, loss):
    assert loss_of(backend, target, *map(math.log, probabilities)) == pytest.approx(loss, abs=5e-5)


def test_gradient_is_softmax_minus_one_hot(backend):
    hidden, weight = head(*LOGITS)
    weight.requires_grad_()
    linear_cross_entropy(hidden, weight, torch.tensor([1]), backend=backend).backward()
    expected = [math.exp(z) / SUM_EXP - (j == 1) for j, z in enumerate(LOGITS)]
    assert weight.grad[:, 0].tolist() == pytest.approx(expected, abs=1e-7)
    assert expected[1] == pytest.approx(0.609460 - 1, abs=1e-6)


def test_label_smoothing_mixes_in_the_mean_of_all_classes(backend):
    expected = 0.9 * 0.495182 + 0.1 * (LSE - 0.625)
    assert loss_of(backend, 1, *LOGITS, label_smoothing=0.1) == pytest.approx(expected, abs=1e-6)


def test_z_loss_adds_the_squared_lse(backend):
    assert loss_of(backend, 1, *LOGITS, z_loss=0.01) == pytest.approx(0.495182 + 0.01 * LSE**2, abs=1e-6)


def test_softcap_bends_logits_after_the_scale(backend):
    capped = [2.0 * math.tanh(3.0 * z / 2.0) for z in LOGITS]
    expected = math.log(sum(map(math.exp, capped))) - capped[1]
    assert loss_of(backend, 1, *LOGITS, softcap=2.0, logit_scale=3.0) == pytest.approx(expected)


def test_bias_is_added_before_the_scale(backend):
    bias = torch.tensor([0.5, -0.5, 0.0, 1.0], dtype=torch.float64)
    logits = [2.0 * (z + b) for z, b in zip(LOGITS, bias.tolist(), strict=True)]
    expected = math.log(sum(map(math.exp, logits))) - logits[1]
    assert loss_of(backend, 1, *LOGITS, bias=bias, logit_scale=2.0) == pytest.approx(expected)


def test_statistics_are_those_of_the_softmax(backend):
    hidden, weight = head(*LOGITS)
    hidden = hidden.expand(3, 1)
    targets = torch.tensor([1, 0, -100])
    _, statistics = linear_cross_entropy(
        hidden, weight, targets, label_smoothing=0.1, z_loss=0.1, return_stats=True, backend=backend
    )
    probabilities = [math.exp(z) / SUM_EXP for z in LOGITS]
    entropy = -sum(p * math.log(p) for p in probabilities)
    assert statistics.nll.tolist() == pytest.approx([0.495182, 1.495182, 0.0], abs=1e-6)  # without the smoothing
    assert statistics.lse.tolist() == pytest.approx([LSE, LSE, 0.0], abs=1e-6)
    assert statistics.entropy.tolist() == pytest.approx([entropy, entropy, 0.0], abs=1e-6)
    assert statistics.hit.tolist() == [True, False, False]
    assert statistics.max_logprob.tolist() == pytest.approx([-0.495182, -0.495182, 0.0], abs=1e-6)
    assert statistics.scored.tolist() == [True, True, False]
    assert not statistics.nll.requires_grad


def test_of_equal_logits_the_first_is_the_hit(backend):
    hidden, weight = head(1.0, 1.0, 0.0)
    _, statistics = linear_cross_entropy(
        hidden.expand(2, 1), weight, torch.tensor([0, 1]), return_stats=True, backend=backend
    )
    assert statistics.hit.tolist() == [True, False]


def test_a_hit_is_decided_by_logits_not_by_their_exponentials(backend):
    close = torch.tensor([[0.0], [1e-9]])  # float32: different logits, exponentials both exactly 1
    _, statistics = linear_cross_entropy(torch.ones(1, 1), close, torch.tensor([1]), return_stats=True, backend=backend)
    assert statistics.hit.tolist() == [True]


def test_a_masked_token_is_no_nan_where_smoothing_and_z_loss_are_off(backend):
    hidden, weight = torch.ones(1, 2), torch.ones(3, 2)
    bias = torch.tensor([0.0, -torch.inf, 0.0])
    loss = linear_cross_entropy(hidden, weight, torch.tensor([0]), bias=bias, backend=backend)
    torch.testing.assert_close(loss, torch.tensor(2.0).log())
