"""What five public documents teach, under their names and with their numbers; docs/about/seeds.md links rows to tests.

The chapter's tiny GPT (row S4, 4.2588) is in tests/models/test_gpt.py.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lmhead.errors import ArgumentError, ArgumentTypeError
from lmhead.heads.combined import CombinedLMHead
from lmhead.heads.language_modeling import LanguageModelingHead
from lmhead.heads.parallel_multi_token import MultiTokenPredictionHead
from lmhead.labels.targets import Reason, Targets, shift_labels
from lmhead.losses.multi_token import MultiTokenPredictionLoss
from lmhead.losses.next_token import LanguageModelingLoss, causal_lm_loss
from lmhead.metrics.accuracy import TokenAccuracyMetric
from lmhead.metrics.perplexity import PerplexityMetric

X = -100

# --- S0: the walk-through of logit shifting ---------------------------------------------------------------------------


def walk_through():
    """B = 1, T = 4, V = 5: logits that favour one token each, and labels aligned with the inputs."""
    logits = torch.tensor(
        [
            [
                [0.1, 2.0, 0.3, -1.0, 0.5],
                [1.2, 0.0, 3.0, 0.4, -0.5],
                [0.0, 0.1, 0.2, 2.5, 0.3],
                [9.0, 9.0, 9.0, 9.0, -9.0],
            ]
        ]
    )
    return logits, torch.tensor([[0, 1, 2, 3]])


def test_s0_walk_through_by_loop_by_slices_and_by_function():
    logits, labels = walk_through()
    by_loop = 0.0
    for t in range(3):
        z = logits[0, t].double()
        by_loop -= (z[labels[0, t + 1]] - z.exp().sum().log()).item() / 3
    by_slices = F.cross_entropy(logits[:, :-1, :].reshape(-1, 5), labels[:, 1:].reshape(-1))
    assert by_slices.item() == pytest.approx(by_loop, abs=1e-6)
    assert causal_lm_loss(logits, labels).item() == pytest.approx(by_loop, abs=1e-6)


@pytest.mark.parametrize("shape", [(4,), (2, 4), (2, 3, 4)])
def test_s0_any_leading_dimensions(shape):
    torch.manual_seed(0)
    logits, labels = torch.randn(*shape, 5), torch.randint(5, shape)
    expected = F.cross_entropy(logits[..., :-1, :].reshape(-1, 5), labels[..., 1:].reshape(-1))
    torch.testing.assert_close(causal_lm_loss(logits, labels), expected)


def test_s0_the_loss_is_float32_for_half_logits_and_none_without_labels():
    logits, labels = walk_through()
    assert causal_lm_loss(logits.bfloat16(), labels).dtype == torch.float32
    assert causal_lm_loss(logits, None) is None


def test_s0_labels_move_to_the_logits_device():
    logits, labels = walk_through()
    elsewhere = torch.device("cuda" if torch.cuda.is_available() else "meta")
    targets = Targets.from_labels(labels, weight=torch.ones(1, 4), document=torch.zeros_like(labels)).to(elsewhere)
    for tensor in (targets.ids, targets.reason, targets.weight, targets.document):
        assert tensor.device.type == elsewhere.type
    assert causal_lm_loss(logits.to(elsewhere), labels).device.type == elsewhere.type  # labels stand on the CPU
    if elsewhere.type == "cuda":
        assert causal_lm_loss(logits.cuda(), labels).item() == pytest.approx(causal_lm_loss(logits, labels).item())


def test_s0_the_mean_is_over_scored_positions():
    logits, labels = walk_through()
    labels[0, 2] = X
    one = [F.cross_entropy(logits[0, t], labels[0, t + 1]).item() for t in (0, 2)]
    assert causal_lm_loss(logits, labels).item() == pytest.approx(sum(one) / 2, abs=1e-6)


def test_s0_alignment_table_of_five_tokens():
    targets = Targets.from_labels(torch.tensor([10, 11, 12, 13, 14]))
    table = list(zip(range(5), [10, 11, 12, 13, 14], targets.ids.tolist(), targets.scored.tolist(), strict=True))
    assert table == [
        (0, 10, 11, True),
        (1, 11, 12, True),
        (2, 12, 13, True),
        (3, 13, 14, True),
        (4, 14, X, False),
    ]
    assert targets.reason[4] == Reason.END_OF_ROW


def test_s0_logits_are_truncated_and_labels_move_left():
    logits = torch.zeros(2, 5, 7)
    assert logits[..., :-1, :].shape == (2, 4, 7)
    with pytest.raises(IndexError):  # as printed in the document: one slice too many for three dimensions
        logits[:, :, :-1, :]


def test_s0_view_fails_on_a_strided_slice_and_reshape_does_not():
    one, two = torch.zeros(1, 5, 7), torch.zeros(2, 5, 7)
    assert one[:, :-1, :].view(-1, 7).shape == (4, 7)
    with pytest.raises(RuntimeError, match="view size is not compatible"):
        two[:, :-1, :].view(-1, 7)
    assert two[:, :-1, :].reshape(-1, 7).shape == (8, 7)
    assert causal_lm_loss(two[:, :, ::2], torch.zeros(2, 5, dtype=torch.long)).item() == pytest.approx(math.log(4))


def counting_model(V=8):
    """A model that knows what follows: token + 1. Returns logits for ids [..., T]."""
    table = 20.0 * torch.roll(torch.eye(V), 1, dims=1)
    return lambda ids: table[ids]


def test_s0_inference_shifts_nothing_and_greedy_counts():
    model, ids = counting_model(), torch.tensor([[1, 2]])
    for _ in range(4):
        following = model(ids)[:, -1, :].argmax(-1, keepdim=True)
        ids = torch.cat([ids, following], 1)
    assert ids.tolist() == [[1, 2, 3, 4, 5, 6]]
    assert causal_lm_loss(model(ids), ids).item() < 1e-6


def test_s0_ignoring_the_first_label_changes_nothing():
    logits, labels = walk_through()
    ignored = labels.clone()
    ignored[:, 0] = X
    assert torch.equal(causal_lm_loss(logits, labels), causal_lm_loss(logits, ignored))


# --- the two traps ----------------------------------------------------------------------------------------------------


def test_trap_not_shifted_at_all_a_head_that_copies_its_input_gets_loss_zero():
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    copies = 20.0 * torch.eye(8)[ids]
    criterion = LanguageModelingLoss(8)
    assert criterion(copies, targets=ids).item() < 1e-6  # labels passed off as targets: silent
    assert criterion(copies, labels=ids).item() > 10  # said to be what they are: no reward for copying
    assert causal_lm_loss(copies, ids).item() > 10


def test_trap_shifted_twice_a_head_that_knows_what_follows_gets_a_large_loss():
    ids = torch.tensor([[1, 2, 3, 4, 5]])
    knows, criterion = counting_model()(ids), LanguageModelingLoss(8)
    shifted = shift_labels(ids)
    assert criterion(knows, labels=ids).item() < 1e-6
    assert criterion(knows, targets=shifted).item() < 1e-6
    assert criterion(knows, labels=shifted).item() > 10  # targets passed off as labels


# --- S2: the package of losses, metrics and heads ---------------------------------------------------------------------


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_s2_language_modeling_loss(label_smoothing, reduction):
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 6, 11), torch.randint(11, (2, 6))
    targets[0, 3:] = X
    criterion = LanguageModelingLoss(
        vocab_size=11, ignore_index=-100, label_smoothing=label_smoothing, reduction=reduction
    )
    expected = F.cross_entropy(
        logits.reshape(-1, 11), targets.reshape(-1), label_smoothing=label_smoothing, reduction=reduction
    )
    loss = criterion(logits, targets=targets)
    torch.testing.assert_close(loss, expected.reshape(loss.shape))


def test_s2_multi_token_prediction_loss():
    torch.manual_seed(0)
    labels = torch.randint(11, (2, 8))
    main, first, second = (torch.randn(2, 8 - k, 11) for k in range(3))
    total, losses = MultiTokenPredictionLoss(vocab_size=11, mtp_depth=2, mtp_lambda=0.3)(
        main, [first, second], labels=labels
    )
    assert set(losses) == {"main_loss", "mtp_loss_1", "mtp_loss_2", "total_loss"}
    expected = F.cross_entropy(first[:, :6].reshape(-1, 11), labels[:, 2:].reshape(-1))
    torch.testing.assert_close(losses["mtp_loss_1"], expected)
    torch.testing.assert_close(total, losses["main_loss"] + 0.3 / 2 * (losses["mtp_loss_1"] + losses["mtp_loss_2"]))


def test_s2_one_depth_with_nothing_to_score_leaves_the_total_finite():
    main, extra = torch.randn(1, 2, 5, requires_grad=True), torch.randn(1, 1, 5, requires_grad=True)
    total, _ = MultiTokenPredictionLoss(vocab_size=5)(main, [extra], labels=torch.tensor([[1, 2]]))
    total.backward()
    assert total.isfinite()
    assert main.grad.isfinite().all()


def test_s2_heads_and_tying():
    embedding = nn.Embedding(50, 16)
    head = LanguageModelingHead(16, 50, bias=False, tie_weights=True)
    head.tie_embedding_weights(embedding)
    assert head.weight is embedding.weight
    assert head(torch.zeros(2, 7, 16)).shape == (2, 7, 50)
    mtp = MultiTokenPredictionHead(16, 50, mtp_depth=2, bias=False)
    assert [tuple(x.shape) for x in mtp([torch.zeros(2, 7, 16)] * 2)] == [(2, 6, 50), (2, 5, 50)]


def test_s2_combined_head_predicts_further_in_training_only():
    head = CombinedLMHead(16, 50, use_mtp=True, mtp_depth=1, tie_weights=True)
    hidden = torch.zeros(2, 7, 16)
    logits, mtp_logits = head(hidden, [hidden])
    assert logits.shape == (2, 7, 50)
    assert mtp_logits[0].shape == (2, 6, 50)
    assert head.eval()(hidden, [hidden])[1] is None


def test_s2_a_training_step_learns():
    torch.manual_seed(0)
    V, D = 20, 16
    embedding, head = nn.Embedding(V, D), CombinedLMHead(D, V, use_mtp=True, mtp_depth=1, tie_weights=True)
    head.tie_embedding_weights(embedding)
    parameters = {*embedding.parameters(), *head.parameters()}
    optimizer = torch.optim.AdamW(parameters, lr=0.05)
    criterion = MultiTokenPredictionLoss(vocab_size=V, mtp_depth=1, mtp_lambda=0.3)
    ids = (torch.arange(12) % V)[None].repeat(4, 1)

    def step():
        hidden = torch.tanh(embedding(ids))
        logits, mtp_logits = head(hidden, [hidden])
        loss, parts = criterion(logits, mtp_logits, labels=ids)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        perplexity = PerplexityMetric()
        perplexity.update(logits, labels=ids)
        return {
            "loss": loss.item(),
            "main_loss": parts["main_loss"].item(),
            "mtp_loss": parts["mtp_loss_1"].item(),
            "perplexity": perplexity.compute(),
        }

    first, *_, last = (step() for _ in range(30))
    assert first["loss"] == pytest.approx(first["main_loss"] + 0.3 * first["mtp_loss"], rel=1e-5)
    assert first["perplexity"] == pytest.approx(math.exp(first["main_loss"]), rel=1e-5)
    assert last["loss"] < 0.5 * first["loss"]


def test_s2_inference_takes_the_argmax_of_the_last_position():
    torch.manual_seed(0)
    head = CombinedLMHead(16, 50, use_mtp=True).eval()
    hidden = torch.randn(1, 7, 16)
    logits, _ = head(hidden)
    assert logits[:, -1].argmax(-1) == (head.main.weight @ hidden[0, -1]).argmax()


def test_s2_memory_of_the_heads():
    head = LanguageModelingHead(2048, 50_000, device="meta")
    size = head.weight.numel() * head.weight.element_size()
    assert size == 409.6e6  # "400 MB", weights alone
    assert size / 2**20 == pytest.approx(390.6, abs=0.05)
    with_mtp = CombinedLMHead(2048, 50_000, use_mtp=True, mtp_depth=1, device="meta")
    assert sum(parameter.numel() * 4 for parameter in with_mtp.parameters()) == 2 * 409.6e6


@pytest.mark.parametrize(("layers", "D", "share"), [(24, 2048, 0.075), (6, 512, 0.54)])
def test_s2_cost_of_an_extra_linear_head_is_no_constant(layers, D, share):
    V, T = 50_000, 1024
    head = LanguageModelingHead(D, V, device="meta").weight.numel()
    body = layers * (12 * D**2 + T * D)  # multiply-adds a token: matrices, and attention over T / 2 positions
    assert head / (body + head) == pytest.approx(share, abs=0.006)  # the document: "33 %"


def test_s2_the_calls_as_their_users_write_them():
    """The package's ids are shifted already: it is said once, where a loss or a metric is made."""
    torch.manual_seed(0)
    V, T = 11, 6
    main_logits, hidden = torch.randn(2, T, V, requires_grad=True), torch.randn(2, T, 16)
    mtp_logits = [torch.randn(2, T - k, V) for k in (1, 2)]
    labels = target_ids = torch.randint(V, (2, T))
    loss_fn = LanguageModelingLoss(vocab_size=V, ids="targets")
    loss = loss_fn(main_logits, labels)
    torch.testing.assert_close(loss, F.cross_entropy(main_logits.reshape(-1, V), target_ids.reshape(-1)))

    loss_fn = MultiTokenPredictionLoss(vocab_size=V, mtp_depth=2, mtp_lambda=0.3, ids="targets")
    total, losses = loss_fn(main_logits, mtp_logits, labels)
    further = F.cross_entropy(mtp_logits[0].reshape(-1, V), target_ids[:, 1:].reshape(-1))
    torch.testing.assert_close(losses["main_loss"], loss.detach())
    torch.testing.assert_close(losses["mtp_loss_1"], further)
    total.backward()

    ppl_metric, acc_metric = PerplexityMetric(ids="targets"), TokenAccuracyMetric(ids="targets")
    perplexity, accuracy = ppl_metric(main_logits, labels), acc_metric(main_logits, labels)
    assert perplexity == pytest.approx(loss.exp().item(), rel=1e-6)
    assert accuracy == (main_logits.argmax(-1) == target_ids).double().mean().item()

    head = CombinedLMHead(16, V, use_mtp=True, mtp_depth=2, tie_weights=True)
    head.eval()
    logits, _ = head(hidden, None)
    assert logits.shape == (2, T, V)


