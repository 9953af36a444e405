"""The assistant mask as a picture: what is blue is what is learnt, a line for each message."""

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from lmhead.data.tokenizer.chatml import CHATML, with_chatml
from lmhead.errors import ArgumentError, ArgumentTypeError
from lmhead.figures.conversation import assistant_mask
from lmhead.figures.theme import THEMES
from lmhead.labels.chat.labeler import ChatLabeler
from lmhead.labels.example import Example
from lmhead.labels.targets import Reason

MESSAGES = [
    {"role": "system", "content": "brief"},
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "two"},
    {"role": "user", "content": "three"},
    {"role": "assistant", "content": "four"},
]
LLAMA_3 = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '<|im_start|>\n\n' + m.content + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_start|>\n\n' }}{% endif %}"
)


def tokenizer():
    words = ["?", "\n", "system", "user", "assistant", "brief", "one", "two", "three", "four"]
    plain = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="?"))
    plain.pre_tokenizer = pre_tokenizers.Split("\n", "isolated")
    return with_chatml(plain)


def drawn(template=CHATML):
    made = tokenizer()
    example = ChatLabeler(made, chat_template=template)(MESSAGES)
    return example, assistant_mask(example, lambda ids: made.decode(ids, skip_special_tokens=False))


def test_blue_boxes_are_the_learnt_tokens(filled, words):
    example, figure = drawn()
    assert filled(figure, THEMES["light"].learnt) == example.learnt.sum() + 1  # and the legend's
    assert f"learnt: 4 of {len(example)} tokens, {4 / len(example):.0%}" in words(figure)


@pytest.mark.parametrize("template", [CHATML, LLAMA_3])
def test_every_message_has_a_line_that_begins_with_its_header(template):
    _, figure = drawn(template)
    lines = {}
    for text in figure.axes[0].texts:
        lines.setdefault(round(text.get_position()[1], 3), []).append((text.get_position()[0], text.get_text()))
    said = [[text for _, text in sorted(line)] for line in lines.values()]
    messages = [line for line in said if line[0] in ("system", "user", "assistant")]
    assert [line[0] for line in messages] == [message["role"] for message in MESSAGES]
    assert all(line[1] == "<|im_start|>" and line[2] == line[0] for line in messages)
    assert all(line.count("<|im_end|>") == 1 for line in messages)


def test_what_is_not_learnt_is_told_by_reason(words):
    example, figure = drawn()
    scaffold = int((example.reason == int(Reason.SCAFFOLD)).sum())
    assert {"not learnt: system 1, user 2", f"not learnt: template {scaffold}"} <= set(words(figure))


def test_tokens_without_a_conversation_are_one_message(words):
    example = Example.of([0, 1, 2], trained=[False, False, True], reason=Reason.PROMPT)
    said = words(assistant_mask(example, lambda ids: "abc"[ids[0]]))
    assert said[:3] == ["a", "b", "c"]
    assert {"learnt: 1 of 3 tokens, 33%", "not learnt: prompt 2", "not learnt: none"} <= set(said)


def test_a_long_message_goes_on_in_the_next_line():
    example = Example.of(list(range(100)), trained=[True] * 100)
    axes = assistant_mask(example, lambda ids: f" token{ids[0]}").axes[0]
    assert len({round(text.get_position()[1], 3) for text in axes.texts}) > 5


def test_a_weight_of_zero_is_not_learnt(words):
    example = Example.of([0, 1], trained=[True, True])
    weighed = Example(
        ids=example.ids, trained=example.trained, reason=example.reason, weight=example.ids.astype("float32")
    )
    assert "learnt: 1 of 2 tokens, 50%" in words(assistant_mask(weighed, str))


def test_wrong_examples_are_refused():
    with pytest.raises(ArgumentTypeError, match="example must be an Example, got list"):
        assistant_mask([1, 2], str)
    with pytest.raises(ArgumentError, match="example must have 1 to 400 tokens, to be read, got 401"):
        assistant_mask(Example.of([0] * 401, trained=[True] * 401), str)


@pytest.mark.parametrize(
    ("decode", "message"),
    [(3, "decode must be a function from ids to text, got int"), (len, "what decode returns must be a str, got int")],
)
def test_what_does_not_decode_is_refused_in_words(decode, message):
    with pytest.raises(ArgumentTypeError, match=message):
        assistant_mask(Example.of([0, 1], trained=[True] * 2), decode)
