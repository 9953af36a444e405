"""A prompt is what labelling puts before the answer; control tokens that somebody types stay text."""

from dataclasses import replace

import pytest
from tokenizers import AddedToken, Tokenizer, pre_tokenizers
from tokenizers.models import BPE, WordLevel

from lmhead.data.formats.sample import ChatSample
from lmhead.data.labelling.chat_config import ChatConfig
from lmhead.data.labelling.recipe import Recipe
from lmhead.data.rows.row import Place
from lmhead.data.tokenizer.chatml import CHATML
from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles
from lmhead.data.tokenizer.train_tokenizer import train_tokenizer
from lmhead.errors import InputError, TemplateError
from lmhead.generation.chat_prompt import ChatPrompt

TEXTS = [
    "What is <|im_end|> plus <|im_start|>? user assistant system tool Hello there \U0001f642",
    "a b c <|endoftext|>",
]
BACKEND = train_tokenizer(TEXTS, 290, control_tokens=("<|im_start|>", "<|im_end|>"))
FILES = TokenizerFiles(json=BACKEND.to_str(), chat_template=CHATML, special_tokens={"eos_token": "<|im_end|>"})
CONTROL = {BACKEND.token_to_id(token) for token in ("<|im_start|>", "<|im_end|>", "<|endoftext|>")}


@pytest.mark.parametrize(
    "asked",
    [
        [{"role": "user", "content": "Hello"}],
        [{"role": "system", "content": "a\n b "}, {"role": "user", "content": " What is \U0001f642?\n\n"}],
        [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "c"},
        ],
    ],
)
def test_the_ids_are_those_that_stand_before_the_answer_in_training(asked: list[dict[str, str]]) -> None:
    label = Recipe.of(FILES, ChatConfig(train_on="last")).labeler()
    answered = [*asked, {"role": "assistant", "content": "there"}]
    example = label(ChatSample(place=Place(source="x", number=1), messages=answered))
    first = example.trained.tolist().index(True)
    assert ChatPrompt.of(FILES).ids(asked) == example.ids[:first].tolist()


@pytest.mark.parametrize("token", ["<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|im_end|><|im_end|>"])
def test_a_control_token_that_somebody_types_is_text(token: str) -> None:
    prompt = ChatPrompt.of(FILES)
    plain, typed = (prompt.ids([{"role": "user", "content": f"a {text} b"}]) for text in ("c", token))
    assert [number for number in typed if number in CONTROL] == [number for number in plain if number in CONTROL]
    decoded = prompt.backend.decode(typed, skip_special_tokens=False)
    assert decoded == f"<|im_start|>user\na {token} b<|im_end|>\n<|im_start|>assistant\n"


def test_an_earlier_answer_and_blocks_are_shielded_too() -> None:
    blocks = [{"type": "text", "text": "<|im_end|>"}]
    messages = [{"role": "user", "content": blocks}, {"role": "assistant", "content": "<|im_end|>"}]
    ids = ChatPrompt.of(FILES).ids([*messages, {"role": "user", "content": "a"}])
    assert sum(number == BACKEND.token_to_id("<|im_end|>") for number in ids) == 3


def test_private_characters_of_a_message_stay_what_they_are() -> None:
    prompt = ChatPrompt.of(FILES)
    text = "\U000f0000\U000f0001<|im_end|>\U000f0002"
    decoded = prompt.backend.decode(prompt.ids([{"role": "user", "content": text}]), skip_special_tokens=False)
    assert decoded == f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


def test_white_space_that_a_control_token_takes_is_taken_there_too() -> None:
    backend = Tokenizer.from_str(BACKEND.to_str())
    backend.add_special_tokens([AddedToken("<end>", special=True, rstrip=True, normalized=False)])
    template = "{% for m in messages %}{{ m.content }}<end>\n{% endfor %}a"
    prompt = ChatPrompt.of(TokenizerFiles(json=backend.to_str(), chat_template=template))
    plain, typed = (prompt.ids([{"role": "user", "content": text}]) for text in ("b", "<|im_end|>"))
    end = backend.token_to_id("<end>")
    assert plain[plain.index(end) :] == typed[typed.index(end) :]


def test_a_tokenizer_without_a_template_is_refused_with_the_way_to_one() -> None:
    with pytest.raises(InputError, match="has no chat template, it was trained on texts: train it on conversations"):
        ChatPrompt.of(TokenizerFiles(json=Tokenizer(WordLevel({"a": 0})).to_str()))


def test_what_the_template_refuses_is_an_error() -> None:
    with pytest.raises(TemplateError, match="content must be text"):
        ChatPrompt.of(FILES).ids([{"role": "user", "content": 5}])


@pytest.mark.parametrize("scheme", ["first", "always", "never"])
def test_what_somebody_types_changes_no_token_of_the_template(scheme: str) -> None:
    letters = sorted({*"abcdefghijklmnopqrstuvwxyz_|<>\n▁"})
    backend = Tokenizer(BPE(vocab={letter: number for number, letter in enumerate(letters)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    backend.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    prompt = ChatPrompt.of(TokenizerFiles(json=backend.to_str(), chat_template=CHATML))
    plain, typed = (prompt.ids([{"role": "user", "content": f"a {text}"}]) for text in ("b", "<|im_end|>"))
    at = plain.index(backend.token_to_id("b"))
    assert plain[:at] == typed[:at]
    assert plain[at + 1 :] == typed[at - len(plain) + 1 :]
    written = "".join(backend.id_to_token(number) for number in typed[at : at - len(plain) + 1])
    assert written == "<|im_end|>"


def test_a_template_that_shows_blocks_alone_is_given_blocks_as_in_training() -> None:
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for block in m.content %}{% if block.type == 'text' %}"
        "{{ block.text }}{% endif %}{% endfor %}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    files = replace(FILES, chat_template=template)
    asked = [{"role": "user", "content": "Hello"}]
    label = Recipe.of(files, ChatConfig()).labeler()
    answered = [*asked, {"role": "assistant", "content": "there"}]
    example = label(ChatSample(place=Place(source="x", number=1), messages=answered))
    ids = ChatPrompt.of(files).ids(asked)
    assert ids == example.ids[: example.trained.tolist().index(True)].tolist()
    assert "Hello" in BACKEND.decode(ids)
