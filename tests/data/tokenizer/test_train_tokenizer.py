"""The byte-level BPE keeps every text, fills its vocabulary or says so, and never makes control ids of plain text."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmhead.data.tokenizer.text_ends import TextEnds
from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles, read_tokenizer
from lmhead.data.tokenizer.train_tokenizer import END_OF_TEXT, encode_documents, train_tokenizer
from lmhead.errors import InputError

TOKENIZER = train_tokenizer(["def f(x):\n    return x + 1\n\n", "class A:\n\tpass  # caf\u00e9 123456\n"] * 3, 280)
ENDS = TextEnds.of(TokenizerFiles(json=TOKENIZER.to_str()))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_every_text_survives(text: str) -> None:
    [ids] = encode_documents(TOKENIZER, [text], ENDS)
    assert TOKENIZER.decode(ids[1:-1], skip_special_tokens=False) == text
    assert max(ids) < TOKENIZER.get_vocab_size()


def test_documents_open_and_close_with_end_of_text() -> None:
    end = TOKENIZER.token_to_id(END_OF_TEXT)
    assert encode_documents(TOKENIZER, [""], ENDS) == [[end, end]]


def test_a_control_token_written_in_a_text_stays_text() -> None:
    [ids] = encode_documents(TOKENIZER, [f"a {END_OF_TEXT} b"], ENDS)
    assert ENDS.end not in ids[1:-1]


def test_a_vocabulary_that_the_text_cannot_fill_is_refused_with_the_one_it_can() -> None:
    with pytest.raises(InputError, match=r"got 5000: give vocab_size=\d+, or more text"):
        train_tokenizer(["abc"], 5000)


def test_training_is_deterministic() -> None:
    again = train_tokenizer(["def f(x):\n    return x + 1\n\n", "class A:\n\tpass  # caf\u00e9 123456\n"] * 3, 280)
    assert (
        again.to_str()
        == train_tokenizer(
            ["def f(x):\n    return x + 1\n\n", "class A:\n\tpass  # caf\u00e9 123456\n"] * 3, 280
        ).to_str()
    )


@pytest.mark.parametrize("piece", ["a", "\u00e9", " ", "-", "\n", "7", "ab1_"])
def test_a_megabyte_without_a_break_is_trained_on_and_encoded(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    tokenizer = train_tokenizer([text, "some words of another kind " * 3], 259)
    [ids] = encode_documents(tokenizer, [text], ENDS)
    assert tokenizer.decode(ids[1:-1], skip_special_tokens=False) == text


def test_a_stored_truncation_and_padding_do_not_cut_documents(tmp_path: Path) -> None:
    stored = train_tokenizer(["def f(x):\n    return x + 1\n\n"] * 3, 260)
    text = "def f(x):\n" * 100
    whole = encode_documents(stored, [text, "f"], ENDS)
    stored.enable_truncation(8)
    stored.enable_padding(length=16)
    stored.save(str(tmp_path / "tokenizer.json"))
    loaded = read_tokenizer(str(tmp_path)).backend()
    assert encode_documents(loaded, [text, "f"], ENDS) == whole
    assert (loaded.truncation, loaded.padding) == (None, None)
