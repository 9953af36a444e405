"""The options of ChatLabeler, and what it refuses."""

from datetime import datetime

import pytest
from tests.labels.chat.chat_cases import CASES, assistant, system, tokenizer_for, tools_of, user
from tests.labels.chat.chat_judge import SPECIAL, render
from tests.labels.chat.chat_templates import (
    CHATML,
    GOOD,
    MISTRAL,
    NO_GENERATION_PROMPT,
    NO_TERMINATOR,
    OTHER_HEADER,
    OTHER_LAST_TERMINATOR,
    PROMPT_THINKS,
    QWEN_3,
    READS_ITS_TEXT,
)
from transformers import PreTrainedTokenizerFast

from lmhead.errors import ArgumentError, ArgumentTypeError, ConversationError, NotTransparentError
from lmhead.labels.chat.labeler import ChatLabeler
from lmhead.labels.targets import Reason


def labeler(source=CHATML, **options):
    return ChatLabeler(tokenizer_for(source, *CHATML_TOKENS), chat_template=source, special_tokens=SPECIAL, **options)


CHATML_TOKENS = ("<|im_start|>", "<|im_end|>", "<|user|>", "<|assistant|>", "<|system|>")


def trained(label, messages, *rest, **options):
    """The trained stretches, decoded."""
    example = label(messages, *rest, **options)
    stretches, previous = [], False
    for number, learnt in zip(example.ids.tolist(), example.trained.tolist(), strict=True):
        if learnt:
            stretches = stretches if previous else [*stretches, []]
            stretches[-1].append(number)
        previous = learnt
    return [label._tokenizer.backend.decode(stretch, skip_special_tokens=False) for stretch in stretches]


def kinds(example):
    return [(note.kind, note.message) for note in example.notes]


def reasons(example):
    return [Reason(value).name for value in example.reason.tolist()]


def test_every_turn_is_trained_with_its_terminator():
    assert trained(labeler(), CASES["multi"]) == [
        "Reply bravo two<|im_end|>",
        "Reply delta four<|im_end|>",
        "Reply foxtrot six<|im_end|>",
    ]


def test_the_last_turn_alone():
    label = labeler(train_on="last")
    assert trained(label, CASES["multi"]) == ["Reply foxtrot six<|im_end|>"]
    assert {"USER", "SCAFFOLD", "EARLIER_TURN", "SCORED"} == set(reasons(label(CASES["multi"])))


def test_a_message_says_itself_whether_it_is_trained():
    messages = [user("a"), assistant("one", train=False), user("b"), assistant("two", train=True), user("c")]
    assert trained(labeler(), messages) == ["two<|im_end|>"]
    assert trained(labeler(train_on="last"), messages) == ["two<|im_end|>"]
    assert "EXCLUDED" in reasons(labeler()(messages))
    assert trained(labeler(train_on="last"), [*messages, assistant("three")]) == ["two<|im_end|>", "three<|im_end|>"]


def test_a_message_has_a_weight():
    messages = [user("a"), assistant("one", weight=0.5), user("b"), assistant("two", weight=0), assistant("three")]
    example = labeler()(messages)
    one, three = (span for span in example.spans if span.index in (1, 4))
    assert set(example.weight[one.start : one.stop]) == {0.5}
    assert set(example.weight[three.start : three.stop]) == {1.0}
    assert trained(labeler(), messages) == ["one<|im_end|>", "three<|im_end|>"]
    assert labeler()(CASES["multi"]).weight is None


def test_reasons_and_spans_of_a_conversation():
    example = labeler()([system("S"), user("Ask"), assistant("Reply")])
    assert [(span.index, span.role) for span in example.spans] == [(0, "system"), (1, "user"), (2, "assistant")]
    assert {"SYSTEM", "USER", "SCAFFOLD", "SCORED"} == set(reasons(example))
    for span, reason in zip(example.spans, ("SYSTEM", "USER", "SCORED"), strict=True):
        assert set(reasons(example)[span.start : span.stop]) == {reason}


def test_tool_schemas_and_tool_results_have_reasons_of_their_own():
    assert {"TOOL", "TOOL_SCHEMA"} <= set(reasons(labeler(QWEN_3)(CASES["tools"], tools_of("tools"))))


