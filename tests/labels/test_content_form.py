"""Texts reach a template in the form that it shows: strings or blocks; which it is shows in a render, not in a name."""

import pytest
from tests.labels.chat_cases import CASES, TEMPLATES, assistant, tokenizer_for, user
from tests.labels.chat_templates import CHATML

from lmhead.errors import ConversationError, TemplateError
from lmhead.labels.chat import ChatLabeler
from lmhead.labels.content_form import in_form, wanted_form
from lmhead.labels.template import ChatTemplate

LOOPS = CHATML.replace(
    "+ message.content + '<|im_end|>'",
    "}}{% for block in message.content %}{% if block.type == 'text' %}{{ block.text }}{% else %}<image>{% endif %}"
    "{% endfor %}{{ '<|im_end|>'",
)  # a string's characters are no blocks: nothing is rendered
FIRST = CHATML.replace("message.content", "message.content[0].text")  # fails on a string
EITHER = CHATML.replace(
    "message.content", "(message.content if message.content is string else message.content[0].text)"
)
PRINTS = CHATML.replace("message.content", "message.content | string")  # writes a block as a list
WRITES_JSON = CHATML.replace(
    "message.content", "(message.content if message.content is string else message.content | tojson)"
)


def block(text):
    return [{"type": "text", "text": text}]


BLOCKS = [{**message, "content": block(message["content"])} for message in CASES["multi"]]


def form(source):
    return wanted_form(ChatTemplate(source).render)


def labelled(source, messages):
    example = ChatLabeler(tokenizer_for(CHATML), chat_template=source)(messages)
    return example.ids.tolist(), example.trained.tolist(), example.spans, example.notes


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (LOOPS, "blocks"),
        (FIRST, "blocks"),
        (EITHER, "given"),
        (CHATML, "strings"),
        (PRINTS, "strings"),
        (WRITES_JSON, "strings"),
        ("{{ messages[9].content }}", "given"),
    ],
)
def test_the_form_is_the_one_that_shows_texts(source, expected):
    assert form(source) == expected


@pytest.mark.parametrize("source", [LOOPS, FIRST, EITHER, CHATML, PRINTS, WRITES_JSON])
def test_strings_and_blocks_are_labelled_alike(source):
    expected = labelled(CHATML, CASES["multi"])
    assert labelled(source, CASES["multi"]) == expected
    assert labelled(source, BLOCKS) == expected


def test_several_blocks_of_text_are_one_string():
    messages = [user([{"type": "text", "text": "Ask "}, "alpha one"]), assistant(block("Reply bravo two"))]
    assert labelled(CHATML, messages)[:2] == labelled(CHATML, CASES["single"])[:2]


def test_what_holds_more_than_text_stays_as_it_is():
    messages = [user([{"type": "image"}, *block("Ask")]), {"role": "assistant", "tool_calls": []}]
    assert in_form(messages, "strings") == in_form(messages, "blocks") == messages
    label = ChatLabeler(tokenizer_for(CHATML), chat_template=LOOPS, dropped_text="note")
    example = label([*messages[:1], assistant("Reply")])
    assert example.trained.sum() > 0


def test_a_text_that_blocks_do_not_show_either_is_refused():
    source = LOOPS.replace("block.text }}", "block.text if message.role != 'system' }}")
    messages = [{"role": "system", "content": "Be golf seven"}, *CASES["single"]]
    with pytest.raises(ConversationError, match=r"messages\[0\].content must be rendered by the chat template"):
        labelled(source, messages)


def test_a_template_that_refuses_both_says_what_it_said():
    with pytest.raises(TemplateError, match="no such thing"):
        labelled("{{ raise_exception('no such thing') }}", CASES["single"])


@pytest.mark.parametrize("name", ["idefics3", "llava_next"])
def test_real_templates_that_read_blocks_alone(name):
    file = TEMPLATES / "trl" / f"{name}.jinja"
    if not file.is_file():
        pytest.skip(f"no {file}")
    source = file.read_text(encoding="utf-8")
    assert form(source) == "blocks"
    assert labelled(source, CASES["multi"]) == labelled(source, BLOCKS)
