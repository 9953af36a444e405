"""The judge can fail: what is wrong in known ways is found, and what is right is not."""

import numpy as np
import pytest
from tests.labels.chat.chat_cases import ASK, CASES, REPLY, WEATHER, assistant, tokenizer_for, tools_of
from tests.labels.chat.chat_judge import SPECIAL, faults, is_kept, render
from tests.labels.chat.chat_templates import CHATML
from tests.labels.chat.wide_cases import WIDE_CASES, called

from lmhead.labels.chat.labeler import ChatLabeler
from lmhead.labels.example import Example, Note
from lmhead.labels.targets import Reason

CALLS = CHATML.replace(
    "message.content + '<|im_end|>'",
    "(message.content or '') }}{% for call in message.tool_calls or [] %}{{ '<call>' + call.function.name }}"
    "{% for key, value in call.function.arguments.items() %}{{ ' ' + key + '=' + (VALUE) }}{% endfor %}</call>"
    "{% endfor %}{{ '<|im_end|>'",
)
RIGHT = "value | tojson"
NESTED = [
    ASK,
    assistant("", tool_calls=[called({"where": {"deep": "quebec"}, "all": ["sierra"], "n": 4711, "flag": True})]),
]


def labelled(source, messages, tools=None):
    tokenizer = tokenizer_for(source)
    return tokenizer, ChatLabeler(tokenizer, chat_template=source, special_tokens=SPECIAL)(messages, tools)


def learning(tokenizer, text, learnt, notes=()):
    """An example of a text of which the stretches in `learnt` are learnt, whatever is right."""
    ids, trained = [], []
    while text:
        place, stretch = min(((text.find(each), each) for each in learnt if each in text), default=(len(text), ""))
        for piece, is_learnt in ((text[:place], False), (stretch, True)):
            new = tokenizer.encode(piece, add_special_tokens=False).ids
            ids, trained = ids + new, trained + [is_learnt] * len(new)
        text = text[place + len(stretch) :]
    example = Example.of(ids, trained=trained, reason=Reason.USER)
    return Example(ids=example.ids, trained=example.trained, reason=example.reason, notes=tuple(notes))


def changed(example, change):
    """The example with another mask."""
    trained = change(example.trained.copy())
    return Example.of(example.ids.tolist(), trained=trained.tolist(), reason=Reason.USER)


def first(trained):
    return int(np.argmax(trained))


def last(trained):
    return len(trained) - 1 - int(np.argmax(trained[::-1]))


def put(trained, place, value):
    trained[place] = value
    return trained


MUTANTS = {
    "everything is learnt": lambda trained: np.ones_like(trained),
    "nothing is learnt": lambda trained: np.zeros_like(trained),
    "the mask is turned around": lambda trained: ~trained,
    "one token late": lambda trained: np.roll(trained, 1),
    "one token early": lambda trained: np.roll(trained, -1),
    "a header is learnt": lambda trained: put(trained, slice(first(trained) - 2, first(trained)), True),
    "the first token is not learnt": lambda trained: put(trained, first(trained), False),
    "the last end is not learnt": lambda trained: put(trained, last(trained), False),
    "what follows the end is learnt": lambda trained: put(trained, last(trained) + 1, True),
    "a hole": lambda trained: put(trained, first(trained) + 1, False),
    "the question is learnt": lambda trained: put(trained, slice(2, 8), True),
    "the last turn is not learnt": lambda trained: put(trained, slice(last(trained) - 4, None), False),
}


@pytest.mark.parametrize("case", ["single", "multi", "system", "imitated"])
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_mask_is_found(mutant, case):
    tokenizer, example = labelled(CHATML, CASES[case])
    assert faults(CHATML, tokenizer, example, CASES[case]) == []
    assert faults(CHATML, tokenizer, changed(example, MUTANTS[mutant]), CASES[case]) != []


