"""Scores of rows: those of float64 on full logits, whatever shares a row, whatever pads it, however long it is."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

import lmhead
from lmhead import Example, pack
from lmhead.errors import ArgumentError, ArgumentTypeError, InputError
from lmhead.labels.packing.wrapped_rows import DocumentStream, WrappedRows

V = 50


def gpt(context=32, seed=0, vocabulary=V):
    torch.manual_seed(seed)
    return lmhead.GPT(vocabulary, 16, 2, 2, context).eval()


def llama():
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=V, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
    return LlamaForCausalLM(config).eval()


def drawn(count, seed=0):
    return np.random.default_rng(seed).integers(1, V, count).tolist()


@torch.no_grad()
def exact(model, ids, targets):
    """(nll, rank, entropy, top ids, top logprobs) in float64, of full logits."""
    made = model(torch.tensor([ids]))
    logits = made[0] if isinstance(made, tuple) else made.logits
    logprobs = logits[0].double().log_softmax(-1)
    wanted = torch.tensor(targets)
    own = logprobs.gather(-1, wanted.clamp(min=0)[:, None])
    top = logprobs.topk(5)
    entropy = -(logprobs.exp() * logprobs).sum(-1)
    rank = (logprobs > own).sum(-1)
    return -own[:, 0].numpy(), rank.numpy(), entropy.numpy(), top.indices.numpy(), top.values.numpy()


def assert_exact(scores, places, model, ids, targets):
    """Scores at `places` are those of the ids alone, where there is a target."""
    nll, rank, entropy, top_ids, top = exact(model, ids, targets)
    known = np.array(targets) >= 0
    places = np.array(places)
    np.testing.assert_allclose(scores.nll[places][known], nll[known], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(scores.rank[places][known], rank[known])
    np.testing.assert_allclose(scores.entropy[places][known], entropy[known], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(scores.top_ids[places][known], top_ids[known])
    np.testing.assert_allclose(scores.top_logprobs[places][known], top[known], rtol=1e-5, atol=1e-5)
    assert np.isnan(scores.nll[places][~known]).all()
    assert (scores.rank[places][~known] == -1).all()


def drafting():
    """With modules of multi-token prediction, which nothing is asked of here."""
    return lmhead.MultiTokenModel.behind(gpt(), depth=2).eval()


@pytest.mark.parametrize("make", [gpt, llama, drafting])
def test_every_token_that_follows_another_is_scored_trained_or_not(make):
    model, ids = make(), drawn(9)
    seen = lmhead.inspect({"input_ids": [ids], "labels": [[-100] * 7 + ids[7:]]}, model)
    assert_exact(seen.rows[0].scores, range(9), model, ids, [*ids[1:], -100])


@pytest.mark.parametrize("make", [gpt, llama])
def test_a_document_is_scored_as_alone_whatever_it_shares_its_row_with(make):
    model = make()
    documents = [drawn(size, size) for size in (4, 7, 3, 9, 2)]
    examples = [Example.of(ids, trained=[True] * len(ids)) for ids in documents]
    seen = lmhead.inspect(pack(examples, length=14, overflow="drop"), model)
    for row in seen.rows:
        for number, name in enumerate(row.names):
            ids = documents[int(name.removeprefix("example "))]
            assert_exact(row.scores, np.flatnonzero(row.document == number), model, ids, [*ids[1:], -100])
        assert np.isnan(row.scores.nll[row.document < 0]).all()


@pytest.mark.parametrize("make", [gpt, llama])
def test_padding_on_either_side_moves_nothing(make):
    model, ids = make(), drawn(6)
    batch = {
        "input_ids": torch.tensor([[0, 0, *ids], [*ids, 0, 0]]),
        "labels": torch.tensor([[-100, -100, *ids], [*ids, -100, -100]]),
        "attention_mask": torch.tensor([[0, 0] + [1] * 6, [1] * 6 + [0, 0]]),
    }
    left, right = lmhead.inspect(batch, model).rows
    assert_exact(left.scores, range(2, 8), model, ids, [*ids[1:], -100])
    assert_exact(right.scores, range(6), model, ids, [*ids[1:], -100])


def test_labels_that_are_other_tokens_are_scored_as_they_would_be_learnt():
    model, ids = gpt(), drawn(6)
    seen = lmhead.inspect({"input_ids": [ids], "labels": [[*ids[1:], -100]]}, model)
    assert "labels_already_shifted" in seen
    assert_exact(seen.rows[0].scores, range(6), model, ids, [*ids[2:], ids[5], -100])


def test_a_label_that_is_no_id_has_no_loss():
    ids = drawn(4)
    (row,) = lmhead.inspect({"input_ids": [ids], "labels": [[ids[0], -7, V, ids[3]]]}, gpt()).rows
    assert row.targets.tolist() == [-100, V, ids[3], -100]
    assert np.isnan(row.scores.nll).tolist() == [
        False,
        True,
        False,
        True,
    ]  # the first is not learnt, and read all the same


def test_a_target_behind_the_row_is_scored():
    model = gpt()
    batch = WrappedRows(DocumentStream.of([drawn(40)]), length=8, seed=0).take(0, 2)
    for row, ids, targets in zip(
        lmhead.inspect(batch, model).rows, batch.ids.tolist(), batch.targets.ids.tolist(), strict=True
    ):
        assert targets[-1] >= 0
        assert_exact(row.scores, range(8), model, ids, targets)


def test_rows_that_attention_crosses_are_read_as_one_text():
    model = gpt()
    batch = WrappedRows(DocumentStream.of([drawn(5), drawn(9, 1)]), length=13, seed=0).take(0, 1)
    (row,) = lmhead.inspect(batch, model).rows
    assert row.document.max() > 0
    assert_exact(row.scores, range(13), model, batch.ids[0].tolist(), row.targets.tolist())


@pytest.mark.parametrize("length", [16, 17, 40, 41])
def test_what_is_longer_than_the_context_is_read_in_windows_that_overlap_by_half(length):
    model, ids = gpt(context=16), drawn(length)
    (row,) = lmhead.inspect({"input_ids": [ids], "labels": [ids]}, model).rows
    assert np.isfinite(row.scores.nll[:-1]).all()
    np.testing.assert_allclose(row.scores.nll[:15], exact(model, ids[:16], [*ids[1:16], 0])[0][:15], rtol=1e-5)
    for start in range(8, length - 16 + 1, 8):  # a window scores what the one before has not
        window = ids[start : start + 16]
        targets = ([*window[1:], ids[start + 16] if start + 16 < length else -100])[8:]
        nll = exact(model, window, [0] * 8 + targets)[0][8:]
        known = np.array(targets) >= 0
        np.testing.assert_allclose(row.scores.nll[start + 8 : start + 16][known], nll[known], rtol=1e-5, atol=1e-5)


def test_a_vocabulary_smaller_than_the_alternatives_gives_all_of_it():
    (row,) = lmhead.inspect({"input_ids": [[1, 2]], "labels": [[1, 2]]}, gpt(vocabulary=3)).rows
    assert row.scores.top_ids.shape == (2, 3)


def test_no_alternatives_where_none_are_asked_for():
    (row,) = lmhead.inspect({"input_ids": [[1, 2]], "labels": [[1, 2]]}, gpt(), top=0).rows
    assert row.scores.top_ids is None


def test_ids_that_the_model_does_not_know_are_refused_with_its_size():
    with pytest.raises(InputError, match=r"ids must be in the vocabulary of GPT, \[0, 50\), got 99 in row 1"):
        lmhead.inspect({"input_ids": [[1, 2], [1, 99]], "labels": [[1, 2], [1, 99]]}, gpt())


def test_two_models_are_scored_alike():
    one, other, ids = gpt(), gpt(seed=1), drawn(6)
    seen = lmhead.inspect({"input_ids": [ids], "labels": [ids]}, one, against=other)
    assert_exact(seen.rows[0].scores, range(6), one, ids, [*ids[1:], -100])
    assert_exact(seen.rows[0].against, range(6), other, ids, [*ids[1:], -100])
    assert seen.header["models"] == ["GPT 1", "GPT 2"]


def test_modules_are_left_in_the_modes_that_each_had():
    model = llama().train()
    model.model.layers[0].eval()  # somebody's frozen part
    before = [module.training for module in model.modules()]
    lmhead.inspect({"input_ids": [[5, 6]], "labels": [[5, 6]]}, model)
    assert [module.training for module in model.modules()] == before


def test_the_model_is_left_as_it_was():
    model = llama().train()
    before = model.forward
    lmhead.inspect({"input_ids": [[1, 2]], "labels": [[1, 2]]}, model)
    assert model.training
    assert model.forward == before
    assert lmhead.patch(model) is not None  # it was not patched any more
    lmhead.inspect({"input_ids": [[1, 2]], "labels": [[1, 2]]}, model)
    lmhead.unpatch(model)  # who patched it finds it patched


@pytest.mark.parametrize("model", [nn.Linear(2, 2), 5, lambda ids: ids])
def test_what_is_no_model_is_refused(model):
    with pytest.raises((ArgumentTypeError, ArgumentError), match="model must be"):
        lmhead.inspect({"input_ids": [[1, 2]], "labels": [[1, 2]]}, model)


def test_another_model_beside_none_is_refused():
    with pytest.raises(ArgumentError, match="model must be given where another is shown beside it"):
        lmhead.inspect({"input_ids": [[1, 2]]}, against=gpt())
