"""Texts reach a template in the form that it shows: strings or blocks; which it is shows in a render, not in a name."""

import pytest
from tests.labels.chat.chat_cases import ASK, CASES, REPLY, TEMPLATES, answer, assistant, tokenizer_for, user
from tests.labels.chat.chat_judge import SPECIAL
from tests.labels.chat.chat_templates import CHATML

from lmhead.errors import ConversationError, TemplateError
from lmhead.labels.chat.labeler import ChatLabeler
from lmhead.labels.conversation.content_form import Form, Forms, in_form, wanted_form
from lmhead.labels.template.chat_template import ChatTemplate

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


CALLS = CHATML.replace(
    "message.content +",
    "CONTENT }}{% for call in message.tool_calls or [] %}{{ '<call>' + call.function.name + ' ' + ARGUMENTS }}</call>"
    "{% endfor %}{{ '' +",
)
AS_JSON = "(call.function.arguments | tojson)"
AS_TEXT = "call.function.arguments"
NO_TEXT = {
    "empty": {"content": ""},
    "null": {"content": None},
    "missing": {},
}
READS = {
    "fails on null and on nothing": "message.content",
    "writes None": "(message.content | string if message.content is defined else '')",
    "wants null": "(message.content if message.content is not none and (message.content or not message.tool_calls)"
    " else ('' if message.content is none else raise_exception('no text beside calls')))",
    "opens a turn for any text": "('' if message.content is none else message.content or '<|text|>')",
    "writes null": "(message.content or '' if not message.tool_calls else (message.content | tojson)[1:-1])",
}


def calling(arguments, **content):
    call = {"id": "abcdef123", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
    return [ASK, {"role": "assistant", **content, "tool_calls": [call]}, answer("kilo"), REPLY]


def learnt(source, messages):
    label = ChatLabeler(tokenizer_for(source), chat_template=source, special_tokens=SPECIAL)
    example = label(messages)
    return label._tokenizer.backend.decode(example.ids[example.trained].tolist(), skip_special_tokens=False)


@pytest.mark.parametrize("written", [AS_JSON, AS_TEXT])
@pytest.mark.parametrize("reads", READS)
def test_a_call_without_a_text_is_labelled_alike_however_that_is_said(reads, written):
    source = CALLS.replace("CONTENT", READS[reads]).replace("ARGUMENTS", written)
    given = [learnt(source, calling({"city": "Paris"}, **content)) for content in NO_TEXT.values()]
    assert given == ['<call>get_weather {"city": "Paris"}</call><|im_end|>Reply bravo two<|im_end|>'] * 3


@pytest.mark.parametrize("written", [AS_JSON, AS_TEXT, f"({AS_TEXT} if {AS_TEXT} is string else {AS_JSON})"])
def test_arguments_are_objects_or_json_as_the_template_reads_them(written):
    source = CALLS.replace("CONTENT", "(message.content or '')").replace("ARGUMENTS", written)
    for arguments in ({"city": "Paris"}, '{"city": "Paris"}'):
        assert learnt(source, calling(arguments, content="")).startswith('<call>get_weather {"city": "Paris"}</call>')


def test_json_that_is_given_stays_as_it_is_where_the_template_writes_it():
    source = CALLS.replace("CONTENT", "(message.content or '')").replace("ARGUMENTS", AS_TEXT)
    assert '{"city":"Paris","n":1e5}' in learnt(source, calling('{"city":"Paris","n":1e5}', content=""))


def test_a_null_text_of_a_question_is_an_empty_one():
    for messages in ([{"role": "user", "content": None}, REPLY], [{"role": "user"}, REPLY]):
        assert labelled(CHATML, messages)[:2] == labelled(CHATML, [user(""), REPLY])[:2]


def test_the_forms_are_found_once_for_a_template():
    renders = []
    compiled = ChatTemplate(CALLS.replace("CONTENT", "message.content").replace("ARGUMENTS", AS_TEXT))
    forms = Forms(lambda messages: renders.append(1) or compiled.render(messages))
    first = [next(forms.of(calling({"city": "Paris"}))) for _ in range(3)]
    assert first == [Form(arguments="strings", absent="empty")] * 3
    assert len(renders) == 8  # two of them for the form of texts


def test_a_text_block_that_says_more_than_text_is_not_merged_into_a_string():
    messages = [user([{"type": "text", "text": "Ask", "score": "high"}]), REPLY]
    assert in_form(messages, "strings") == messages
    cached = [user([{"type": "text", "text": "Ask", "cache_control": {"type": "ephemeral"}}]), REPLY]
    assert in_form(cached, "strings") == [user("Ask"), REPLY]
