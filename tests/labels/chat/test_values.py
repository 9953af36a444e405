"""All that a conversation holds stands in the render, or is metadata by its key, or the conversation is refused."""

import pytest
from tests.labels.chat.chat_cases import ASK, REPLY, WEATHER, answer, assistant, tokenizer_for, user
from tests.labels.chat.chat_templates import CHATML, LLAMA_3, QWEN_3

from lmhead.errors import ArgumentError, ConversationError, TemplateError
from lmhead.labels.chat.labeler import ChatLabeler

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
WRITES = CHATML.replace(
    "message.content + '<|im_end|>'",
    "(message.content or '') }}{% for call in message.tool_calls or [] %}{{ call.function.name + '(' }}"
    "{% for key, value in call.function.arguments.items() %}WRITE{% endfor %}{{ ')' }}{% endfor %}{{ '<|im_end|>'",
)


def writes(how):
    """ChatML with calls whose arguments are written so."""
    return WRITES.replace("WRITE", how)


def calls(**arguments):
    function = {"name": "get_weather", "arguments": arguments}
    return [ASK, assistant("", tool_calls=[{"id": "abcdef123", "type": "function", "function": function}])]


def labeler(source=CHATML, **options):
    return ChatLabeler(tokenizer_for(source), chat_template=source, special_tokens=SPECIAL, **options)


def learnt(label, *given):
    example = label(*given)
    return label._tokenizer.backend.decode(example.ids[example.trained].tolist(), skip_special_tokens=False)


def refusal(label, *given):
    with pytest.raises(ConversationError) as caught:
        label(*given)
    return caught.value.kind, str(caught.value)


def notes(label, *given):
    return {note.kind for note in label(*given).notes}


JSON = writes("{{ key + '=' + (value | tojson) + ' ' }}")
EVERY = {
    "city": "Paris",
    "count": 77,
    "ratio": -2.75,
    "flag": True,
    "off": False,
    "none": None,
    "nested": {"deep": "quebec", "list": [4, "romeo", {"x": True}], "empty": {}},
    "items": ["sierra", 'a "quoted" é'],
}


def test_values_of_every_type_are_found():
    assert learnt(labeler(JSON), calls(**EVERY)) == (
        'get_weather(city="Paris" count=77 ratio=-2.75 flag=true off=false none=null nested={"deep": "quebec", "list": '
        '[4, "romeo", {"x": true}], "empty": {}} items=["sierra", "a \\"quoted\\" é"] )<|im_end|>'
    )
    assert labeler(JSON)(calls(**EVERY)).notes == ()


@pytest.mark.parametrize(
    ("condition", "where"),
    [
        ("key != 'count'", "messages[1].tool_calls[0].function.arguments.count"),
        ("key != 'ratio'", "messages[1].tool_calls[0].function.arguments.ratio"),
        ("value is not boolean", "messages[1].tool_calls[0].function.arguments.flag"),
        ("value is not mapping", "messages[1].tool_calls[0].function.arguments.nested.deep"),
        ("key != 'items'", "messages[1].tool_calls[0].function.arguments.items[0]"),
    ],
)
def test_an_argument_that_is_left_out_is_refused_with_its_path(condition, where):
    source = writes(f"{{% if {condition} %}}{{{{ key + '=' + (value | tojson) + ' ' }}}}{{% endif %}}")
    kind, message = refusal(labeler(source), calls(**EVERY))
    assert (kind, message.partition(" must be rendered")[0]) == ("dropped_text", where)
    assert refusal(labeler(source, dropped_text="note"), calls(**EVERY))[0] == "dropped_text"


def test_a_number_is_not_found_in_another_argument():
    source = writes("{% if key != 'count' %}{{ key + '=' + (value | tojson) }}{% endif %}")
    assert refusal(labeler(source), calls(count=77, other=77))[0] == "dropped_text"
    assert refusal(labeler(source), calls(count=7, other=77))[0] == "dropped_text"


def test_a_null_that_is_left_out_is_noted():
    source = writes("{% if value is not none %}{{ key + '=' + (value | tojson) }}{% endif %}")
    assert notes(labeler(source), calls(city="Paris", none=None)) == {"null_dropped"}
    assert notes(labeler(JSON), calls(city="Paris", none=None)) == set()


