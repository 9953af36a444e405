"""MultiTokenModel's loss and gradients, in float64 against plain loops over documents (plain.py)."""

import math

import pytest
import torch
from tests.models.multi_token import plain
from torch import nn

from lmhead.errors import ArgumentError
from lmhead.labels.targets import Targets
from lmhead.losses.depth_weighting import DepthWeighting
from lmhead.losses.token_mean import depth_weights
from lmhead.models.config import GPTConfig
from lmhead.models.gpt import GPT
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.models.multi_token.predictor import MultiTokenPredictor
from lmhead.models.multi_token.style import KINDS

B, T, V = 2, 12, 23
DOCUMENT = torch.tensor([[0] * 5 + [1] * 4 + [2] * 3, [0] * 8 + [1] * 2 + [-1] * 2])


def build(kind="sequential", depth=2, *, isolated=False, seed=0, **options):
    torch.manual_seed(seed)
    sizes = {"vocab_size": V, "embed_dim": 16, "num_heads": 2, "num_layers": 1, "max_seq_len": T, "init_std": 0.3}
    main = GPT.from_config(GPTConfig(**{**sizes, **options})).double()
    model = MultiTokenModel.behind(main, depth=depth, kind=kind, isolated=isolated)
    with torch.no_grad():  # norms of their own, so that it is seen which states a module reads
        for weight in [each for each in model.mtp.parameters() if each.dim() == 1]:
            weight.uniform_(0.5, 1.5)
    return model


