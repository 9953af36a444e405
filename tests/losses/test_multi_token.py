"""Multi-token prediction: offsets, normalisation, and one call of the op for all depths."""

import pytest
import torch
import torch.nn.functional as F

from lmhead.errors import ArgumentError, ArgumentTypeError
from lmhead.labels.targets import Targets
from lmhead.losses.depth_weighting import DepthWeighting
from lmhead.losses.multi_token import MultiTokenPredictionLoss, multi_token_loss
from lmhead.losses.token_mean import depth_weights

B, T, D, V = 3, 7, 8, 13


def draw(depth=2, seed=0):
    """(labels [B, T], main hidden states and those of each depth [B, T - k, D], weight [V, D]), float64."""
    generator = torch.Generator().manual_seed(seed)
    hiddens = [
        torch.randn(B, T - k, D, generator=generator, dtype=torch.float64, requires_grad=True) for k in range(depth + 1)
    ]
    weight = torch.randn(V, D, generator=generator, dtype=torch.float64, requires_grad=True)
    return torch.randint(V, (B, T), generator=generator), hiddens, weight


def by_hand(labels, logits, k):
    """Mean loss of depth k: logits[:, t] against labels[:, t + k + 1]."""
    predicted = logits[:, : T - k - 1].reshape(-1, V)
    return F.cross_entropy(predicted, labels[:, k + 1 :].reshape(-1))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_total_is_the_formula(reduction):
    labels, hiddens, weight = draw()
    logits = [hidden @ weight.T for hidden in hiddens]
    criterion = MultiTokenPredictionLoss(V, mtp_depth=2, mtp_lambda=0.3, mtp_reduction=reduction)
    total, parts = criterion(logits[0], logits[1:], labels=labels)
    main, first, second = (by_hand(labels, x, k) for k, x in enumerate(logits))
    share = 0.3 / 2 if reduction == "mean" else 0.3
    torch.testing.assert_close(total, main + share * (first + second))
    torch.testing.assert_close(
        parts, {"main_loss": main, "mtp_loss_1": first, "mtp_loss_2": second, "total_loss": total}
    )
    assert not any(part.requires_grad for part in parts.values())


def test_both_reductions_agree_at_depth_one():
    labels, hiddens, weight = draw(depth=1)
    logits = [hidden @ weight.T for hidden in hiddens]
    totals = [
        MultiTokenPredictionLoss(V, mtp_reduction=reduction)(logits[0], logits[1:], labels=labels)[0]
        for reduction in ("mean", "sum")
    ]
    torch.testing.assert_close(*totals)


def test_the_reports_denominator_is_that_of_the_main_loss():
    labels, hiddens, weight = draw(depth=1)
    logits = [hidden @ weight.T for hidden in hiddens]
    _, parts = MultiTokenPredictionLoss(V, mtp_denominator="main")(logits[0], logits[1:], labels=labels)
    torch.testing.assert_close(parts["mtp_loss_1"], by_hand(labels, logits[1], 1) * (T - 2) / (T - 1))


def test_targets_give_what_labels_give():
    labels, hiddens, weight = draw()
    logits = [hidden @ weight.T for hidden in hiddens]
    criterion = MultiTokenPredictionLoss(V, mtp_depth=2)
    shifted = torch.cat([labels[:, 1:], torch.full((B, 1), -100)], 1)
    by_labels, _ = criterion(logits[0], logits[1:], labels=labels)
    for targets in (shifted, Targets.from_labels(labels)):
        torch.testing.assert_close(criterion(logits[0], logits[1:], targets=targets)[0], by_labels)


def test_positions_past_the_end_change_nothing():
    labels, hiddens, weight = draw(depth=1)
    logits = [hidden @ weight.T for hidden in hiddens]
    criterion = MultiTokenPredictionLoss(V)
    padded = F.pad(logits[1], (0, 0, 0, 1), value=float("nan"))
    expected, _ = criterion(logits[0], logits[1:], labels=labels)
    torch.testing.assert_close(criterion(logits[0], [padded], labels=labels)[0], expected)


def test_a_depth_with_nothing_to_score_is_not_nan():
    labels = torch.tensor([[1, 2]])
    main, extra = torch.zeros(1, 2, V, requires_grad=True), torch.zeros(1, 1, V, requires_grad=True)
    total, parts = MultiTokenPredictionLoss(V)(main, [extra], labels=labels)
    total.backward()
    torch.testing.assert_close(total, parts["main_loss"])
    assert parts["mtp_loss_1"].item() == 0.0
    assert (extra.grad == 0).all()
    assert main.grad.isfinite().all()


def test_nothing_scored_at_all_is_a_differentiable_zero():
    labels, hiddens, weight = draw()
    total, _ = multi_token_loss(hiddens, weight, Targets.from_labels(torch.full_like(labels, -100)))
    total.backward()
    assert total.item() == 0.0
    assert (weight.grad == 0).all()


def test_in_eval_mode_only_the_main_loss_is_left():
    labels, hiddens, weight = draw(depth=1)
    total, parts = MultiTokenPredictionLoss(V)(hiddens[0] @ weight.T, None, labels=labels)
    assert set(parts) == {"main_loss", "total_loss"}
    torch.testing.assert_close(total, by_hand(labels, hiddens[0] @ weight.T, 0))