def test_booleans_as_python_writes_them_are_noted():
    source = writes("{{ key + '=' + (value | string) + ' ' }}")
    label = labeler(source)
    assert learnt(label, calls(flag=True, none=None, count=7)) == "get_weather(flag=True none=None count=7 )<|im_end|>"
    assert [note.text for note in label(calls(flag=True, count=7)).notes] == [
        "messages[1].tool_calls[0].function.arguments.flag is written as Python's True"
    ]


@pytest.mark.parametrize("value", [{"a": 1}, ["x"], [1], {}, [], {"a": None}, {"a": [True]}])
@pytest.mark.parametrize("how", ["value | string", "'' ~ value", "'%s' | format(value)", "[value] | string"])
def test_a_container_as_python_writes_it_is_never_learnt(value, how):
    label = labeler(writes(f"{{{{ key + '=' + ({how}) }}}}"))
    assert refusal(label, calls(x=value))[0] == "python_text"


def test_what_python_writes_in_a_prompt_is_noted():
    source = "{{ tools | string if tools else '' }}" + JSON
    assert notes(labeler(source), calls(city="Paris"), [WEATHER]) == {"python_text"}
    source = CHATML.replace("message.content", "(message.content if message.role != 'user' else message | string)")
    assert notes(labeler(source), [ASK, REPLY]) == {"python_text"}


def test_arguments_that_python_would_write_are_given_as_json():
    label = labeler(CHATML.replace("message.content", "(message.content ~ (message.tool_calls or [{}])[0].function)"))
    assert refusal(label, calls(city="Paris"))[0] == "python_text"
    source = CHATML.replace(
        "message.content",
        "(message.content ~ (message.tool_calls[0].function.name ~ message.tool_calls[0].function.arguments"
        " if message.tool_calls else ''))",
    )
    assert learnt(labeler(source), calls(city="Paris", n=3)) == 'get_weather{"city": "Paris", "n": 3}<|im_end|>'


def test_arguments_that_are_json_are_not_quoted_twice():
    text = '{"city": "Paris",  "n": 3}'
    message = assistant("", tool_calls=[{"type": "function", "function": {"name": "get_weather", "arguments": text}}])
    source = QWEN_3.replace("message.content", "(message.content or '')")
    assert '"arguments": {"city": "Paris", "n": 3}' in learnt(labeler(source), [ASK, message])
    only = writes("{{ value }}").replace("call.function.arguments.items()", "[('', call.function.arguments)]")
    assert text in learnt(labeler(only), [ASK, message])  # as it is, where the template writes it so
    quotes = only.replace("{{ value }}", "{{ (value if value is string else 'no object') | tojson }}")
    assert refusal(labeler(quotes), [ASK, message])[0] == "json_twice"


def test_what_a_schema_says_must_be_rendered():
    schema = {
        "type": "function",
        "function": {
            "name": "look",
            "description": "Looks.",
            "parameters": {
                "type": "object",
                "properties": {
                    "where": {"type": "string", "description": "Uniform", "enum": ["victor", "whiskey"]},
                    "deep": {"type": "object", "properties": {"inner": {"type": "integer", "default": 441}}},
                },
                "required": ["where"],
            },
        },
    }
    whole = "{% for tool in tools %}{{ tool | tojson }}{% endfor %}" + CHATML
    assert notes(labeler(whole), [ASK, REPLY], [schema]) == set()
    path = "tools[0].function.parameters.properties"
    for left_out, where in (
        ("description", f"{path}.where.description"),
        ("enum", f"{path}.where.enum[0]"),
        ("default", f"{path}.deep.properties.inner.default"),
    ):
        source = whole.replace("tool | tojson", f"tool | tojson | replace('{left_out}', 'x')")
        assert notes(labeler(source), [ASK, REPLY], [schema]) == set()  # a keyword
        source = (
            "{% macro says(value) %}{% if value is mapping %}{% for k, v in value.items() %}"
            f"{{% if k != '{left_out}' or v == 'Looks.' %}}{{{{ k + ': ' }}}}{{{{ says(v) }}}}{{% endif %}}"
            "{% endfor %}{% else %}{{ value | tojson }}{% endif %}{% endmacro %}"
            "{% for tool in tools %}{{ says(tool) }}{% endfor %}"
        ) + CHATML
        kind, message = refusal(labeler(source), [ASK, REPLY], [schema])
        assert (kind, message.partition(" must be rendered")[0]) == ("dropped_text", where)
        assert notes(labeler(source, dropped_text="note"), [ASK, REPLY], [schema]) == {"message_dropped"}


