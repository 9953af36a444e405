"""Long conversations: what is taken in windows equals what is examined in the whole, at a cost that grows evenly."""

from functools import cache
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.labels.chat.chat_cases import assistant, call, system, tokenizer_for, user
from tests.labels.chat.chat_judge import SPECIAL
from tests.labels.chat.chat_templates import CHATML, FAR, GOOD, QWEN_3

from lmhead.errors import ConversationError
from lmhead.labels.chat.examined_turns import examined
from lmhead.labels.chat.labeler import ChatLabeler
from lmhead.labels.chat.markers import LEVELS, Marker
from lmhead.labels.chat.windows import Windows

WORDS = ["the", "answer", "is", "four", "let", "me", "check", "tool", "user", "python", "text", "\n", "Paris"]
TEMPLATES = GOOD | FAR
TURNS = (20, 60) if settings.get_current_profile_name() == "nightly" else (15, 30)  # the first ten are examined anyway


def text(random, most):
    return "So " + " ".join(random.choice(WORDS) for _ in range(random.randint(1, most)))


def trace(seed, turns=None):
    """An agent's trace, or a chat: calls and what tools answer, now and then a question, rarely a switch."""
    random = Random(seed)
    questions, switches, python = random.choice([0, 0.02, 0.1, 0.5]), random.choice([0, 0.02, 0.2]), random.random() / 3
    messages = [system(text(random, 9) + random.choice(["", " /no_think"]))] if random.random() < 0.7 else []
    messages.append(user(text(random, 9)))
    for _ in range(turns or random.randint(*TURNS)):
        answer = assistant(text(random, 9))
        if random.random() < 0.7:
            answer["reasoning_content"] = text(random, 9)
        messages.append(answer)
        switch = random.choice([" /think", " /no_think"]) if random.random() < switches else ""
        if random.random() < questions:
            messages.append(user(text(random, 9) + switch))
            continue
        name = "python" if random.random() < python else random.choice(["bash", "edit"])
        arguments = {random.choice("abcd"): text(random, 5) for _ in range(random.randint(1, 3))}
        answer["tool_calls"] = [{"type": "function", "function": {"name": name, "arguments": arguments}}]
        messages.append({"role": "tool", "content": text(random, 20) + (switch if random.random() < 0.1 else "")})
    return [*messages, assistant(text(random, 9))]


@cache
def labelers(name):
    tokenizer = tokenizer_for(*TEMPLATES.values())
    options = {"chat_template": TEMPLATES[name], "special_tokens": SPECIAL, "dropped_text": "note"}
    return ChatLabeler(tokenizer, **options), ChatLabeler(tokenizer, **options, keep_probes=False)


def outcome(label, messages):
    """What is learnt of a conversation, or the refusal."""
    try:
        example = label(messages)
    except ConversationError as error:
        return str(error)
    return example.ids.tolist(), example.trained.tolist(), example.reason.tolist(), example.spans, example.notes


@pytest.mark.parametrize("name", TEMPLATES)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=max(3, settings().max_examples // 33))
def test_a_long_conversation_is_labelled_as_if_each_turn_were_examined_in_the_whole(name, seed):
    fast, slow = labelers(name)
    messages = trace(seed)
    assert outcome(fast, messages) == outcome(slow, messages)


@pytest.mark.parametrize("turns", [20, 150])
def test_a_prompt_that_changes_with_the_number_of_messages_is_found(turns):
    """From the 38th message on the prompt gives the tag that the text has anyway."""
    messages = trace(1, turns)
    label, _ = labelers("the number of messages")
    example = label(messages)
    tokenizer = tokenizer_for(*TEMPLATES.values())
    for span in example.spans:
        if span.role == "assistant":
            learnt = tokenizer.decode(example.ids[span.start : span.stop].tolist(), skip_special_tokens=False)
            assert learnt.startswith("<think>") == (span.index <= 37)


def characters_rendered(turns):
    """Over the characters of the conversation."""
    label = ChatLabeler(tokenizer_for(QWEN_3), chat_template=QWEN_3, special_tokens=SPECIAL)
    template = label._template(False)
    made, render_once = [], template.render

    def counted(*arguments):
        made.append(len(render_once(*arguments)))
        return render_once(*arguments)

    template.render = counted
    messages = trace(3, turns)
    label(messages)
    return sum(made) / len(render_once(messages, None, False, {}))


def test_characters_rendered_grow_with_the_conversation_and_no_faster():
    short, long = characters_rendered(40), characters_rendered(320)
    assert long < 2 * short  # each turn in the whole conversation would be eight times as much
    assert long < 40


def marked(messages, literals=frozenset()):
    return Marker(literals).marked(messages, None, LEVELS[0], avoid="")


CALL = assistant("Let me look", tool_calls=[call("Paris")])
TOOL = {"role": "tool", "content": "Sunny"}


def test_a_window_holds_the_last_question_the_turn_before_what_answers_the_turn_and_the_next_answer_and_question():
    start = [system("Be brief"), user("One"), CALL, TOOL, CALL, TOOL]
    messages = [*start, CALL, TOOL, CALL, TOOL, assistant("Done"), user("Two"), assistant("Yes")]
    windows = Windows(marked(messages))
    assert windows.around(6).indices == [0, 1, 4, 5, 6, 7, 10, 11]
    assert windows.around(2).indices == [0, 1, 2, 3, 10, 11]
    assert windows.around(12).indices == [0, 1, 10, 11, 12]


def test_windows_of_one_shape_number_their_markers_alike():
    messages = [user("One"), *[CALL, TOOL] * 6, assistant("Done")]
    conversation = marked(messages)
    windows = [Windows(conversation).around(index) for index in (5, 7)]
    own = [conversation.ranges[index][0] * 2 for index in (5, 7)]
    assert own[0] != own[1]
    assert windows[0].local(own[0]) == windows[1].local(own[1])
    assert [window.whole(window.local_of(marker)) for window, marker in zip(windows, own, strict=True)] == own
    assert windows[0].local(conversation.ranges[1][0] * 2) is None


def test_examined_are_the_first_turns_the_last_and_those_behind_what_is_rare():
    messages = [user("One"), *[CALL, TOOL] * 100, assistant("Done")]
    messages[122] = {"role": "tool", "content": "Sunny /no_think"}
    turns = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
    found = examined(marked(messages, frozenset({"/no_think"})), turns)
    assert found[:10] == turns[:10]
    assert {turns[-2], turns[-1], 123, 125} <= set(found)
    assert len(found) < 30


def test_what_was_found_is_kept_for_conversations_of_the_same_skeleton():
    label, _ = labelers("qwen 3")
    messages = trace(5, 30)
    label(messages)
    template = label._template(False)
    count, render_once = [], template.render
    template.render = lambda *arguments: count.append(1) or render_once(*arguments)
    label(messages)
    assert len(count) == 2


def test_a_template_that_refuses_windows_is_examined_in_the_whole():
    source = "{% if messages | length > 3 and messages | length < 12 %}{{ raise_exception('no') }}{% endif %}" + CHATML
    tokenizer = tokenizer_for(CHATML)
    fast, slow = (ChatLabeler(tokenizer, chat_template=source, keep_probes=keep) for keep in (True, False))
    messages = [{**message} for message in trace(2, 30) if message["role"] != "tool"]
    assert outcome(fast, messages) == outcome(slow, messages)
