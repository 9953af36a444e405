"""The byte-level BPE keeps every text, fills its vocabulary or says so, and never makes control ids of plain text."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmhead.errors import InputError
from lmhead.training.tokenizer import END_OF_TEXT, encode_documents, end_of_text, load_tokenizer, train_tokenizer

TOKENIZER = train_tokenizer(["def f(x):\n    return x + 1\n\n", "class A:\n\tpass  # caf\u00e9 123456\n"] * 3, 280)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_every_text_survives(text: str) -> None:
    [ids] = encode_documents(TOKENIZER, [text])
    assert TOKENIZER.decode(ids[1:-1], skip_special_tokens=False) == text
    assert max(ids) < TOKENIZER.get_vocab_size()


def test_documents_open_and_close_with_end_of_text() -> None:
    end = end_of_text(TOKENIZER)
    assert encode_documents(TOKENIZER, [""]) == [[end, end]]


def test_a_control_token_written_in_a_text_stays_text() -> None:
    [ids] = encode_documents(TOKENIZER, [f"a {END_OF_TEXT} b"])
    assert end_of_text(TOKENIZER) not in ids[1:-1]


def test_a_vocabulary_that_the_text_cannot_fill_is_refused_with_the_one_it_can() -> None:
    with pytest.raises(InputError, match=r"got 5000: pass --vocab-size \d+ or more text"):
        train_tokenizer(["abc"], 5000)


def test_training_is_deterministic() -> None:
    again = train_tokenizer(["def f(x):\n    return x + 1\n\n", "class A:\n\tpass  # caf\u00e9 123456\n"] * 3, 280)
    assert (
        again.to_str()
        == train_tokenizer(
            ["def f(x):\n    return x + 1\n\n", "class A:\n\tpass  # caf\u00e9 123456\n"] * 3, 280
        ).to_str()
    )


def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such tokenizer"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match=r"tokenizer\.json is not a tokenizer"):
        load_tokenizer(tmp_path)