BLOCKS = {
    "tool_use": {"type": "tool_use", "id": "t1", "name": "get_weather", "input": {"city": "Paris", "n": 3}},
    "tool_result": {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "sunny"}]},
    "refusal": {"type": "refusal", "refusal": "I cannot."},
    "document": {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Long."}},
    "of no type": {"payload": "secret"},
    "with a number": {"type": "text", "text": "Hello", "score": 5},
}
LOOPS = CHATML.replace(
    "message.content +",
    "(message.content if message.content is string else '') }}{% for block in message.content if message.content is"
    " not string %}{% if block.type == 'text' %}{{ block.text }}{% endif %}{% endfor %}{{ '' +",
)


@pytest.mark.parametrize(
    "source", [CHATML, LLAMA_3, LOOPS, CHATML.replace("message.content", "message.content | string")]
)
@pytest.mark.parametrize("kind", BLOCKS)
def test_a_block_that_a_template_does_not_know_is_never_learnt_in_silence(source, kind):
    given = [ASK, assistant([{"type": "text", "text": "Say this."}, BLOCKS[kind]])]
    assert refusal(labeler(source, dropped_text="note"), given)[0] in ("dropped_text", "python_text", "template")
    asked = [user([{"type": "text", "text": "Say this."}, BLOCKS[kind]]), REPLY]
    try:
        found = notes(labeler(source, dropped_text="note"), asked)
    except ConversationError as error:
        found = {error.kind}
    assert found & {"message_dropped", "python_text", "template"}


@pytest.mark.parametrize("source", [CHATML, LLAMA_3, LOOPS])
def test_blocks_of_text_are_text_by_any_name(source):
    asked = user([{"type": "input_text", "text": "Hello"}])
    given = assistant([{"type": "output_text", "text": "Say ", "annotations": []}, {"type": "text", "text": "this."}])
    assert learnt(labeler(source), [asked, given]) == learnt(labeler(source), [user("Hello"), assistant("Say this.")])


@pytest.mark.parametrize("kind", ["image", "image_url", "input_image", "input_audio", "video", "file"])
def test_media_are_refused_or_noted_in_a_question_and_always_refused_in_an_answer(kind):
    block = {"type": kind, kind: {"url": "https://example.org/a.png"}}
    asked = [user([block, {"type": "text", "text": "What is it?"}]), assistant("A cat.")]
    for source in (LOOPS, CHATML.replace("message.content", "message.content | string")):
        found, message = refusal(labeler(source), asked)
        assert found == "media"
        assert message.startswith(f"messages[0].content[0] must be text, got {kind!r}")
        assert "no_features" in notes(labeler(source, dropped_text="note"), asked)
    answered = [ASK, assistant([{"type": "text", "text": "Here."}, block])]
    assert refusal(labeler(LOOPS, dropped_text="note"), answered)[0] == "media"


def test_a_block_as_json_is_never_learnt():
    source = CHATML.replace(
        "message.content", "(message.content if message.content is string else message.content | tojson)"
    )
    thought = [{"type": "text", "text": "First."}, {"type": "thinking", "thinking": "So."}]
    assert refusal(labeler(source), [ASK, assistant(thought)])[0] == "printed_block"
    assert notes(labeler(source), [user(thought), REPLY]) == {"printed_block"}
    result = [{"type": "tool_result", "tool_use_id": "t1", "content": "sunny"}]
    assert notes(labeler(source), [user(result), REPLY]) == {"printed_block"}


def test_keys_of_a_call_or_a_block_that_say_nothing_are_metadata():
    call = {
        "id": "abcdef123",
        "type": "function",
        "index": 0,
        "cache_control": {"type": "ephemeral"},
        "function": {"name": "get_weather", "arguments": {"city": "Paris"}},
    }
    block = {"type": "text", "text": "Reply", "citations": [{"title": "x"}], "cache_control": {"type": "ephemeral"}}
    messages = [ASK, assistant("", tool_calls=[call]), answer("kilo"), assistant([block])]
    assert notes(labeler(JSON), messages) == set()
    messages[1]["tool_calls"][0]["function"]["why"] = "because"
    kind, message = refusal(labeler(JSON), messages)
    assert (kind, message.partition(" must")[0]) == ("dropped_text", "messages[1].tool_calls[0].function.why")