def test_s2_ids_by_position_are_what_they_were_said_to_be():
    torch.manual_seed(0)
    logits, ids = torch.randn(2, 6, 11), torch.randint(11, (2, 6))
    for word in ("labels", "targets"):
        loss = LanguageModelingLoss(11, ids=word)(logits, ids)
        assert torch.equal(loss, LanguageModelingLoss(11)(logits, **{word: ids}))
        total, _ = MultiTokenPredictionLoss(11, ids=word)(logits, [logits], ids)
        assert torch.equal(total, MultiTokenPredictionLoss(11)(logits, [logits], **{word: ids})[0])
    with pytest.raises(
        ArgumentTypeError, match=r'by position.*LanguageModelingLoss\(\.\.\., ids="labels"\) or "targets"'
    ):
        LanguageModelingLoss(11)(logits, ids)
    with pytest.raises(ArgumentTypeError, match=r"labels must be a Tensor, got Targets, which are shifted"):
        LanguageModelingLoss(11, ids="labels")(logits, Targets.from_labels(ids))


def test_s2_metrics():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 6, 11), torch.randint(11, (2, 6))
    perplexity, accuracy = PerplexityMetric(), TokenAccuracyMetric()
    perplexity.update(logits, labels=labels)
    accuracy.update(logits, labels=labels)
    shifted_logits, shifted = logits[:, :-1].reshape(-1, 11), labels[:, 1:].reshape(-1)
    assert perplexity.compute() == pytest.approx(F.cross_entropy(shifted_logits, shifted).exp().item(), rel=1e-5)
    assert accuracy.compute() == (shifted_logits.argmax(-1) == shifted).double().mean().item()


