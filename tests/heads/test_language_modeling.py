"""The head: logits, the loss without them, tying, and what its state dict holds."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lmhead.errors import ArgumentError, ArgumentTypeError
from lmhead.heads.language_modeling import LanguageModelingHead
from lmhead.labels.targets import Targets, shift_labels
from lmhead.losses.cross_entropy import cross_entropy
from lmhead.losses.token_mean import scored_weight

B, T, D, V = 2, 5, 8, 13


def draw(**options):
    torch.manual_seed(0)
    head = LanguageModelingHead(D, V, dtype=torch.float64, **options)
    return head, torch.randn(B, T, D, dtype=torch.float64, requires_grad=True), torch.randint(V, (B, T))


@pytest.mark.parametrize("bias", [False, True])
def test_logits_are_those_of_a_linear_layer(bias):
    head, hidden, _ = draw(bias=bias)
    assert set(head.state_dict()) == ({"weight", "bias"} if bias else {"weight"})
    torch.testing.assert_close(head(hidden), F.linear(hidden, head.weight, head.bias))
    assert head.weight.shape == (V, D)


@pytest.mark.parametrize("options", [{}, {"bias": True}, {"softcap": 3.0}, {"logit_scale": 0.25, "softcap": 5.0}])
@pytest.mark.parametrize(
    "loss_options",
    [{}, {"label_smoothing": 0.1, "z_loss": 1e-3}, {"class_weight": torch.linspace(0.5, 2, V, dtype=torch.float64)}],
)
def test_the_loss_is_that_of_its_logits(options, loss_options):
    head, hidden, labels = draw(**options)
    if head.bias is not None:
        nn.init.normal_(head.bias)
    leaves = (hidden, *head.parameters())
    loss, statistics = head.loss(hidden, labels=labels, return_stats=True, **loss_options)
    expected, of_logits = cross_entropy(head(hidden), shift_labels(labels), return_stats=True, **loss_options)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, leaves), torch.autograd.grad(expected, leaves))
    for name in ("nll", "lse", "entropy", "hit", "max_logprob", "scored"):
        torch.testing.assert_close(getattr(statistics, name), getattr(of_logits, name))


def test_labels_and_targets_in_every_form_agree():
    head, hidden, labels = draw()
    expected = head.loss(hidden, labels=labels)
    for targets in (shift_labels(labels), Targets.from_labels(labels)):
        torch.testing.assert_close(head.loss(hidden, targets=targets), expected)


def test_a_targets_brings_its_weights_and_its_ignore_index():
    head, hidden, labels = draw()
    weight = torch.rand(B, T, dtype=torch.float64)
    targets = Targets.from_labels(labels, weight=weight, ignore_index=-1)
    torch.testing.assert_close(
        head.loss(hidden, targets=targets), head.loss(hidden, labels=labels, token_weight=weight)
    )
    twice = head.loss(hidden, targets=targets, token_weight=torch.full((B, T), 2.0))
    torch.testing.assert_close(twice, head.loss(hidden, targets=targets))


def test_documents_are_not_scored_across():
    head, hidden, labels = draw()
    document = torch.tensor([[0, 0, 1, 1, 1]]).expand(B, T)
    together = head.loss(hidden, labels=labels, document=document, reduction="sum")
    apart = [head.loss(hidden[:, rows], labels=labels[:, rows], reduction="sum") for rows in (slice(2), slice(2, 5))]
    torch.testing.assert_close(together, sum(apart))


def test_accumulated_micro_batches_give_the_gradient_of_the_whole():
    head, hidden, labels = draw()
    labels[0, 2:] = -100
    (whole,) = torch.autograd.grad(head.loss(hidden, labels=labels), head.weight)
    window = [(hidden[row], Targets.from_labels(labels[row])) for row in range(B)]
    divisor = scored_weight([targets for _, targets in window])
    for states, targets in window:
        head.loss(states, targets=targets, divisor=divisor).backward()
    torch.testing.assert_close(head.weight.grad, whole)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_reductions(reduction):
    head, hidden, labels = draw()
    expected = F.cross_entropy(head(hidden).reshape(-1, V), shift_labels(labels).reshape(-1), reduction=reduction)
    loss = head.loss(hidden, labels=labels, reduction=reduction)
    torch.testing.assert_close(loss, expected.reshape(loss.shape))


def test_a_tied_head_has_the_embeddings_parameter_and_one_gradient():
    model = nn.ModuleDict({"embedding": nn.Embedding(V, D), "head": LanguageModelingHead(D, V)})
    model["head"].tie_embedding_weights(model["embedding"])
    assert model["head"].weight is model["embedding"].weight
    assert sum(parameter.numel() for parameter in model.parameters()) == V * D
    ids = torch.randint(V, (B, T))
    model["head"].loss(model["embedding"](ids), labels=ids).backward()
    both = model["head"].weight.grad.clone()
    model["head"].weight.grad = None
    F.cross_entropy(
        F.linear(model["embedding"](ids)[:, :-1], model["head"].weight).flatten(0, 1), ids[:, 1:].flatten()
    ).backward()
    torch.testing.assert_close(both, model["head"].weight.grad)


def test_tying_survives_copying_casting_and_loading():
    model = nn.ModuleDict({"embedding": nn.Embedding(V, D), "head": LanguageModelingHead(D, V)})
    model["head"].tie_embedding_weights(model["embedding"])
    other = copy.deepcopy(model).double()
    assert other["head"].weight is other["embedding"].weight
    assert set(model.state_dict()) == {"embedding.weight", "head.weight"}
    other.load_state_dict(model.state_dict())
    assert other["head"].weight is other["embedding"].weight
    torch.testing.assert_close(other["head"].weight, model["head"].weight.double())


def test_an_embedding_of_another_shape_is_refused():
    with pytest.raises(ArgumentError, match=r"embedding.weight must be \[V, D\] = \[13, 8\], got \[14, 8\]"):
        LanguageModelingHead(D, V).tie_embedding_weights(nn.Embedding(V + 1, D))


def test_a_head_that_is_not_to_be_tied_refuses():
    with pytest.raises(ArgumentError, match="make the head with tie_weights=True"):
        LanguageModelingHead(D, V, tie_weights=False).tie_embedding_weights(nn.Embedding(V, D))


def test_only_modules_with_a_weight_can_be_tied():
    with pytest.raises(ArgumentTypeError, match=r"pass an nn\.Embedding"):
        LanguageModelingHead(D, V).tie_embedding_weights(nn.ReLU())


def test_ids_by_position_are_refused():
    head, hidden, labels = draw()
    with pytest.raises(ArgumentTypeError, match=r"labels=\.\.\. or targets=\.\.\."):
        head.loss(hidden, labels)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one of labels and targets"),
        ({"labels": torch.zeros(B, T - 1, dtype=torch.long)}, r"labels must have the shape \(2, 5\)"),
        ({"labels": torch.full((B, T), V)}, r"targets must be in \[0, 13\)"),
        ({"labels": torch.zeros(B, T, dtype=torch.long), "divisor": -1.0}, "divisor must be"),
        ({"labels": torch.zeros(B, T, dtype=torch.long), "token_weight": torch.ones(B, 1)}, "token_weight must have"),
        ({"labels": torch.zeros(B, T, dtype=torch.long), "class_weight": torch.ones(V + 1)}, "class_weight must have"),
    ],
)
def test_what_the_loss_refuses(arguments, message):
    head, hidden, _ = draw()
    with pytest.raises(ArgumentError, match=message):
        head.loss(hidden, **arguments)


def test_hidden_states_of_another_width_are_refused():
    head, hidden, labels = draw()
    with pytest.raises(ArgumentError, match="D = 8"):
        head.loss(hidden[..., 1:], labels=labels)


@pytest.mark.parametrize("options", [{"d_model": 0}, {"vocab_size": 0}, {"softcap": 0.0}])
def test_impossible_heads_are_refused(options):
    with pytest.raises(ArgumentError, match=next(iter(options))):
        LanguageModelingHead(**{"d_model": D, "vocab_size": V, **options})


def test_all_depths_through_one_head():
    head, hidden, labels = draw()
    total, statistics = head.multi_token_loss([hidden, hidden[:, :-1]], labels=labels)
    main = head.loss(hidden, labels=labels)
    ahead = F.cross_entropy(head(hidden[:, : T - 2]).flatten(0, 1), labels[:, 2:].flatten())
    torch.testing.assert_close(total, main + 0.3 * ahead)
    assert [of_depth.nll.shape for of_depth in statistics] == [(B, T), (B, T - 1)]


def test_autocast_runs_the_product_in_bfloat16():
    head = LanguageModelingHead(64, 32)
    hidden, labels = torch.randn(2, 9, 64, requires_grad=True), torch.randint(32, (2, 9))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = head.loss(hidden, labels=labels)
    loss.backward()
    assert loss.dtype == hidden.grad.dtype == head.weight.grad.dtype == torch.float32
    torch.testing.assert_close(loss, head.loss(hidden, labels=labels), rtol=2e-2, atol=0)


def test_ranks_and_top_tokens_come_with_the_statistics_where_they_are_asked_for():
    head = LanguageModelingHead(4, 6)
    hidden, targets = torch.randn(2, 5, 4), torch.randint(6, (2, 5))
    _, statistics = head.loss(hidden, targets=targets, return_stats=True, ranks=True, top_k=2)
    larger = head(hidden) > head(hidden).gather(-1, targets[..., None])
    assert torch.equal(statistics.rank, larger.sum(-1))
    values, ids = head(hidden).log_softmax(-1).topk(2)
    assert torch.equal(statistics.top_ids, ids)
    torch.testing.assert_close(statistics.top_logprobs, values)