def test_tokens_of_another_text_are_found():
    tokenizer, example = labelled(CHATML, CASES["multi"])
    other = Example.of([*example.ids.tolist()[:-2], 0], trained=example.trained.tolist()[:-1], reason=Reason.USER)
    assert faults(CHATML, tokenizer, other, CASES["multi"]) == ["the tokens do not decode to a rendered text"]


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ("value | string", "Python's repr is trained"),
        ("value | tojson | tojson", "JSON is quoted twice"),
        ("'' if value is number and value is not boolean else value | tojson", "n=4711 of get_weather is not in"),
        ("'' if value is boolean else value | tojson", "flag=True of get_weather is not in"),
        ("(value | string) if value is boolean else value | tojson", "Python's True is trained without a note"),
        ("'' if value is mapping else value | tojson", "'quebec' is not in the trained"),
    ],
)
def test_what_is_wrong_in_a_learnt_call_is_found(wrong, fault):
    def found(how, notes=()):
        source = CALLS.replace("VALUE", how)
        text, tokenizer = render(source, NESTED), tokenizer_for(source)
        learnt = text.rpartition("assistant\n")[2].rstrip("\n")
        return faults(source, tokenizer, learning(tokenizer, text, [learnt], notes), NESTED)

    assert found(RIGHT) == []
    assert any(fault in each for each in found(wrong)), found(wrong)


def test_a_noted_boolean_of_python_is_right():
    source = CALLS.replace("VALUE", "(value | string) if value is boolean else value | tojson")
    text, tokenizer = render(source, NESTED), tokenizer_for(source)
    note = Note(kind="python_text", text="")
    example = learning(tokenizer, text, [text.rpartition("assistant\n")[2].rstrip("\n")], [note])
    assert faults(source, tokenizer, example, NESTED) == []


def test_pythons_repr_in_a_prompt_is_found_unless_it_is_noted():
    source = "{{ tools | string if tools else '' }}" + CHATML
    tokenizer, example = labelled(source, [ASK, REPLY], [WEATHER])
    assert faults(source, tokenizer, example, [ASK, REPLY], [WEATHER]) == []
    silent = Example(ids=example.ids, trained=example.trained, reason=example.reason)
    assert "Python's repr is in the prompt" in faults(source, tokenizer, silent, [ASK, REPLY], [WEATHER])[0]


def test_a_prefill_that_is_learnt_is_found():
    messages = WIDE_CASES["prefilled"]
    tokenizer, example = labelled(CHATML, messages)
    assert faults(CHATML, tokenizer, example, messages) == []
    whole = labelled(CHATML, [{k: v for k, v in message.items() if k != "prefill"} for message in messages])[1]
    assert "which the prompt gave, is trained" in faults(CHATML, tokenizer, whole, messages)[0]


def test_reasoning_that_is_learnt_against_the_wish_is_found():
    source = CHATML.replace(
        "message.content +",
        "('<think>' + (message.reasoning_content or '') + '</think>' if message.role == 'assistant' else '')"
        " + message.content +",
    )
    tokenizer, example = labelled(source, CASES["field"])
    assert faults(source, tokenizer, example, CASES["field"]) == []
    found = faults(source, tokenizer, example, CASES["field"], train_reasoning=False)
    assert any("the thought 'hotel thought' is trained" in each for each in found)
    tokenizer, example = labelled(source, CASES["single"])
    (found,) = faults(source, tokenizer, example, CASES["single"], train_reasoning=False)
    assert "a tag of reasoning is trained" in found


def test_a_turn_that_is_not_to_be_learnt_is_found():
    messages = WIDE_CASES["not learnt"]
    tokenizer, example = labelled(CHATML, [{**message, "train": None} for message in messages])
    assert faults(CHATML, tokenizer, example, messages) != []


def test_what_a_template_leaves_out_is_not_kept():
    text = "get_weather get_weather Tells the weather, zephyr. A city Ask alpha one Parisjuliet kilo degrees "
    text += "Reply bravo two Then charlie three Reply delta four"
    assert is_kept(text, CASES["tools"], tools_of("tools"))
    for word in ("A city", "Parisjuliet", "kilo", "get_weather get_weather", "bravo"):
        assert not is_kept(text.replace(word, "", 1), CASES["tools"], tools_of("tools"))


def test_a_masked_thought_does_not_tear_a_turn_apart():
    messages = [assistant([{"type": "text", "text": "First"}, {"type": "thinking", "thinking": "hotel"}, "Then"])]
    tokenizer = tokenizer_for(CHATML, "[THINK][/THINK]")
    rendered = "<|im_start|>assistant\nFirst[THINK]hotel[/THINK]Then<|im_end|>"
    example = learning(tokenizer, rendered, ["First", "Then<|im_end|>"])
    found = faults(CHATML, tokenizer, example, messages, train_reasoning=False)
    assert found == ["the tokens do not decode to a rendered text"]
    assert "2 trained stretches for 1 turns" in faults(CHATML, tokenizer, example, messages)[1]