@pytest.mark.parametrize("case", ["inline", "field"])
def test_reasoning_is_left_out_with_its_tags(case):
    with_it, without = labeler(QWEN_3), labeler(QWEN_3, train_reasoning=False)
    assert trained(with_it, CASES[case])[1] == "<think>\nindia thought\n</think>\n\nReply delta four<|im_end|>"
    assert trained(without, CASES[case])[1] == "Reply delta four<|im_end|>"
    assert "REASONING" in reasons(without(CASES[case]))
    assert ("reasoning_dropped", 1) in kinds(with_it(CASES[case]))


def test_names_that_the_conversation_owns_are_no_template_arguments():
    for make in (
        lambda: labeler(QWEN_3, template_arguments={"messages": 1}),
        lambda: labeler(QWEN_3)(CASES["single"], template_arguments={"tools": []}),
    ):
        with pytest.raises(ArgumentError, match=r"template_arguments must be without (messages|tools), got it"):
            make()


def test_template_arguments_reach_the_template_and_the_prompt_that_is_not_learnt():
    label = labeler(QWEN_3)
    assert trained(label, CASES["single"]) == ["<think>\n\n</think>\n\nReply bravo two<|im_end|>"]
    without = {"enable_thinking": False}
    assert trained(label, CASES["single"], template_arguments=without) == ["Reply bravo two<|im_end|>"]
    assert trained(labeler(QWEN_3, template_arguments=without), CASES["single"]) == ["Reply bravo two<|im_end|>"]


def test_what_the_prompt_gives_is_not_learnt_and_a_difference_is_noted():
    label = labeler(PROMPT_THINKS)
    given = [user("Ask"), assistant("<think>\nso\n</think>\n\nReply")]
    assert trained(label, given) == ["so\n</think>\n\nReply<|im_end|>"]
    assert kinds(label(given)) == []
    assert trained(label, CASES["single"]) == ["Reply bravo two<|im_end|>"]
    assert kinds(label(CASES["single"])) == [("generation_prompt_differs", 1)]


def test_the_note_on_another_prompt_shows_where_it_differs():
    preamble = "assistant of those who were once upon a time far away from here and came back\n"
    source = PROMPT_THINKS.replace("assistant\n", preamble).replace(
        "+ message.role + '\n' +",
        f"+ ({preamble!r} if message.role == 'assistant' else message.role + '\n') +",
    )
    notes = labeler(source)(CASES["single"]).notes
    text = next(note.text for note in notes if note.kind == "generation_prompt_differs")
    assert "far away from here and came back\\n<think>\\n', the training text has ...'" in text
    assert text.endswith("far away from here and came back\\n' before the turn")


def test_a_missing_terminator_is_noted():
    example = labeler(NO_TERMINATOR)(CASES["single"])
    assert kinds(example) == [("no_terminator", 1)]


def test_another_terminator_of_the_last_turn_is_learnt_and_noted():
    label = labeler(OTHER_LAST_TERMINATOR)
    assert [text[-10:] for text in trained(label, CASES["multi"])] == ["two<|end|>", "our<|end|>", "<|return|>"]
    assert kinds(label(CASES["multi"])) == [("terminator_differs", index) for index in (1, 3, 5)]


def test_control_tokens_in_a_text_are_noted():
    assert ("control_token_in_text", 0) in kinds(labeler()(CASES["imitated"]))
    assert labeler()(CASES["multi"]).notes == ()


def test_notes_are_counted():
    label = labeler(NO_TERMINATOR)
    label(CASES["multi"])
    assert label.notes == {"no_terminator": 3}


def test_truncation_at_the_end_keeps_the_beginning():
    whole = labeler()(CASES["multi"])
    limit = whole.spans[3].stop - 2
    example = labeler(max_length=limit, overflow="truncate_end")(CASES["multi"])
    assert example.ids.tolist() == whole.ids[:limit].tolist()
    assert example.trained.tolist() == whole.trained[:limit].tolist()
    assert [span.index for span in example.spans] == [0, 1, 2, 3]
    assert example.spans[-1].stop == limit
    assert example.notes[-1].text == f"the last {len(whole) - limit} of {len(whole)} tokens were cut off"