# --- S3: the loss function of language models -------------------------------------------------------------------------


def test_s3_the_log_probability_of_a_sequence_is_a_sum_where_the_product_underflows():
    logits = torch.stack([torch.tensor([0.8, 0.2]).log()] * 500)
    losses = LanguageModelingLoss(2, reduction="sum")(logits, targets=torch.zeros(500, dtype=torch.long))
    assert losses.item() == pytest.approx(-500 * math.log(0.8), rel=1e-5)
    assert torch.full((500,), 0.8).prod().item() == 0.0


def test_s3_the_gradient_is_softmax_minus_onehot():
    logits = torch.tensor([[1.0, 2.0, 0.5, -1.0]], requires_grad=True)
    LanguageModelingLoss(4)(logits, targets=torch.tensor([1])).backward()
    torch.testing.assert_close(logits.grad, logits.detach().softmax(-1) - torch.tensor([[0.0, 1.0, 0.0, 0.0]]))


@pytest.mark.parametrize("autocast", [False, True])
def test_s3_pre_shifted_batches_autocast_reshape_criterion(autocast):
    torch.manual_seed(0)
    stream = torch.randint(11, (2, 9))
    x, y = stream[:, :-1], stream[:, 1:]
    model = nn.Sequential(nn.Embedding(11, 16), nn.Linear(16, 11))
    criterion = LanguageModelingLoss(vocab_size=11)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        logits = model(x)
        loss = criterion(logits.reshape(-1, 11), targets=y.reshape(-1))
    loss.backward()
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, F.cross_entropy(logits.float().reshape(-1, 11), y.reshape(-1)))
    torch.testing.assert_close(loss, criterion(logits, targets=y))


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_number_softmax_by_hand():
    logits = torch.tensor([1.0, 2.0, 0.5, -1.0])
    assert logits.exp().sum().item() == pytest.approx(12.123940, abs=2e-6)  # exactly 12.1239386
    assert logits.softmax(-1)[1].item() == pytest.approx(0.609460, abs=5e-7)
    assert LanguageModelingLoss(4)(logits, targets=torch.tensor(1)).item() == pytest.approx(0.495182, abs=5e-7)


