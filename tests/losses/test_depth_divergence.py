"""Depths that learn what the model says: the teacher's shift, its head, its adapters, what isolation leaves alone."""

import pytest
import torch
import torch.nn.functional as F
from tests.ranks.launched import on_ranks

from lmhead import ArgumentError, VocabularyShard
from lmhead.labels.targets import Targets
from lmhead.losses.depth_divergence import divergence_from_the_model
from lmhead.losses.depth_weighting import DepthWeighting
from lmhead.losses.head_tensors import HeadLogits, HeadTensors
from lmhead.losses.multi_token import multi_token_loss
from lmhead.ops.adapter import LowRankAdapter
from lmhead.ops.divergence.problem import KINDS

B, T, D, V, R = 2, 6, 5, 11, 2
WEIGHTING = DepthWeighting(mtp_lambda=[0.7, 0.4])


def draw(*, cut=True):
    """(labels, hidden states of three depths, weight, bias, down, up), float64 leaves."""
    generator = torch.Generator().manual_seed(0)

    def leaf(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    labels = torch.randint(V, (B, T), generator=generator)
    return labels, [leaf(B, T - k * cut, D) for k in range(3)], leaf(V, D), leaf(V), leaf(R, D), leaf(V, R)


def by_hand(labels, hiddens, dense, bias, *, isolated, cap):
    def logp(hidden, head, offset):
        logits = 0.5 * (hidden @ head.T + offset)
        return (cap * torch.tanh(logits / cap)).log_softmax(-1)

    main = logp(hiddens[0], dense, bias)
    total = F.nll_loss(main[:, :-1].reshape(-1, V), labels[:, 1:].reshape(-1))
    head = (dense.detach(), bias.detach()) if isolated else (dense, bias)
    for k, coefficient in ((1, 0.7), (2, 0.4)):
        student = logp(hiddens[k], *head)[:, : T - k - 1]  # those that have a label
        teacher = main.detach()[:, k : T - 1]
        total = total + coefficient * F.kl_div(student, teacher, reduction="none", log_target=True).sum(-1).mean()
    return total


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("isolated", [False, True])
@pytest.mark.parametrize("adapted", [False, True])
def test_is_the_divergence_from_the_main_head_at_the_position_that_predicts_the_same_token(adapted, isolated, cut):
    labels, hiddens, weight, bias, down, up = draw(cut=cut)
    dense = weight + 0.5 * up @ down if adapted else weight
    adapter = LowRankAdapter(down=down, up=up, scale=0.5) if adapted else None
    total, _ = multi_token_loss(
        hiddens,
        weight,
        Targets.from_labels(labels),
        bias=bias,
        adapter=adapter,
        weighting=WEIGHTING,
        isolated=isolated,
        against="model",
        softcap=3.0,
        logit_scale=0.5,
    )
    expected = by_hand(labels, [h[:, : T - k] for k, h in enumerate(hiddens)], dense, bias, isolated=isolated, cap=3.0)
    torch.testing.assert_close(total, expected)
    leaves = [*hiddens, weight, bias, *([down, up] if adapted else [])]
    for got, value in zip(torch.autograd.grad(total, leaves), torch.autograd.grad(expected, leaves), strict=True):
        torch.testing.assert_close(got, value)


def test_label_smoothing_and_z_loss_are_of_labels():
    labels, hiddens, weight, *_ = draw()
    targets = Targets.from_labels(labels)
    plain, smoothed = (
        multi_token_loss(hiddens, weight, targets, against="model", **options)[0]
        for options in ({}, {"label_smoothing": 0.1, "z_loss": 1e-2})
    )
    alone = [
        multi_token_loss(hiddens[:1], weight, targets, **options)[0]
        for options in ({}, {"label_smoothing": 0.1, "z_loss": 1e-2})
    ]
    torch.testing.assert_close(smoothed - plain, alone[1] - alone[0])


def test_depths_that_agree_with_the_model_have_nothing_to_learn():
    labels, hiddens, weight, *_ = draw()
    main = hiddens[0]
    agreeing = [main, *(main[:, k:].detach().requires_grad_() for k in (1, 2))]
    targets = Targets.from_labels(labels)
    total, _ = multi_token_loss(agreeing, weight, targets, against="model")
    torch.testing.assert_close(total, multi_token_loss([main], weight, targets)[0])
    for gradient in torch.autograd.grad(total, agreeing[1:]):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient))


def test_top_tokens_are_split_by_depth():
    labels, hiddens, weight, *_ = draw()
    _, statistics = multi_token_loss(hiddens, weight, Targets.from_labels(labels), top_k=2)
    for k, of_depth in enumerate(statistics):
        assert of_depth.top_ids.shape == of_depth.top_logprobs.shape == (B, T - k, 2)
        expected = (hiddens[k] @ weight.T).topk(2).indices
        assert torch.equal(of_depth.top_ids[of_depth.scored], expected[of_depth.scored])


def of_a_cut_head(ranks):
    """The largest relative error of the total, the statistics and each gradient, beside the whole head's."""
    rows = [slice(0, 3), slice(3, V)][ranks.rank]
    shard = VocabularyShard.of(rows.stop - rows.start, torch.distributed.group.WORLD)
    worst = {}
    for kind in KINDS:
        for isolated in (False, True):
            made = []
            for held, of in [(rows, shard), (slice(None), None)]:
                labels, hiddens, weight, bias, down, up = draw()
                total, statistics = multi_token_loss(
                    hiddens,
                    weight[held],
                    Targets.from_labels(labels),
                    bias=bias[held],
                    adapter=LowRankAdapter(down=down, up=up[held], scale=0.5),
                    weighting=WEIGHTING,
                    isolated=isolated,
                    against="model",
                    divergence=kind,
                    softcap=3.0,
                    shard=of,
                )
                d_weight, d_bias, d_up, *others = torch.autograd.grad(total, [weight, bias, up, down, *hiddens])
                of_rows = [d[rows] for d in (d_weight, d_bias, d_up)]
                made.append([total, *(each.nll for each in statistics), *of_rows, *others])
            for got, whole in zip(*made, strict=True):
                assert got.shape == whole.shape
                error = float((got - whole).abs().max() / whole.abs().max())
                worst[kind] = max(worst.get(kind, 0.0), error)
    labels, hiddens, weight, *_ = draw()
    cut = HeadLogits(tensors=HeadTensors(weight=weight[rows], shard=shard))
    with pytest.raises(ArgumentError) as refused:
        divergence_from_the_model(
            hiddens[1:2],
            [],
            first=1,
            head=cut,
            model_hidden=hiddens[0],
            model_ahead=None,
            model_head=HeadLogits(tensors=HeadTensors(weight=weight)),
            kind="forward_kl",
        )
    return worst, str(refused.value)


def test_of_a_head_that_is_cut_over_ranks_it_is_the_whole_ones():
    for worst, refused in on_ranks(2, of_a_cut_head):
        assert {kind: error for kind, error in worst.items() if error > 1e-12} == {}
        assert len(worst) == len(KINDS)
        assert refused.startswith("the depth's head must be cut over ranks as the model's is")