def test_truncation_at_the_start_does_not_learn_the_rest_of_an_answer():
    whole = labeler()(CASES["multi"])
    start = whole.spans[3].start + 2
    example = labeler(max_length=len(whole) - start, overflow="truncate_start")(CASES["multi"])
    assert example.ids.tolist() == whole.ids[start:].tolist()
    cut, kept = (span for span in example.spans if span.role == "assistant")
    assert set(reasons(example)[cut.start : cut.stop]) == {"TRUNCATED"}
    assert set(reasons(example)[kept.start : kept.stop]) == {"SCORED"}


def test_too_long_is_refused_unless_a_side_is_named():
    with pytest.raises(ConversationError, match="messages must have at most max_length=10 tokens, got") as caught:
        labeler(max_length=10)(CASES["multi"])
    assert caught.value.kind == "too_long"


def test_nothing_left_to_train_says_where_the_answer_would_have_been():
    match = "messages must leave something to learn within max_length=4 tokens, got the first trained token at"
    with pytest.raises(ConversationError, match=match) as caught:
        labeler(max_length=4, overflow="truncate_end")(CASES["single"])
    assert caught.value.kind == "nothing_to_train"


@pytest.mark.parametrize("messages", [[user("Ask")], [user("Ask"), assistant("x", train=False)]])
def test_nothing_to_train_is_refused(messages):
    with pytest.raises(ConversationError, match="messages must hold something to learn, got no token that is trained"):
        labeler()(messages)


def test_a_dropped_system_prompt_is_refused_or_noted():
    label = labeler(MISTRAL)
    with pytest.raises(
        ConversationError, match=r"messages\[0\].content must be rendered by the chat template"
    ) as caught:
        label(CASES["system"])
    assert caught.value.kind == "dropped_text"
    label = labeler(MISTRAL, dropped_text="note")
    assert trained(label, CASES["system"]) == [" Reply bravo two</s>", " Reply delta four</s>"]
    assert kinds(label(CASES["system"])) == [("message_dropped", 0)]


def test_a_dropped_answer_is_refused_always():
    source = CHATML.replace("message.content", "(message.content if message.role == 'user' else 'secret')")
    with pytest.raises(
        ConversationError, match=r"messages\[1\] must be rendered by the chat template, got a text without"
    ):
        labeler(source, dropped_text="note")(CASES["single"])


def test_a_template_that_reads_its_texts_is_refused_with_both_texts():
    with pytest.raises(NotTransparentError) as caught:
        labeler(READS_ITS_TEXT)(CASES["single"])
    assert "'<|im_start|>user\\nASK ALPHA ONE13<|im_end|>" in str(caught.value)
    assert "without and" in str(caught.value)


@pytest.mark.parametrize("source", [NO_GENERATION_PROMPT, OTHER_HEADER])
def test_a_header_that_no_prompt_gives_is_refused_and_can_be_given(source):
    with pytest.raises(ConversationError, match=r"messages\[1\] must begin as the template's generation prompt does"):
        labeler(source)(CASES["single"])
    label = labeler(source, assistant_header="<|im_start|>assistant\n")
    assert trained(label, CASES["single"]) == ["Reply bravo two<|im_end|>"]


def test_an_assistant_header_that_is_not_there_is_refused():
    with pytest.raises(ConversationError, match=r"assistant_header must stand once before messages\[1\], got 0 times"):
        labeler(assistant_header="<|bot|>")(CASES["single"])


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("case", CASES)
def test_both_kinds_of_tokenizer_give_the_same(name, case):
    source, messages, tools = GOOD[name], CASES[case], tools_of(case)
    if case in ("tools", "system") and name not in ("llama 3", "qwen 3"):
        pytest.skip("the template has no such role")
    if (name, case) == ("mistral", "assistant first"):
        pytest.skip("refused")
    bare = tokenizer_for(source)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=bare, chat_template=source, **SPECIAL)
    one = ChatLabeler(bare, chat_template=source, special_tokens=SPECIAL)
    other = ChatLabeler(wrapped)
    first, second = one(messages, tools), other(messages, tools)
    assert first.ids.tolist() == second.ids.tolist()
    if "regions_tokenized_apart" not in [note.kind for note in first.notes]:
        assert first.ids.tolist() == wrapped.apply_chat_template(messages, tools=tools, return_dict=False)
    assert first.trained.tolist() == second.trained.tolist()
    assert first.notes == second.notes