@pytest.mark.parametrize("V", [4, 50_257])
def test_number_uniform_logits_cost_log_v(V):
    loss = causal_lm_loss(torch.zeros(1, 3, V), torch.tensor([[0, 1, 2]]))
    assert loss.item() == pytest.approx(math.log(V), rel=1e-6)
    assert math.log(4) == pytest.approx(1.386294, abs=5e-7)


@pytest.mark.parametrize(("target", "loss"), [(0, 0.0), (1, 100.0)])
def test_number_a_margin_of_one_hundred(target, loss):
    logits = torch.tensor([[100.0, 0.0]])
    assert LanguageModelingLoss(2)(logits, targets=torch.tensor([target])).item() == pytest.approx(loss)


@pytest.mark.parametrize(
    ("probabilities", "target", "loss"),
    [
        ((0.2, 0.7, 0.1), 1, 0.3567),
        ((0.1, 0.8, 0.1), 0, 2.3026),
        ((0.30, 0.70), 0, 1.2040),
        ((0.15, 0.85), 0, 1.8971),
    ],
)
def test_number_loss_of_given_probabilities(probabilities, target, loss):
    logits = torch.tensor([probabilities]).log()
    got = LanguageModelingLoss(len(probabilities))(logits, targets=torch.tensor([target]))
    assert got.item() == pytest.approx(loss, abs=5e-5)