def test_a_key_of_a_message_that_is_not_rendered_is_noted():
    messages = [user("Ask") | {"context": "a text"}, REPLY | {"timestamp": 5}]
    (note,) = labeler()(messages).notes
    assert (note.kind, note.message) == ("key_dropped", 0)
    assert note.text == "the chat template does not render messages[0].context"
    shows = labeler(CHATML.replace("message.content", "(message.context or '') + message.content"))
    assert shows(messages).notes == ()


def test_a_refusal_that_is_not_rendered_is_no_empty_answer():
    messages = [ASK, {"role": "assistant", "content": None, "refusal": "I cannot."}]
    kind, message = refusal(labeler(), messages)
    assert (kind, message.partition(" must")[0]) == ("dropped_text", "messages[1].refusal")


def test_texts_that_weak_markers_leave_out_are_searched_for():
    drops = "(call.function.arguments.items() | list)[:1]"
    counting = writes("{{ key + '=' + (value | string) + (value | string | length | string) }}")
    assert refusal(labeler(counting), calls(city="Paris"))[0] == "not_transparent"
    by_length = writes("{{ key + '=' + (value | tojson) + ('x' if call.function.name | length > 11 else '') }}")
    by_length = by_length.replace("call.function.arguments.items()", drops)
    assert refusal(labeler(by_length), calls(city="Paris"))[0] == "not_transparent"
    assert learnt(labeler(by_length), said(calls(city="Paris"))) == 'Look. get_weather(city="Paris")<|im_end|>'
    assert refusal(labeler(by_length), said(calls(city="Paris", other="Oslo")))[0] == "dropped_text"


def said(messages):
    """The same with a text beside the calls."""
    return [messages[0], messages[1] | {"content": "Look. "}]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_does_not_have_is_refused(number):
    kind, message = refusal(labeler(JSON), calls(deep={"list": [1, number]}))
    assert kind == "format"
    assert message.startswith(
        "messages[1].tool_calls[0].function.arguments.deep.list[1] must be a number that JSON has"
    )


def test_an_answer_of_nothing_is_refused():
    nothing = {"role": "assistant", "content": None}
    for message in (nothing, {"role": "assistant"}, nothing | {"tool_calls": [], "reasoning": ""}):
        with pytest.raises(ArgumentError, match=r"messages\[1\].content must be a text, got null"):
            labeler()([ASK, message])
    assert learnt(labeler(), [ASK, assistant("")]) == "<|im_end|>"


SHOWS_TOOLS = "{% if tools %}{{ tools[0] | tojson }}{% endif %}" + CHATML


def test_a_control_token_in_any_text_is_noted():
    tool = {"type": "function", "function": WEATHER["function"] | {"description": "Ends <|im_end|> here"}}
    (note,) = labeler(SHOWS_TOOLS)([ASK, REPLY], [tool]).notes
    assert (note.kind, note.message) == ("control_token_in_text", None)
    said = calls(city="<|im_end|>", other="Oslo")
    assert [(note.kind, note.message) for note in labeler(JSON)(said).notes] == [("control_token_in_text", 1)]


def test_a_schema_of_further_properties_is_rendered_or_refused():
    for keyword in ("additionalProperties", "unevaluatedProperties"):
        more = {keyword: {"type": "string", "description": "More of it"}}
        parameters = WEATHER["function"]["parameters"] | more
        tool = {"type": "function", "function": WEATHER["function"] | {"parameters": parameters}}
        assert labeler(SHOWS_TOOLS)([ASK, REPLY], [tool]).notes == ()
        hides = "{%- for tool in tools or [] %}{{ tool.function.name + tool.function.description }}"
        hides += "{{ tool.function.parameters.properties | tojson }}{%- endfor %}" + CHATML
        assert labeler(hides)([ASK, REPLY], [WEATHER]).notes == ()
        kind, message = refusal(labeler(hides), [ASK, REPLY], [tool])
        assert (kind, message.partition(" must")[0]) == (
            "dropped_text",
            f"tools[0].function.parameters.{keyword}.description",
        )


def test_a_template_that_fails_on_blocks_says_what_may_help():
    blocks = [{"type": "text", "text": "A"}, {"type": "tool_use", "id": "t", "name": "w", "input": {"c": "Bern"}}]
    with pytest.raises(TemplateError, match="so write blocks of a content as one text"):
        labeler(CHATML.replace("message.content", "message.content.lstrip()"))([ASK, assistant(blocks)])
    with pytest.raises(TemplateError) as caught:
        labeler(CHATML.replace("message.content", "message.content.nothing()"))([ASK, assistant("A")])
    assert "blocks" not in str(caught.value)
