"""What stands around a text is what the tokenizer's files say, as transformers reads them."""

import pytest
from tokenizers import Tokenizer, models, processors

from lmhead.data.plain_text import PlainText
from lmhead.data.text_ends import TextEnds, stop_ids, with_begin
from lmhead.data.tokenizer_files import TokenizerFiles
from lmhead.errors import InputError


def files(special: list[str], *, ordinary: tuple[str, ...] = (), begins: str | None = None, **said) -> TokenizerFiles:
    words = ["a", "b", *ordinary, *special]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="a"))
    tokenizer.add_special_tokens(special)
    if begins is not None:
        number = tokenizer.token_to_id(begins)
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{begins} $A", special_tokens=[(begins, number)]
        )
    return TokenizerFiles(json=tokenizer.to_str(), **said)


def test_the_end_of_one_text_begins_the_next_where_nothing_else_does():
    assert TextEnds.of(files(["<|endoftext|>"])) == TextEnds(begin=(2,), end=2)


def test_the_post_processor_begins_and_the_eos_token_ends():
    given = files(["<BOS>", "<END>"], begins="<BOS>", special_tokens={"bos_token": "<BOS>", "eos_token": "<END>"})
    assert TextEnds.of(given) == TextEnds(begin=(2,), end=3)
    assert stop_ids(given) == (3,)


def test_an_ordinary_token_of_an_end_s_name_ends_nothing():
    assert TextEnds.of(files(["<|end_of_text|>"], ordinary=("</s>",))).end == 3
    assert TextEnds.of(files([], ordinary=("</s>",))).end == 2  # there is no other


def test_what_ends_a_generation_stops_too():
    given = files(["</s>", "<|im_end|>"], special_tokens={"eos_token": "<|im_end|>"}, generation_eos=(1, 3))
    assert stop_ids(given) == (3, 2, 1)
    assert TextEnds.of(files([], generation_eos=(1,))).end == 1


@pytest.mark.parametrize("names", [{}, {"eos_token": "<nowhere>"}])
def test_a_tokenizer_without_any_end_is_named(names):
    with pytest.raises(InputError, match="the tokenizer T has no end-of-text token: name one as eos_token"):
        TextEnds.of(files([], special_tokens=names, source="T"))


def test_a_tokenizer_that_puts_nothing_is_made_to_begin_as_training_does():
    from transformers import PreTrainedTokenizerFast

    made = with_begin(files(["</s>"]))
    assert PlainText(made.backend()).prefix == [2]
    assert made.backend().encode("a", "b").ids == [2, 0, 1]
    assert PreTrainedTokenizerFast(tokenizer_object=made.backend())("a").input_ids == [2, 0]
    assert with_begin(made) == made