def test_truncation_and_padding_of_the_tokenizer_do_not_change_the_labels():
    tokenizer = tokenizer_for(CHATML)
    expected = ChatLabeler(tokenizer, chat_template=CHATML)(CASES["multi"])
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=500)
    got = ChatLabeler(tokenizer, chat_template=CHATML)(CASES["multi"])
    assert got.ids.tolist() == expected.ids.tolist()
    assert tokenizer.truncation is not None


def test_a_date_is_told_alike_to_all():
    source = "{{ strftime_now('%Y-%m-%d') }}" + CHATML
    label = labeler(source, now=datetime(2020, 2, 3))
    text = label._tokenizer.backend.decode(label(CASES["single"]).ids.tolist(), skip_special_tokens=False)
    assert text.startswith("2020-02-03<|im_start|>")


def test_a_slow_tokenizer_is_refused():
    class Slow:
        chat_template = CHATML

    with pytest.raises(
        ArgumentTypeError, match=r"tokenizer must be a tokenizers.Tokenizer or a fast tokenizer .* got Slow"
    ):
        ChatLabeler(Slow())


def test_a_template_must_be_there_and_be_jinja():
    with pytest.raises(ArgumentError, match="chat_template must be given for a tokenizer that brings none"):
        ChatLabeler(tokenizer_for())
    with pytest.raises(ArgumentError, match="chat_template must be Jinja, got a syntax error in line 1"):
        labeler("{% for %}")(CASES["single"])


@pytest.mark.parametrize(
    ("messages", "error", "message"),
    [
        ([], ArgumentError, "messages must hold at least one message, got an empty list"),
        ("hello", ArgumentTypeError, "messages must be a list of dicts, got str"),
        (["hello"], ArgumentTypeError, r"messages\[0\] must be a dict with role and content, got str"),
        ([{"from": "human"}], ArgumentError, r"messages\[0\] must have a role, got None"),
        ([user(3)], ArgumentTypeError, r"messages\[0\].content must be a string or a list of blocks, got int"),
        (
            [user("a") | {"train": True}],
            ArgumentError,
            r"messages\[0\].train must be false for the role user, got true: only an assistant's message is learnt",
        ),
        ([assistant("a", weight=-1)], ArgumentError, r"messages\[0\].weight must be a finite number >= 0, got -1"),
    ],
)
def test_messages_that_are_none_are_refused(messages, error, message):
    with pytest.raises(error, match=message):
        labeler()(messages)


def test_keys_without_a_value_are_as_good_as_missing():
    messages = [{"role": "user", "content": "a", "tool_calls": None}, assistant("b", reasoning_content=None)]
    assert trained(labeler(QWEN_3), messages) == ["<think>\n\n</think>\n\nb<|im_end|>"]


def test_contents_of_blocks():
    source = CHATML.replace("message.content", "message.content[0].text")
    messages = [user([{"type": "text", "text": "Ask"}]), assistant([{"type": "text", "text": "Reply"}])]
    assert trained(labeler(source), messages) == ["Reply<|im_end|>"]


def test_an_empty_answer_is_its_terminator():
    assert trained(labeler(), [user("Ask"), assistant("")]) == ["<|im_end|>"]


def test_a_token_that_would_reach_over_the_border_is_split_there():
    messages = CASES["white space"]
    assert kinds(labeler()(messages)) == [("regions_tokenized_apart", None)]
    assert trained(labeler(), messages)[0] == "\n Reply bravo two \n\n<|im_end|>"


def test_the_ids_are_those_of_the_rendered_text():
    label = labeler()
    whole = label._tokenizer.backend.encode(render(CHATML, CASES["multi"])).ids
    assert label(CASES["multi"]).ids.tolist() == whole


@pytest.mark.parametrize(
    ("option", "value"),
    [("train_on", "first"), ("overflow", "drop"), ("dropped_text", "x"), ("max_length", 1), ("assistant_header", "")],
)
def test_options_have_rules(option, value):
    with pytest.raises(ArgumentError, match=f"{option} must"):
        labeler(**{option: value})
