"""Bytes of scored tokens: those of the raw text, never of what the tokens decode to; or none, and why."""

import random

import numpy as np
import pytest
from tests.evaluation.documents.tokenizers_of_kinds import KINDS, of_kind

from lmhead.data.tokenizer.plain_text import PlainText
from lmhead.evaluation.documents.text_tokens import TextTokenizer

TEXTS = [
    "the cat",
    " the cat",
    "the  cat   sat ",
    "🙂 and 👩\u200d👩\u200d👧",
    "日本語の文",
    "a\0b",
    "x = 3\r\ny = 4\r\n",
    "\ufeffthe mat",
    "\n\n\tthe",
    "\ufffd \ufffd",
    "<s> the </s><|turn|>",
    "e\u0301 is not NFC",
    " ",
    "don't, the dog. did",
    "The Cat",
]
WHOLE = ["byte-level", "byte-level, a space in front", "byte fallback", "byte fallback, a mark in front"]


def made(kind, texts):
    return TextTokenizer(of_kind(kind).shared_backend())(texts)


def check(kind, text, tokens):
    assert tokens.utf8 == text.encode()
    assert tokens.ids.tolist() == PlainText(of_kind(kind).shared_backend()).ids(text)
    if tokens.ends is None:
        assert tokens.lost
        return
    assert tokens.lost is None
    assert tokens.ends.dtype == np.int64
    assert len(tokens.ends) == len(tokens.ids)
    assert (np.diff(tokens.ends, prepend=0) >= 0).all()
    assert tokens.ends[-1:].tolist() in ([len(tokens.utf8)], [])


@pytest.mark.parametrize("kind", KINDS)
def test_ends_never_fall_and_the_last_is_the_texts_length_or_there_are_none_and_a_reason(kind):
    for text, tokens in zip(TEXTS, made(kind, TEXTS), strict=True):
        check(kind, text, tokens)


@pytest.mark.parametrize("kind", WHOLE)
def test_tokenizers_that_lose_nothing_tell_the_bytes_of_any_text(kind):
    for text, tokens in zip(TEXTS, made(kind, TEXTS), strict=True):
        assert tokens.ends is not None, (text, tokens.lost)


@pytest.mark.parametrize("kind", KINDS)
def test_each_tokens_bytes_are_those_that_its_own_prefix_of_the_text_has(kind):
    """Brute force: what the first t tokens decode to, where that is whole characters, is so many bytes of the text."""
    backend, compared = of_kind(kind).shared_backend(), 0
    for text, tokens in zip(TEXTS, made(kind, TEXTS), strict=True):
        if tokens.ends is None:
            continue
        for t in range(1, len(tokens.ids) + 1):
            back = backend.decode(tokens.ids[:t].tolist(), skip_special_tokens=False)
            if "\ufffd" not in text and back.strip() and text.strip().startswith(back.strip()):
                assert tokens.utf8[: tokens.ends[t - 1]].decode().strip() == back.strip(), (text, t)
                compared += 1
    assert compared or kind == "word pieces, lower case"


def test_tokens_that_are_part_of_a_character_end_inside_of_it():
    [tokens] = made("byte-level", ["é日👧"])
    assert tokens.ends.tolist()[-1] == 9
    assert not {2, 5}.isdisjoint(tokens.ends.tolist())
    assert any((tokens.utf8[end] & 0xC0) == 0x80 for end in tokens.ends[:-1])


def test_the_mark_that_a_tokenizer_puts_before_a_text_is_no_byte_of_it():
    for text in ("the", " the", "  the"):
        [tokens] = made("byte fallback, a mark in front", [text])
        assert tokens.ends[-1] == len(text)


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("byte-level, NFC", "e\u0301", "comes back as"),
        ("word pieces, lower case", "The cat", "'The cat' comes back as 'the cat'"),
        ("word pieces", "the  cat", "comes back as 'the cat'"),
        ("unigram", "Ω the", "comes back as"),
    ],
)
def test_a_text_that_does_not_come_back_has_no_bytes_and_it_is_said_what_becomes_of_it(kind, text, said):
    [tokens] = made(kind, [text])
    assert tokens.ends is None
    assert said in tokens.lost


def test_white_space_that_offsets_leave_out_is_of_the_token_behind_it():
    [tokens] = made("word pieces", ["the cat"])
    assert tokens.lost is None
    assert {3, 7} <= set(tokens.ends.tolist())
    assert 4 not in tokens.ends.tolist()


@pytest.mark.parametrize("kind", ["byte-level", "byte fallback, a mark in front", "unigram"])
def test_a_long_text_in_windows_has_the_tokens_and_bytes_of_the_text_encoded_whole(kind):
    draw = random.Random(0)
    words = ["the", "cat", "sat", "on", "mat", "dog", "not", "and"]
    text = "".join(draw.choice(words) + draw.choice([" ", " ", "\n", ", "]) for _ in range(80_000))
    assert len(text) > 2**18
    [tokens] = made(kind, [text])
    check(kind, text, tokens)


def test_random_texts_of_random_characters():
    draw = random.Random(1)
    characters = "ab \n\t\0é日🙂\u0301\ufeff\u200d<s>"
    texts = ["".join(draw.choices(characters, k=draw.randint(0, 30))) for _ in range(200)]
    for kind in KINDS:
        for text, tokens in zip(texts, made(kind, texts), strict=True):
            check(kind, text, tokens)
            assert tokens.ends is not None or kind not in WHOLE