def test_packed_documents_are_learned_as_if_alone():
    labels, hiddens, weight = draw()
    document = torch.tensor([[0, 0, 0, 1, 1, 1, 1]]).expand(B, T)
    whole, statistics = multi_token_loss(hiddens, weight, Targets.from_labels(labels, document=document))
    sums, counts = torch.zeros(3, dtype=torch.float64), torch.zeros(3)
    for rows in (slice(0, 3), slice(3, 7)):
        alone = Targets.from_labels(labels[:, rows])
        parts = [hidden[:, rows] for hidden in hiddens]
        _, of_part = multi_token_loss(parts, weight, alone)
        sums += torch.stack([of_depth.nll.sum() for of_depth in of_part])
        counts += torch.stack([of_depth.scored.sum() for of_depth in of_part])
    assert [int(of_depth.scored.sum()) for of_depth in statistics] == counts.tolist() == [15, 9, 3]
    means = sums / counts
    torch.testing.assert_close(whole, means[0] + 0.3 / 2 * means[1:].sum())


@pytest.mark.parametrize("backend", ["chunked", "reference"])
@pytest.mark.parametrize("denominator", ["own", "main"])
@pytest.mark.parametrize("weighted", [False, True])
def test_one_call_of_the_op_is_the_loss_from_logits(backend, denominator, weighted):
    labels, hiddens, weight = draw()
    bias = torch.randn(V, dtype=torch.float64, requires_grad=True)
    token_weight = torch.rand(B, T, dtype=torch.float64).round(decimals=1) if weighted else None
    targets = Targets.from_labels(labels, weight=token_weight)
    criterion = MultiTokenPredictionLoss(V, mtp_depth=2, mtp_denominator=denominator, label_smoothing=0.1, z_loss=1e-3)
    logits = [hidden @ weight.T + bias for hidden in hiddens]
    expected, _ = criterion(logits[0], logits[1:], targets=targets)
    total, statistics = multi_token_loss(
        hiddens,
        weight,
        targets,
        bias=bias,
        weighting=DepthWeighting(mtp_denominator=denominator),
        label_smoothing=0.1,
        z_loss=1e-3,
        backend=backend,
    )
    torch.testing.assert_close(total, expected)
    leaves = (*hiddens, weight, bias)
    torch.testing.assert_close(torch.autograd.grad(total, leaves), torch.autograd.grad(expected, leaves))
    for k, of_depth in enumerate(statistics):
        assert of_depth.nll.shape == (B, T - k)
        assert torch.equal(of_depth.scored, targets.at(1 + k).scored[:, : T - k])


@pytest.mark.parametrize("denominator", ["own", "main"])
def test_micro_batches_with_the_windows_divisors_add_up(denominator):
    labels, hiddens, weight = draw()
    labels[0, 2:] = -100
    weighting = DepthWeighting(mtp_denominator=denominator)
    whole, _ = multi_token_loss(hiddens, weight, Targets.from_labels(labels), weighting=weighting)
    micro = [Targets.from_labels(labels[rows]) for rows in (slice(1), slice(1, 3))]
    divisor = depth_weights(micro, mtp_depth=2)
    parts = [
        multi_token_loss([hidden[rows] for hidden in hiddens], weight, targets, weighting=weighting, divisor=divisor)[0]
        for targets, rows in zip(micro, (slice(1), slice(1, 3)), strict=True)
    ]
    torch.testing.assert_close(sum(parts), whole)
    criterion = MultiTokenPredictionLoss(V, mtp_depth=2, mtp_denominator=denominator)
    logits = [(hidden @ weight.T)[:1] for hidden in hiddens]
    torch.testing.assert_close(criterion(logits[0], logits[1:], targets=micro[0], divisor=divisor)[0], parts[0])


def test_lambda_zero_leaves_the_main_loss():
    labels, hiddens, weight = draw()
    total, statistics = multi_token_loss(
        hiddens, weight, Targets.from_labels(labels), weighting=DepthWeighting(mtp_lambda=0.0)
    )
    torch.testing.assert_close(total, by_hand(labels, hiddens[0] @ weight.T, 0))
    assert not statistics[1].scored.any()


def test_ids_by_position_are_refused():
    labels, hiddens, weight = draw(depth=1)
    logits = [hidden @ weight.T for hidden in hiddens]
    with pytest.raises(ArgumentTypeError, match=r"labels=\.\.\. or targets=\.\.\."):
        MultiTokenPredictionLoss(V)(logits[0], logits[1:], labels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda logits: logits[:1], "mtp_logits must hold 2 tensors"),
        (lambda logits: [logits[0], logits[1][:, 1:]], r"mtp_logits\[1\] must be \[3, 5\]"),
        (lambda logits: [logits[0][:1], logits[1]], r"mtp_logits\[0\] must be"),
        (lambda logits: [logits[0][..., 1:], logits[1]], "V = 13"),
    ],
)
def test_logits_that_do_not_fit_are_refused(change, message):
    labels, hiddens, weight = draw()
    logits = [hidden @ weight.T for hidden in hiddens]
    with pytest.raises(ArgumentError, match=message):
        MultiTokenPredictionLoss(V, mtp_depth=2)(logits[0], change(logits[1:]), labels=labels)


def test_a_divisor_for_one_depth_only_is_refused():
    labels, hiddens, weight = draw(depth=1)
    with pytest.raises(ArgumentError, match=r"divisor must be \[1 \+ depths\] = \[2\]"):
        multi_token_loss(hiddens, weight, Targets.from_labels(labels), divisor=torch.tensor([3.0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mtp_lambda": -0.1}, "mtp_lambda must be"),
        ({"mtp_reduction": "average"}, "mtp_reduction must be mean or sum"),
        ({"mtp_denominator": "T"}, "mtp_denominator must be own or main"),
    ],
)
def test_unknown_choices_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        MultiTokenPredictionLoss(V, **options)
