"""Two models with two tokenizers: spans of whole tokens of both, over the same bytes, and no loss is lost."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.inspection.tokens.test_token_text import Slow
from tests.inspection.tokens.tokenizers_of_kinds import TEXT, byte_fallback, byte_level, metaspace, word_piece
from transformers import PreTrainedTokenizerFast

import lmhead
from lmhead import Example
from lmhead.errors import ArgumentError
from lmhead.given.given_tokenizer import GivenTokenizer

SENTENCE = "the end of the thing\n"


def gpt(tokenizer, seed=0):
    torch.manual_seed(seed)
    return lmhead.GPT(tokenizer.get_vocab_size(), 16, 2, 1, 128).eval()


def example(tokenizer, text):
    ids = tokenizer.encode(text).ids
    return Example.of(ids, trained=[True] * len(ids))


def compared(own, other, text=TEXT, **options):
    """The inspection of a text by a model with `own`, against one with `other`."""
    examples = [example(own, text)]
    return lmhead.inspect(examples, gpt(own), tokenizer=own, against=gpt(other, 1), against_tokenizer=other, **options)


@torch.no_grad()
def losses(model, ids):
    """nll of each token, of the first NaN, in float64."""
    logprobs = model(torch.tensor([ids]))[0][0].double().log_softmax(-1)
    return [float("nan"), *(-logprobs[place, number].item() for place, number in enumerate(ids[1:]))]


PAIRS = [
    (byte_level, byte_fallback),
    (byte_fallback, byte_level),
    (lambda: byte_level(400), lambda: byte_level(257)),
    (byte_level, metaspace),
    (metaspace, byte_level),
]


@pytest.mark.parametrize(("own", "other"), PAIRS)
def test_spans_tile_the_row_and_their_losses_are_those_of_the_other_model(own, other):
    own, other = own(), other()
    text = SENTENCE if other.get_vocab_size() < 100 or own.get_vocab_size() < 100 else TEXT
    (row,) = compared(own, other, text).rows
    spans = row.against
    assert [span.start for span in spans] == [0, *(span.stop for span in spans[:-1])]
    assert spans[-1].stop == len(row.ids)
    ids = other.encode(text).ids
    nll = losses(gpt(other, 1), ids)
    assert "|".join(span.text for span in spans).count("|") == len(ids) - 1
    np.testing.assert_allclose(np.nansum([span.nll for span in spans[1:]]), sum(nll[_tokens(spans[0]) :]), rtol=1e-5)
    assert np.isnan(spans[0].nll)


def _tokens(span):
    return span.text.count("|") + 1


def test_bytes_of_a_span_are_the_same_in_both():
    own, other = byte_level(400), byte_level(257)
    (row,) = compared(own, other).rows
    text = GivenTokenizer.of(own).text
    for span in row.against:
        mine = b"".join(text.spelled(int(number)) for number in row.ids[span.start : span.stop])
        theirs = span.text.replace("|", "").replace("·", " ").replace("↵", "\n")
        if "⟨" not in theirs:
            assert mine.decode() == theirs


@pytest.mark.parametrize("other", [lambda: byte_level(400), byte_fallback])
def test_bytes_that_are_of_no_character_move_no_border_behind_them(other):
    own, other = byte_level(257, ""), other()
    ids = [
        *own.encode("the end ").ids,
        *own.encode("\U0001f600").ids[:2],
        *own.encode(" of the thing").ids,
    ]
    data = [Example.of(ids, trained=[True] * len(ids))]
    (row,) = lmhead.inspect(data, gpt(own), tokenizer=own, against=gpt(other, 1), against_tokenizer=other).rows
    text = GivenTokenizer.of(own).text
    mine = [b"".join(text.spelled(int(number)) for number in ids[span.start : span.stop]) for span in row.against]
    theirs = [span.text.replace("|", "").replace("·", " ") for span in row.against]
    assert [broken for broken, told in zip(mine, theirs, strict=True) if broken != told.encode()] == [b"\xf0", b"\x9f"]
    assert row.against[-1].stop == len(ids)


def test_a_tokenizer_of_single_bytes_ends_a_span_with_each_token():
    own, other = byte_level(400), byte_level(257, "")
    (row,) = compared(own, other).rows
    assert len(row.against) == len(row.ids)


def test_control_tokens_are_those_of_the_same_name_or_the_same_part():
    own = byte_level()
    other = byte_level(257)
    fast = PreTrainedTokenizerFast(tokenizer_object=own, eos_token="<end>")
    ids = own.encode("the<end>").ids
    data = [Example.of(ids, trained=[True] * len(ids))]
    (row,) = lmhead.inspect(data, gpt(own), tokenizer=fast, against=gpt(other), against_tokenizer=other).rows
    assert row.against[-1].text == "<end>"
    named = byte_level(256)
    named = PreTrainedTokenizerFast(tokenizer_object=_with_end(named, "</s>"), eos_token="</s>")
    (row,) = lmhead.inspect(
        data, gpt(own), tokenizer=fast, against=gpt(named.backend_tokenizer), against_tokenizer=named
    ).rows
    assert row.against[-1].text == "</s>"


def _with_end(backend, token):
    made = type(backend).from_str(backend.to_str().replace("<end>", token))
    assert made.token_to_id("<end>") is None
    return made


def test_what_the_other_puts_before_a_text_is_read_and_belongs_to_no_span():
    from tokenizers.processors import TemplateProcessing

    own, other = byte_level(), byte_level(257)
    other.post_processor = TemplateProcessing(single="<end> $A", special_tokens=[("<end>", other.token_to_id("<end>"))])
    (row,) = compared(own, other, SENTENCE).rows
    nll = losses(gpt(other, 1), other.encode(SENTENCE).ids)
    np.testing.assert_allclose(sum(span.nll for span in row.against), sum(nll[1:]), rtol=1e-5)


def test_the_same_tokens_are_compared_one_by_one():
    own = byte_level()
    (row,) = compared(own, byte_level()).rows
    assert len(row.against.nll) == len(row.ids)


def test_folded_text_is_compared_as_it_is_folded():
    (row,) = compared(word_piece(), byte_level(), "The thing: the end").rows
    assert row.against[-1].stop == len(row.ids)


def test_a_tokenizer_that_is_written_in_python_cannot_stand_beside_another():
    own = byte_level()
    with pytest.raises(ArgumentError, match="against_tokenizer must say which bytes its tokens stand for, got slow"):
        lmhead.inspect(
            [example(own, "the")], gpt(own), tokenizer=own, against=lmhead.GPT(9, 8, 2, 1), against_tokenizer=Slow()
        )


def test_the_header_names_both_tokenizers():
    seen = compared(byte_level(400), byte_level(257))
    assert seen.header["tokenizer"]["vocab_size"] > seen.header["against_tokenizer"]["vocab_size"]


OWN, OTHERS = (
    byte_level(400),
    {"fallback": byte_fallback(), "level": byte_level(270, "of the"), "metaspace": metaspace()},
)
MODELS = {name: gpt(other, 1) for name, other in OTHERS.items()}


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="|"), min_size=1, max_size=20),
    st.sampled_from([*OTHERS]),
)
def test_of_any_text_the_spans_tile_the_row_and_no_loss_is_lost(text, name):
    other = OTHERS[name]
    data = [example(OWN, text)]
    (row,) = lmhead.inspect(data, gpt(OWN), tokenizer=OWN, against=MODELS[name], against_tokenizer=other, top=0).rows
    spans = row.against
    edges = [0, *(span.stop for span in spans)]
    assert [span.start for span in spans] == edges[:-1]
    assert edges[-1] == len(row.ids)
    assert all(span.start < span.stop for span in spans)
    nll = losses(MODELS[name], other.encode(text).ids)
    np.testing.assert_allclose(sum(span.nll for span in spans[1:]), sum(nll[_tokens(spans[0]) :]), rtol=1e-4, atol=1e-4)
