"""Random conversations: no crash, no token lost, and the fast path equals the slow one.

`pytest --hypothesis-profile nightly tests/labels/chat/test_chat_random.py` draws more than 10,000.
"""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.labels.chat import random_messages
from tests.labels.chat.chat_cases import tokenizer_for
from tests.labels.chat.chat_judge import SPECIAL, render
from tests.labels.chat.chat_templates import CHATML, LLAMA_3, OTHER_LAST_TERMINATOR, PROMPT_THINKS, QWEN_3
from tests.labels.chat.test_chat_grid import FILES, judged

from lmhead.errors import ArgumentError, ConversationError
from lmhead.labels.chat.labeler import ChatLabeler
from lmhead.labels.targets import Reason

PIECES = st.sampled_from(
    [
        "a",
        "Hello",
        " ",
        "\n",
        "\r\n",
        "\t",
        "<think>",
        "</think>",
        "<b>",
        "</b>",
        "<|im_end|>",
        "<|eot_id|>",
        "[INST]",
        "é",
        "\U0001f600",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "\U000f0000",
        "\U0010fffd",
        "{{ x }}",
        "{%",
        "<",
        "|>",
        "assistant",
        "user\n",
        "<|im_start|>",
        "\u00a0",
        "\u200b",
        "\x00",
        "\\",
        '"',
        "}",
        "1",
    ]
)
TEXTS = st.one_of(st.lists(PIECES, max_size=6).map("".join), st.text(max_size=12))
SOURCES = {
    "chatml": CHATML,
    "llama 3": LLAMA_3,
    "qwen 3": QWEN_3,
    "other": OTHER_LAST_TERMINATOR,
    "thinks": PROMPT_THINKS,
}


@st.composite
def conversations(draw):
    messages = [{"role": "system", "content": draw(TEXTS)}] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(TEXTS)})
        message = {"role": "assistant", "content": draw(TEXTS)}
        if draw(st.booleans()):
            message["reasoning_content"] = draw(TEXTS)
        messages.append(message)
    return messages


@cache
def labelers(name):
    """One that remembers what it found in other conversations, and one that does not."""
    source = SOURCES[name]
    tokenizer = tokenizer_for(*SOURCES.values())
    options = {"chat_template": source, "special_tokens": SPECIAL}
    return tokenizer, ChatLabeler(tokenizer, **options), ChatLabeler(tokenizer, **options, keep_probes=False)


def outcome(label, messages):
    """The example, or the refusal."""
    try:
        return label(messages)
    except (ConversationError, ArgumentError) as error:  # the latter where a message says its reasoning twice
        return str(error)


@pytest.mark.parametrize("name", SOURCES)
@given(messages=conversations())
@settings(max_examples=max(60, settings().max_examples * 3 // 5))
def test_random_conversations(name, messages):
    tokenizer, fast, slow = labelers(name)
    example, examined = outcome(fast, messages), outcome(slow, messages)
    if isinstance(example, str):
        assert example == examined
        return
    assert tokenizer.decode(example.ids.tolist(), skip_special_tokens=False) == render(SOURCES[name], messages)
    for field in ("ids", "trained", "reason"):
        assert getattr(example, field).tolist() == getattr(examined, field).tolist()
    assert (example.spans, example.notes) == (examined.spans, examined.notes)
    judge(tokenizer, example, messages)


@pytest.mark.parametrize(
    "file", FILES[:: 1 if settings.get_current_profile_name() == "nightly" else 12], ids=lambda f: f.stem
)
@given(conversation=random_messages.conversations())
@settings(max_examples=max(5, settings().max_examples // 40))
def test_all_that_people_write_is_labelled_right_or_refused_by_real_templates(file, conversation):
    result = judged(file.read_text(encoding="utf-8"), *conversation)
    assert isinstance(result, str), result


def judge(tokenizer, example, messages):
    """Each turn is one span that is learnt as a whole, ends with the template's terminator, and holds its answer."""
    learnt = set()
    for span in example.spans:
        inside = range(span.start, span.stop)
        if span.role == "assistant":
            learnt |= set(inside)
            text = tokenizer.decode(example.ids[span.start : span.stop].tolist(), skip_special_tokens=False)
            answer = messages[span.index]["content"].split("</think>")[-1].strip()
            assert answer.removeprefix("<think>").lstrip() in text  # a prompt may give the tag
            assert text.endswith(("<|im_end|>", "<|eot_id|>", "<|end|>", "<|return|>"))
        else:
            assert not example.trained[span.start : span.stop].any()
    assert learnt == {place for place, reason in enumerate(example.reason) if reason == Reason.SCORED}
    assert len([span for span in example.spans if span.role == "assistant"]) == len(
        [message for message in messages if message["role"] == "assistant"]
    )


def test_the_fast_path_needs_two_renders():
    label = ChatLabeler(tokenizer_for(CHATML), chat_template=CHATML)
    template = label._template(False)
    count, render_once = [], template.render
    template.render = lambda *arguments: count.append(1) or render_once(*arguments)
    label([{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}])
    first, count[:] = len(count), []
    label([{"role": "user", "content": "three"}, {"role": "assistant", "content": "four, and more"}])
    assert (first, len(count)) == (4, 2)
