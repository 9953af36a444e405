"""Reasoning that is not learnt is masked with its tags, in whatever form the data has it, and so are empty tags."""

import pytest
from tests.labels.chat.chat_cases import ASK, TEMPLATES, assistant, call, tokenizer_for, user
from tests.labels.chat.chat_judge import SPECIAL
from tests.labels.chat.chat_templates import CHATML, PROMPT_THINKS, QWEN_3

from lmhead.errors import ArgumentError, ArgumentTypeError, ConversationError
from lmhead.labels.chat.labeler import ChatLabeler
from lmhead.labels.targets import Reason

THOUGHT, REPLY = "hotel thought", "Reply bravo two"
BLOCK = {"type": "thinking", "thinking": THOUGHT, "signature": "c2ln"}
TEXT = {"type": "text", "text": REPLY}
WRITTEN = {
    "a field": assistant(REPLY, reasoning_content=THOUGHT),
    "another field": assistant(REPLY, reasoning=THOUGHT),
    "two fields": assistant(REPLY, reasoning=THOUGHT, reasoning_content=THOUGHT),
    "a block": assistant([BLOCK, TEXT]),
    "a block of blocks": assistant([{"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]}, TEXT]),
    "a block of another name": assistant([{"type": "reasoning", "text": THOUGHT}, TEXT]),
}
BLOCKS_ALONE = CHATML.replace(
    "message.content +",
    "'' }}{% for block in message.content %}{% if block.type == 'thinking' %}[THINK]{{ block.thinking }}[/THINK]"
    "{% else %}{{ block.text }}{% endif %}{% endfor %}{{ '' +",
)


def labeler(source, **options):
    return ChatLabeler(tokenizer_for(source), chat_template=source, special_tokens=SPECIAL, **options)


def parts(label, messages, *rest):
    """What is learnt, and what is masked as reasoning."""
    example, decode = label(messages, *rest), label._tokenizer.backend.decode
    return (
        decode(example.ids[example.trained].tolist(), skip_special_tokens=False),
        decode(example.ids[example.reason == Reason.REASONING].tolist(), skip_special_tokens=False),
    )


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize(
    ("source", "thought"),
    [(QWEN_3, f"<think>\n{THOUGHT}\n</think>\n\n"), (BLOCKS_ALONE, f"[THINK]{THOUGHT}[/THINK]")],
)
def test_reasoning_is_read_from_fields_and_blocks_alike(source, thought, written):
    messages = [ASK, WRITTEN[written]]
    assert parts(labeler(source, train_reasoning=False), messages) == (f"{REPLY}<|im_end|>", thought)
    assert parts(labeler(source), messages) == (f"{thought}{REPLY}<|im_end|>", "")


def test_a_thought_between_texts_is_masked_alone():
    message = assistant([{"type": "text", "text": "First."}, BLOCK, TEXT])
    label = labeler(BLOCKS_ALONE, train_reasoning=False)
    assert parts(label, [ASK, message]) == (f"First.{REPLY}<|im_end|>", f"[THINK]{THOUGHT}[/THINK]")


def test_empty_tags_of_the_template_are_reasoning():
    label = labeler(QWEN_3, train_reasoning=False)
    assert parts(label, [ASK, assistant(REPLY)]) == (f"{REPLY}<|im_end|>", "<think>\n\n</think>\n\n")
    assert parts(label, [ASK, assistant("")]) == ("<|im_end|>", "<think>\n\n</think>\n\n")
    assert parts(labeler(QWEN_3), [ASK, assistant(REPLY)])[0] == f"<think>\n\n</think>\n\n{REPLY}<|im_end|>"


def test_tags_of_no_thought_are_learnt():
    label = labeler(CHATML, train_reasoning=False)
    text = "Write <b> and then </b>, or [ and ]"
    assert parts(label, [ASK, assistant(text)]) == (f"{text}<|im_end|>", "")


@pytest.mark.parametrize(
    ("content", "lost"),
    [
        ("Answer one. <think>later</think> more", "Answer one."),
        ("<think>a</think><think>b</think>ok", "b"),
        ("<think>a <think> b</think>ok", "a"),
        ("<think>Write </think> there.</think>ok", "there."),
        ("<think>a</think> Write </think> there.", "Write"),
    ],
)
@pytest.mark.parametrize("train_reasoning", [True, False])
def test_what_is_lost_where_a_template_splits_at_a_tag_is_told(content, lost, train_reasoning):
    label = labeler(QWEN_3, train_reasoning=train_reasoning)
    with pytest.raises(
        ConversationError, match=rf"messages\[1\].content must be .* got a text without '{lost}'"
    ) as caught:
        label([ASK, assistant(content)])
    assert caught.value.kind == "dropped_text"


def test_an_earlier_turn_may_lose_the_thought_that_leads_it_and_nothing_else():
    label, then = labeler(QWEN_3), [user("Then"), assistant("End.")]
    (note,) = label([ASK, assistant("<think>x</think> y"), *then]).notes
    assert (note.kind, note.message) == ("reasoning_dropped", 1)
    (note,) = label([ASK, assistant("<think>x</think>\n<think>x <b> y</think> y"), *then]).notes
    assert note.kind == "reasoning_dropped"
    for content in ("first <think>x</think> y", "Use the </think> tag", "<think>x</think> y </think> z"):
        with pytest.raises(ConversationError) as caught:
            label([ASK, assistant(content), *then])
        assert caught.value.kind == "dropped_text"
    opens = QWEN_3.replace("{{- '<|im_start|>assistant\n' }}", "{{- '<|im_start|>assistant\n<think>\n' }}")
    assert opens != QWEN_3
    assert "reasoning_dropped" in {note.kind for note in labeler(opens)([ASK, assistant("x</think> y"), *then]).notes}


def test_an_answer_that_is_read_as_reasoning_is_noted():
    messages = [ASK, assistant("Use the </think> tag to close.")]
    (note,) = labeler(QWEN_3)(messages).notes
    assert (note.kind, note.message) == ("reasoning_guessed", 1)
    assert labeler(CHATML)(messages).notes == ()
    assert "reasoning_guessed" in {note.kind for note in labeler(CHATML, train_reasoning=False)(messages).notes}
    assert labeler(PROMPT_THINKS, train_reasoning=False)([ASK, assistant("<think>\nx</think>y")]).notes == ()


def test_a_thought_written_between_texts_is_masked_alone():
    label = labeler(CHATML, train_reasoning=False)
    learnt, masked = parts(label, [ASK, assistant("First. <think>x</think> y <think>z</think>w")])
    assert (learnt, masked) == ("First. y w<|im_end|>", "<think>x</think> <think>z</think>")


@pytest.mark.parametrize("source", [CHATML, QWEN_3])
def test_a_thought_that_nothing_closes_is_masked_to_the_end_and_noted(source):
    label = labeler(source, train_reasoning=False)
    messages = [ASK, assistant("First. <think>cut off")]
    learnt, masked = parts(label, messages)
    assert learnt == "First. "
    assert masked.endswith("<think>cut off<|im_end|>")
    assert "reasoning_guessed" in {note.kind for note in label(messages).notes}
    assert "<think>cut off<|im_end|>" in parts(labeler(source), messages)[0]
    with pytest.raises(ConversationError, match="train_reasoning=False masks all of it") as caught:
        label([ASK, assistant("<think>cut off")])
    assert caught.value.kind == "nothing_to_train"


@pytest.mark.parametrize(
    ("name", "masked"),
    [
        ("llamacpp/Qwen-Qwen3-0.6B", "<think>\n\n</think>\n\n"),
        ("llamacpp/Qwen3.5-4B", "\n</think>\n\n"),  # the prompt gives "<think>\n"
        ("trl/nemotron_3_nano", "</think>"),
        ("llamacpp/GLM-4.6", "\n<think></think>\n"),
        ("llamacpp/Kimi-K2-Thinking", "<think></think>"),
        ("llamacpp/StepFun3.5-Flash", "\n</think>\n"),
        ("llamacpp/deepseek-ai-DeepSeek-V3.2", "</think>"),
        ("axolotl/command_a_tool_use", "<|START_THINKING|><|END_THINKING|>"),
    ],
)
def test_empty_tags_of_real_templates(name, masked):
    file = TEMPLATES / f"{name}.jinja"
    if not file.is_file():
        pytest.skip(f"no {file}")
    called = "command" in name
    answer = assistant("", tool_calls=[call("Paris")]) if called else assistant(REPLY)
    learnt, reasoning = parts(labeler(file.read_text(encoding="utf-8"), train_reasoning=False), [ASK, answer])
    assert reasoning == masked
    assert learnt.startswith("<|START_ACTION|>" if called else REPLY)


def test_a_plan_of_tools_is_reasoning():
    file = TEMPLATES / "axolotl" / "command_a_tool_use.jinja"
    if not file.is_file():
        pytest.skip(f"no {file}")
    source = file.read_text(encoding="utf-8")
    for field in ("tool_plan", "reasoning_content"):
        message = assistant("", tool_calls=[call("Paris")], **{field: THOUGHT})
        learnt, reasoning = parts(labeler(source, train_reasoning=False), [user("Ask"), message])
        assert reasoning == f"<|START_THINKING|>{THOUGHT}<|END_THINKING|>"
        assert learnt.startswith("<|START_ACTION|>")
        assert THOUGHT in parts(labeler(source), [user("Ask"), message])[0]


BOTH = assistant(f"<think>\n{THOUGHT}\n</think>\n\n{REPLY}", reasoning_content=THOUGHT)


@pytest.mark.parametrize("source", [CHATML, QWEN_3])
def test_equal_reasoning_in_a_field_and_in_the_content_is_learnt_once(source):
    thought = f"<think>\n{THOUGHT}\n</think>\n\n"
    assert parts(labeler(source), [ASK, BOTH]) == (f"{thought}{REPLY}<|im_end|>", "")
    assert parts(labeler(source, train_reasoning=False), [ASK, BOTH]) == (f"{REPLY}<|im_end|>", thought)


def test_different_reasoning_in_a_field_and_in_the_content_is_refused():
    for field in ("reasoning_content", "reasoning"):
        rule = rf"messages\[1\].{field} must be what the content has as its thought, got 'S' and 'R'"
        with pytest.raises(ArgumentError, match=rule):
            labeler(QWEN_3)([ASK, assistant("<think>R</think>ok", **{field: "S"})])


def test_reasoning_is_a_string():
    with pytest.raises(ArgumentTypeError, match=r"messages\[1\].reasoning_content must be a string, got list"):
        labeler(CHATML)([ASK, assistant("ok", reasoning_content=["R"])])