@pytest.mark.parametrize(("length", "product"), [(250, 5.92e-25), (100, 2.04e-10)])
def test_number_a_product_of_probabilities(length, product):
    losses = LanguageModelingLoss(2, reduction="sum")(
        torch.tensor([0.8, 0.2]).log().expand(length, 2), targets=torch.zeros(length, dtype=torch.long)
    )
    assert math.exp(-losses.item()) == pytest.approx(product, rel=2e-3)


def test_number_the_capital_is_paris():
    targets = Targets.from_labels(torch.tensor([464, 3139, 318, 6342]))  # GPT-2: "The", " capital", " is", " Paris"
    assert targets.ids.tolist() == [3139, 318, 6342, X]


# --- where the documents are wrong ------------------------------------------------------------------------------------


def test_all_ignored_is_a_differentiable_zero_in_training_and_no_number_in_evaluation():
    logits, labels = torch.randn(1, 4, 5, requires_grad=True), torch.full((1, 4), X)
    assert F.cross_entropy(logits.reshape(-1, 5), labels.reshape(-1)).isnan()
    loss = causal_lm_loss(logits, labels)
    loss.backward()
    assert loss.item() == 0.0
    assert (logits.grad == 0).all()
    for metric in (PerplexityMetric(), TokenAccuracyMetric()):
        metric.update(logits, labels=labels)
        with pytest.raises(ArgumentError, match="no token scored"):
            metric.compute()


