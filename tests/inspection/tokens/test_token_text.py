"""Text of single tokens: joined it is the text, bytes stay bytes, spaces stay spaces, for tokenizers of every kind."""

from types import MappingProxyType

import pytest
from tests.inspection.tokens.tokenizers_of_kinds import TEXT, byte_fallback, byte_level, metaspace, word_piece, words
from transformers import PreTrainedTokenizerFast

from lmhead.errors import ArgumentTypeError
from lmhead.given.given_tokenizer import GivenTokenizer
from lmhead.inspection.tokens.token_text import TokenText
from lmhead.record.vocabulary import Piece


@pytest.mark.parametrize("make", [byte_level, byte_fallback])
def test_bytes_of_tokens_end_to_end_are_the_text(make):
    backend = make()
    text = TokenText.of(backend)
    ids = backend.encode(f"{TEXT}<end>").ids
    assert b"".join(text.spelled(number) for number in ids) == f"{TEXT}<end>".encode()
    assert text[ids[-1]] == Piece(kind="control", text="<end>")


def test_a_part_of_a_character_is_bytes_and_no_replacement():
    backend = byte_level(260, "plain")
    pieces = [TokenText.of(backend)[number] for number in backend.encode("é\U0001f600").ids]
    assert pieces == [Piece(kind="bytes", text=each) for each in ("c3", "a9", "f0", "9f", "98", "80")]


def test_a_byte_that_is_a_character_is_text():
    backend = byte_fallback()
    text = TokenText.of(backend)
    assert text[backend.token_to_id("<0x0A>")] == Piece(kind="text", text="\n")
    assert text[backend.token_to_id("<0xC2>")] == Piece(kind="bytes", text="c2")


@pytest.mark.parametrize(
    ("make", "sentence", "pieces"),
    [
        (metaspace, "the end", [" the", " end"]),
        (word_piece, "the thing:", [" the", " th", "ing", " :"]),
        (words, "the end", [" the", " end"]),
    ],
)
def test_spaces_between_words_stay(make, sentence, pieces):
    backend = make()
    text = TokenText.of(backend)
    assert [text[number].text for number in backend.encode(sentence).ids] == pieces


def test_what_is_no_token_says_so():
    text = TokenText.of(byte_level())
    assert text[99_999] == Piece(kind="control", text="[no token 99999]")
    assert text[-5] == Piece(kind="control", text="[no token -5]")
    assert text[2**70].kind == "control"


def test_added_tokens_that_are_text_are_text():
    backend = byte_level()
    backend.add_tokens(["<think>"])
    assert TokenText.of(backend)[backend.token_to_id("<think>")] == Piece(kind="text", text="<think>")


def test_a_tokenizer_of_transformers_is_what_it_holds():
    backend = byte_level()
    given = GivenTokenizer.of(PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>"))
    assert given.special.eos == backend.token_to_id("<end>")
    assert given.size == backend.get_vocab_size()
    assert given.text[given.special.eos] == Piece(kind="control", text="<end>")
    assert given.same_tokens(GivenTokenizer.of(backend))
    assert not given.same_tokens(GivenTokenizer.of(byte_fallback()))


class Slow:
    """As a tokenizer of transformers that is written in Python."""

    eos_token_id, bos_token_id, pad_token_id = 3, None, None
    name_or_path = "slow"
    all_special_ids = (3,)
    added_tokens_decoder = MappingProxyType({3: "</s>"})
    tokens = ("\u2581the", "<0x0A>", "<0xC3>", "</s>")

    def __len__(self):
        return len(self.tokens)

    def get_vocab(self):
        return {token: number for number, token in enumerate(self.tokens)}

    def convert_ids_to_tokens(self, number):
        return self.tokens[number]


def test_a_tokenizer_that_is_written_in_python_is_read_by_its_tokens():
    given = GivenTokenizer.of(Slow())
    assert (given.name, given.size, given.backend) == ("slow", 4, None)
    assert [given.text[number] for number in range(5)] == [
        Piece(kind="text", text=" the"),
        Piece(kind="text", text="\n"),
        Piece(kind="bytes", text="c3"),
        Piece(kind="control", text="</s>"),
        Piece(kind="control", text="[no token 4]"),
    ]


@pytest.mark.parametrize("other", [object(), 5, {"a": 0}])
def test_what_is_no_tokenizer_is_refused(other):
    with pytest.raises(ArgumentTypeError, match="tokenizer must be one of transformers or tokenizers"):
        GivenTokenizer.of(other)