def batch(*, packed=True, masked=True):
    """(ids, labels, weights, document) [B, T]; a third of the labels is not scored."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(V, (B, T), generator=generator)
    labels, weights = ids.clone(), torch.ones(B, T, dtype=torch.float64)
    if masked:
        labels[torch.rand(B, T, generator=generator) < 0.3] = -100
        weights = torch.rand(B, T, generator=generator, dtype=torch.float64).round(decimals=1)
    return ids, labels, weights, DOCUMENT if packed else torch.zeros(B, T, dtype=torch.long)


def targets_of(labels, weights, document):
    return Targets.from_labels(labels, weight=weights, document=document)


def gradients(model, total):
    """By name; None becomes 0."""
    named = dict(model.named_parameters())
    made = torch.autograd.grad(total, list(named.values()), allow_unused=True)
    return {n: torch.zeros_like(p) if d is None else d for (n, p), d in zip(named.items(), made, strict=True)}


def assert_same(got, expected):
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=1e-9, atol=1e-11, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parametrize("isolated", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_the_loss_and_all_gradients_are_those_of_full_logits_for_each_document(depth, kind, isolated):
    model, rows = build(kind, depth, isolated=isolated), batch()
    sums, counts = plain.plain_sums(model, *rows)
    expected = plain.plain_total(sums, counts, [1.0] + [0.3 / depth] * depth)
    ids, labels, weights, document = rows
    total, statistics = model.multi_token_loss(ids, targets_of(labels, weights, document), document=document)
    torch.testing.assert_close(total, expected, rtol=1e-12, atol=0)
    assert_same(gradients(model, total), gradients(model, expected))
    assert [
        float((of.scored * targets_of(labels, weights, document).at(1 + k).weight).sum())
        for k, of in enumerate(statistics)
    ] == pytest.approx(counts)


@pytest.mark.parametrize("style", ["course", "modern"])
def test_rows_without_documents_and_the_courses_style_agree_too(style):
    model, (ids, labels, weights, _) = build(depth=2, style=style, tie_weights=style == "course"), batch(packed=False)
    sums, counts = plain.plain_sums(model, ids, labels, weights, torch.zeros_like(ids))
    expected = plain.plain_total(sums, counts, [1.0, 0.15, 0.15])
    total, _ = model.multi_token_loss(ids, targets_of(labels, weights, None))
    assert_same(gradients(model, total), gradients(model, expected))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("isolated", [False, True])
@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl", "total_variation"])
def test_against_the_model_each_depth_learns_what_the_main_head_says_of_the_same_token(kind, isolated, divergence):
    model, rows = build(kind, 2, isolated=isolated), batch()
    sums, counts = plain.plain_sums(model, *rows, against=getattr(plain, divergence))
    expected = plain.plain_total(sums, counts, [1.0, 0.5, 0.2])
    ids, labels, weights, document = rows
    total, _ = model.multi_token_loss(
        ids,
        targets_of(labels, weights, document),
        document=document,
        against="model",
        divergence=divergence,
        weighting=DepthWeighting(mtp_lambda=[0.5, 0.2]),
    )
    torch.testing.assert_close(total, expected, rtol=1e-10, atol=0)
    assert_same(gradients(model, total), gradients(model, expected))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("against", ["labels", "model"])
def test_statistics_are_of_the_labels_whatever_is_learnt(kind, against):
    model, rows = build(kind, 3), batch()
    ids, labels, weights, document = rows
    _, statistics = model.multi_token_loss(
        ids, targets_of(labels, weights, document), document=document, against=against, top_k=1
    )
    sums, _ = plain.plain_sums(model, ids, labels, (weights > 0).double(), document)
    for k, (of_depth, expected) in enumerate(zip(statistics, sums, strict=True)):
        torch.testing.assert_close(of_depth.nll.sum(), torch.as_tensor(expected).detach().double())
        ahead = targets_of(labels, weights, document).at(1 + k)
        assert torch.equal(of_depth.scored, ahead.scored)
        assert torch.equal(of_depth.hit, ahead.scored & (of_depth.top_ids[..., 0] == ahead.ids))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("denominator", ["own", "main"])
@pytest.mark.parametrize("against", ["labels", "model"])
def test_micro_batches_with_the_windows_divisors_are_one_batch(kind, denominator, against):
    model, (ids, labels, weights, document) = build(kind, 2), batch()
    weighting = DepthWeighting(mtp_denominator=denominator)
    how = {"weighting": weighting, "against": against}
    whole, _ = model.multi_token_loss(ids, targets_of(labels, weights, document), document=document, **how)
    parts = [targets_of(labels, weights, document).rows(slice(row, row + 1)) for row in range(B)]
    divisor = depth_weights(parts, mtp_depth=2)
    losses = [
        model.multi_token_loss(ids[row : row + 1], part, document=document[row : row + 1], divisor=divisor, **how)[0]
        for row, part in enumerate(parts)
    ]
    torch.testing.assert_close(sum(losses), whole)
    assert_same(gradients(model, sum(losses)), gradients(model, whole))


class TestIsolated:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    @pytest.mark.parametrize("against", ["labels", "model"])
    @pytest.mark.parametrize("kind", KINDS)
    def test_the_models_gradients_are_those_of_its_own_loss_to_the_last_bit(self, kind, against, dtype):
        model, (ids, labels, _, document) = build(kind, 2, isolated=True).to(dtype), batch()
        targets = Targets.from_labels(labels, document=document)
        total, _ = model.multi_token_loss(
            ids, targets, document=document, against=against, weighting=DepthWeighting(mtp_lambda=7.0)
        )
        alone = model.main.loss(ids, targets, document=document)
        assert total > alone
        got, expected = gradients(model, total), gradients(model, alone)
        for name, gradient in expected.items():
            if name.startswith("main."):
                assert torch.equal(got[name], gradient), name
            else:
                assert got[name].abs().sum() > 0, name

    @pytest.mark.parametrize("against", ["labels", "model"])
    @pytest.mark.parametrize("kind", KINDS)
    def test_on_a_frozen_model_the_modules_learn_the_same_and_nothing_else_does(self, kind, against):
        model, (ids, labels, _, document) = build(kind, 2, isolated=True), batch()
        targets = Targets.from_labels(labels, document=document)
        total, _ = model.multi_token_loss(ids, targets, document=document, against=against)
        expected = gradients(model, total)
        model.main.requires_grad_(False)
        total, _ = model.multi_token_loss(ids, targets, document=document, against=against)
        total.backward()
        assert all(parameter.grad is None for parameter in model.main.parameters())
        for name, parameter in model.mtp.named_parameters():
            torch.testing.assert_close(parameter.grad, expected[f"mtp.{name}"], rtol=1e-12, atol=1e-14)

    def test_without_it_the_model_learns_from_the_depths(self):
        model, (ids, labels, _, document) = build(depth=2), batch()
        targets = Targets.from_labels(labels, document=document)
        total, _ = model.multi_token_loss(ids, targets, document=document)
        name = "main.model.layers.0.mlp.up_proj.weight"
        alone = model.main.loss(ids, targets, document=document)
        assert not torch.allclose(gradients(model, total)[name], gradients(model, alone)[name])


class TestOneFusedPass:
    def test_the_head_is_multiplied_once_for_all_depths(self, monkeypatch):
        from lmhead.losses import depth_losses

        calls, op = [], depth_losses.linear_cross_entropy

        def counted(hidden, *arguments, **options):
            calls.append(hidden.shape)
            return op(hidden, *arguments, **options)

        monkeypatch.setattr(depth_losses, "linear_cross_entropy", counted)
        ids, labels, weights, document = batch()
        build(depth=3).multi_token_loss(ids, targets_of(labels, weights, document), document=document)
        assert calls == [(4 * B * T, 16)]

    def test_as_a_model_it_is_its_main_model(self):
        model, (ids, labels, weights, document) = build(), batch()
        targets = targets_of(labels, weights, document)
        assert torch.equal(
            model.loss(ids, targets, document=document), model.main.loss(ids, targets, document=document)
        )
        assert torch.equal(model(ids)[0], model.main(ids)[0])
        assert model.lm_head is model.main.lm_head

    def test_the_styles_denominator_holds_where_no_weighting_is_given(self):
        from lmhead.models.multi_token.style import MultiTokenStyle

        (ids, labels, weights, document), main = batch(), build().main
        totals = []
        for denominator in ("own", "main"):
            torch.manual_seed(0)
            model = MultiTokenModel.behind(main, depth=2, style=MultiTokenStyle(denominator=denominator))
            told = model.multi_token_loss(ids, targets_of(labels, weights, document), document=document)[0]
            weighting = DepthWeighting(mtp_denominator=denominator)
            said = model.multi_token_loss(
                ids, targets_of(labels, weights, document), document=document, weighting=weighting
            )[0]
            assert torch.equal(told, said)
            totals.append(told.item())
        assert totals[0] > totals[1]


class TestNothingToScore:
    @pytest.mark.parametrize("against", ["labels", "model"])
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_depth_without_anything_to_score_is_a_differentiable_0(self, kind, against):
        model, ids = build(kind, 2), batch()[0]
        pairs = torch.arange(T)[None].expand(B, T) // 2  # documents of two tokens: nothing two ahead
        targets = Targets.from_labels(ids, document=pairs)
        total, statistics = model.multi_token_loss(ids, targets, document=pairs, against=against)
        assert [int(of.scored.sum()) for of in statistics] == [B * T // 2, 0, 0]
        torch.testing.assert_close(total, model.main.loss(ids, targets, document=pairs))
        total.backward()
        for name, parameter in model.mtp.named_parameters():
            assert parameter.grad is None or (parameter.grad == 0).all(), name

    @pytest.mark.parametrize("kind", KINDS)
    def test_nothing_at_all_is_a_differentiable_0(self, kind):
        model, ids = build(kind, 2), batch()[0]
        total, _ = model.multi_token_loss(ids, Targets.from_labels(torch.full_like(ids, -100)))
        total.backward()
        assert total.item() == 0.0
        assert all(p.grad is None or (p.grad == 0).all() for p in model.parameters())

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_lambda_of_0_leaves_the_main_loss(self, kind):
        model, (ids, labels, _, document) = build(kind, 2), batch()
        targets = Targets.from_labels(labels, document=document)
        total, statistics = model.multi_token_loss(
            ids, targets, document=document, weighting=DepthWeighting(mtp_lambda=0.0)
        )
        torch.testing.assert_close(total, model.main.loss(ids, targets, document=document))
        assert not statistics[1].scored.any()


def test_the_kinds_are_told_apart():
    assert [build(kind).kind for kind in KINDS] == list(KINDS)
    assert [build(kind, 3).depth for kind in KINDS] == [3, 3, 3]


def test_the_weights_are_called_main_and_mtp():
    names = build("recurrent", 3).state_dict()
    assert {name.partition(".")[0] for name in names} == {"main", "mtp"}
    assert {name.split(".")[2] for name in names if name.startswith("mtp")} == {"0"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("depth", "rule"), [(0, "depth must be >= 1, got 0"), (T, f"depth must be less than the {T} tokens .*got {T}")]
)
def test_a_depth_that_no_row_can_have_is_refused(kind, depth, rule):
    with pytest.raises(ArgumentError, match=rule):
        build(kind, depth)


@pytest.mark.parametrize("kind", KINDS)
def test_a_depth_beyond_the_row_is_refused(kind):
    model, ids = build(kind, 4), torch.zeros(1, 4, dtype=torch.long)
    with pytest.raises(ArgumentError, match="depth must be less than the T = 4 tokens of a row, got 4"):
        model.multi_token_loss(ids, Targets.from_labels(ids))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (
            {"weighting": DepthWeighting(mtp_lambda=[0.3])},
            "mtp_lambda must be a number, or 2 numbers, one a depth, got 1",
        ),
        ({"divisor": torch.ones(2)}, r"divisor must be \[1 \+ depths\] = \[3\]"),
        ({"against": "teacher"}, "against must be labels or model, got 'teacher'"),
        ({"divergence": "forward_kl"}, 'divergence must be given with against="model" only'),
        ({"against": "model", "divergence": "kl"}, "divergence must be forward_kl, .*, got 'kl'"),
    ],
)
def test_what_does_not_fit_is_refused(kind, options, rule):
    model, ids = build(kind), batch()[0]
    with pytest.raises(ArgumentError, match=rule):
        model.multi_token_loss(ids, Targets.from_labels(ids), **options)


def test_modules_of_another_width_are_refused():
    main = build("sequential").main
    with pytest.raises(ArgumentError, match="mtp must be of d_model 16, the width of main, got 3"):
        MultiTokenModel(main, MultiTokenPredictor(3, block=lambda index: nn.Identity()))


@pytest.mark.parametrize("wrong", [-0.1, math.nan, math.inf, [0.3, -1.0], []])
def test_a_lambda_that_is_negative_or_not_finite_is_refused(wrong):
    with pytest.raises(ArgumentError, match="mtp_lambda"):
        DepthWeighting(mtp_lambda=wrong)


def test_parallel_heads_begin_at_0_where_the_main_head_does():
    model = build("parallel", tie_weights=False, zero_init_head=True)
    ids = batch()[0]
    _, statistics = model.multi_token_loss(ids, Targets.from_labels(ids))
    assert not any(weight.any() for weight in [model.main.lm_head.weight, *model.mtp.parameters()])
    assert [of.nll[of.scored].mean().item() for of in statistics] == pytest.approx([math.log(V)] * 3)


def test_dropout_is_off_in_a_model_that_learns_nothing():
    model, ids = build(depth=1, dropout=0.5), batch()[0]
    assert not torch.equal(model.main.trunk(ids).hidden, model.main.trunk(ids).hidden)
    model.main.requires_grad_(False)
    trunk = model.train().main.trunk(ids)
    assert torch.equal(trunk.hidden, model.eval().main.trunk(ids).hidden)
    assert not torch.equal(model.train().mtp.behind(trunk)[0], model.mtp.behind(trunk)[0])