def test_a_smoothed_loss_has_a_floor_that_perplexity_has_not():
    V = 50_000
    logits = torch.full((1, V), -math.log(V / 0.1))  # the best for smoothing 0.1: p = 0.1 / V, and 0.9 more
    logits[0, 7] = math.log(0.9 + 0.1 / V)
    smoothed = LanguageModelingLoss(V, label_smoothing=0.1)(logits, targets=torch.tensor([7]))
    assert smoothed.exp().item() == pytest.approx(4.08, abs=0.01)
    metric = PerplexityMetric()
    metric.update(logits, targets=torch.tensor([7]))
    assert metric.compute() == pytest.approx(1 / 0.9, rel=1e-4)


def test_lambda_times_the_sum_or_the_mean_agree_at_depth_one_only():
    torch.manual_seed(0)
    labels = torch.randint(5, (2, 6))
    logits = [torch.randn(2, 6 - k, 5) for k in range(3)]
    for depth, equal in ((1, True), (2, False)):
        mean, summed = (
            MultiTokenPredictionLoss(5, mtp_depth=depth, mtp_reduction=reduction)(
                logits[0], logits[1 : depth + 1], labels=labels
            )[0]
            for reduction in ("mean", "sum")
        )
        assert torch.allclose(mean, summed) == equal


def test_padding_by_id_never_learns_the_end_of_text_and_padding_by_length_does():
    end = 2
    labels = torch.tensor([[5, 6, end, end, end]])  # padded with the end-of-text id
    logits = torch.zeros(1, 5, 8, requires_grad=True)
    (by_id,) = torch.autograd.grad(causal_lm_loss(logits, labels, ignore_index=end), logits)
    document = torch.tensor([[0, 0, 0, -1, -1]])
    (by_length,) = torch.autograd.grad(causal_lm_loss(logits, labels, document=document), logits)
    assert (by_id[0, 1] == 0).all()
    assert by_length[0, 1, end] < 0
    assert (by_length[0, 2:] == 0).all()


def test_doubling_the_loss_doubles_the_gradient():
    logits, labels = walk_through()
    logits.requires_grad_()
    (once,) = torch.autograd.grad(causal_lm_loss(logits, labels), logits)
    (twice,) = torch.autograd.grad(2 * causal_lm_loss(logits, labels), logits)
    torch.testing.assert_close(twice, 2 * once)
