"""Places told by the bytes of tokens are those that the tokenizer's offsets tell; where bytes do not tell, None."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.labels.chat.chat_cases import CASES, tokenizer_for
from tests.labels.chat.chat_judge import render
from tests.labels.chat.chat_templates import CHATML
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from lmhead.labels.offsets.token_bytes import TokenBytes
from lmhead.labels.offsets.token_map import tokenized

BACKEND = tokenizer_for(CHATML)


def added(backend):
    return {number: token.content for number, token in backend.get_added_tokens_decoder().items()}


def told(backend, text):
    return TokenBytes(backend, added(backend)).tokens(text)


def assert_as_offsets_tell(backend, text, borders):
    quick = tokenized(backend, text, borders, added(backend), TokenBytes(backend, added(backend)))
    slow = tokenized(backend, text, borders, added(backend))
    for name in ("ids", "starts", "stops", "anchors"):
        np.testing.assert_array_equal(getattr(quick, name), getattr(slow, name))
        assert getattr(quick, name).dtype == getattr(slow, name).dtype
    assert quick.cuts == slow.cuts


@given(st.text(st.characters(exclude_categories=["Cs"])), st.sets(st.integers(0, 40), max_size=4))
def test_any_text_has_the_places_that_offsets_tell(text, borders):
    assert_as_offsets_tell(BACKEND, text, sorted(border for border in borders if border <= len(text)))


@pytest.mark.parametrize("case", CASES)
def test_a_conversation_has_the_places_that_offsets_tell(case):
    messages = [{"content": "", **message} for message in CASES[case]]
    text = render(CHATML, messages)
    assert told(BACKEND, text) is not None
    assert_as_offsets_tell(BACKEND, text, [20, 40, 60])


def test_a_character_of_several_tokens_belongs_to_each():
    _, starts, stops = told(BACKEND, "a\U0001f600b")
    assert (starts.tolist(), stops.tolist()) == ([0, 1, 1, 1, 1, 2], [1, 2, 2, 2, 2, 3])


def test_no_text_has_no_tokens():
    assert [len(array) for array in told(BACKEND, "")] == [0, 0, 0]


def test_bytes_do_not_tell_where_the_tokenizer_normalises_until_it_does_not():
    backend = tokenizer_for()
    backend.normalizer = normalizers.NFC()
    assert told(backend, "e\u0301") is None
    assert told(backend, "\u00e9") is not None
    assert_as_offsets_tell(backend, "e\u0301 b", [1, 2])


def test_bytes_do_not_tell_where_a_token_swallows_white_space():
    backend = tokenizer_for()
    backend.add_special_tokens([AddedToken("<|x|>", rstrip=True, special=True, normalized=False)])
    assert told(backend, "a<|x|> b") is None
    assert_as_offsets_tell(backend, "a<|x|> b", [1, 7])


def test_what_fails_always_is_not_tried_for_ever():
    backend = tokenizer_for()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    places = TokenBytes(backend, added(backend))
    assert [places.tokens("a") for _ in range(20)] == [None] * 20
    assert places.tokens(" a") is None


def test_bytes_tell_nothing_of_a_tokenizer_that_is_not_byte_level():
    backend = Tokenizer(models.BPE({"a": 0, "\u0120": 1}, []))
    assert told(backend, "a") is None
    backend.decoder = decoders.Metaspace()
    assert told(backend, "a") is None
