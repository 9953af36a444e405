"""What stands around a text is what the tokenizer's files say, as transformers reads them."""

import json

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from lmhead.data.tokenizer.plain_text import PlainText
from lmhead.data.tokenizer.text_ends import TextEnds, ends_of_text, generation_stops, prompt_ids, stop_ids, with_begin
from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles, read_tokenizer
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


def test_with_a_chat_template_a_text_ends_at_the_usual_token_and_a_turn_at_the_eos_token():
    said = {"special_tokens": {"eos_token": "<|im_end|>"}, "chat_template": "{{ messages }}"}
    given = files(["<|endoftext|>", "<|im_end|>"], **said)
    assert TextEnds.of(given) == TextEnds(begin=(2,), end=2)
    assert (ends_of_text(given), PlainText(with_begin(given).backend()).prefix) == ((3, 2), [2])
    assert TextEnds.of(files(["<END>"], chat_template="", special_tokens={"eos_token": "<END>"})).end == 2


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


@pytest.mark.parametrize("name", ["</s>", "a b: c", "$A:1", "\u2581<\u00e9>", '"'])
@pytest.mark.parametrize("own", [False, True])
def test_what_begins_is_put_whatever_it_is_called(name, own):
    given = files([name], special_tokens={"eos_token": name})
    if own:
        backend = given.backend()
        backend.post_processor = processors.ByteLevel(trim_offsets=False)
        given = TokenizerFiles(json=backend.to_str(), special_tokens=given.special_tokens)
    made = with_begin(given)
    assert made.backend().encode("a b").ids == [2, *given.backend().encode("a b").ids]
    assert with_begin(made) == made


BOS, EOS, TURN = 256, 257, 258


def byte_level(single: str | None) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={text: number for number, text in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(name, special=True) for name in ("<BOS>", "<END>", "<TURN>")])
    if single is not None:
        names = [(name, made.token_to_id(name)) for name in ("<BOS>", "<END>") if name in single]
        made.post_processor = processors.TemplateProcessing(single=single, special_tokens=names)
    return made


def folder(path, tokenizer: Tokenizer, **named) -> TokenizerFiles:
    tokenizer.save(str(path / "tokenizer.json"))
    for name, content in named.items():
        if content is not None:
            (path / f"{name}.json").write_text(json.dumps(content))
    return read_tokenizer(str(path))


NAMED = {"bos_token": "<BOS>", "eos_token": "<END>"}
OLDER = {"bos_token": {"content": "<TURN>"}, "eos_token": "<TURN>"}
FOLDERS = {
    "config": {"tokenizer_config": NAMED},
    "older": {"special_tokens_map": NAMED},
    "older wins": {"tokenizer_config": NAMED, "special_tokens_map": OLDER},
    "older is not read": {"tokenizer_config": NAMED | {"added_tokens_decoder": {}}, "special_tokens_map": OLDER},
    "older says there is no bos": {"tokenizer_config": NAMED, "special_tokens_map": {"bos_token": None}},
    "bos null": {"tokenizer_config": {"bos_token": None, "eos_token": "<END>"}},
    "add_bos_token": {"tokenizer_config": NAMED | {"add_bos_token": True}},
    "not add_bos_token": {"tokenizer_config": NAMED | {"add_bos_token": False, "add_eos_token": True}},
}


@pytest.mark.parametrize("single", [None, "$A", "<BOS> $A", "$A <END>", "<BOS> $A <END>"])
@pytest.mark.parametrize("case", FOLDERS)
def test_a_prompts_ids_and_the_names_are_those_of_transformers(case, single, tmp_path):
    from transformers import AutoTokenizer

    config = {"tokenizer_class": "PreTrainedTokenizerFast"}
    named = {"tokenizer_config": config} | FOLDERS[case]
    ours = folder(tmp_path, byte_level(single), **(named | {"tokenizer_config": config | named["tokenizer_config"]}))
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for text in ("hello", "a <END>b"):
        assert prompt_ids(ours, text) == theirs(text)["input_ids"]
    for name in ("bos_token", "eos_token"):
        assert ours.special_tokens.get(name) == getattr(theirs, name)


@pytest.mark.parametrize(
    ("generation", "config", "expected"),
    [
        ({"eos_token_id": TURN}, {"eos_token_id": 5}, (TURN,)),
        ({"eos_token_id": [TURN, EOS]}, None, (TURN, EOS)),
        (None, {"eos_token_id": [7, 9]}, (7, 9)),
        ({"eos_token_id": [True, "x", -1, 2**40, 3]}, None, (3,)),
        ({"bos_token_id": 1}, {"eos_token_id": 5}, (EOS,)),
        (None, None, (EOS,)),
    ],
)
def test_a_generation_ends_where_generation_config_says_else_config_else_at_the_eos_token(
    generation, config, expected, tmp_path
):
    given = folder(tmp_path, byte_level(None), tokenizer_config=NAMED, generation_config=generation, config=config)
    assert generation_stops(given) == expected
    assert stop_ids(given) == tuple(dict.fromkeys([EOS, *given.generation_eos]))


def test_an_empty_prompt_is_what_begins_a_text_and_a_run_always_has_it():
    bare, put = (
        TokenizerFiles(json=byte_level(single).to_str(), special_tokens=NAMED) for single in (None, "<BOS> $A")
    )
    plain = bare.backend().encode("a").ids
    assert (prompt_ids(bare, ""), prompt_ids(bare, "a")) == ([BOS], plain)
    assert prompt_ids(bare, "a", trained_here=True) == [EOS, *plain]
    assert (prompt_ids(put, ""), prompt_ids(put, "a", trained_here=True)) == ([BOS], [BOS, *plain])


def test_a_tokenizer_without_any_end_continues_texts_and_begins_none():
    given = files([], source="T")
    assert (prompt_ids(given, "b"), generation_stops(given)) == ([1], ())
    with pytest.raises(InputError, match="the tokenizer T has no end-of-text token"):
        prompt_ids(given, "")
