"""A role whose meaning is known is named rightly; one that nobody knows is told, never taken for somebody else."""

import pytest
from tests.labels.chat.test_labeler import labeler

from lmhead.errors import ConversationError
from lmhead.labels.conversation.roles import CALLS, KNOWN, SYNONYMS, near_role, unread_role
from lmhead.labels.targets import Reason

CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"
PROMPT = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
NAMES_NARRATOR = "{% if messages[0].role == 'narrator' %}{{ '' }}{% endif %}" + CHATML + PROMPT


def conversation(role: str) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": "Hi"},
        {"role": role, "content": "and"},
        {"role": "assistant", "content": "Hello"},
    ]


@pytest.mark.parametrize(
    ("role", "remedy"),
    [
        ("ai", "write assistant"),
        ("gpt", "write assistant"),
        ("human", "write user"),
        ("observation", "write tool"),
        ("tool_response", "write tool"),
        ("tool_call", "write the call into tool_calls of an assistant's message"),
        ("function_call", "write the call into tool_calls of an assistant's message"),
        ("asistant", "did you mean assistant"),
        ("narrator", "write system, user, assistant or tool, or leave the row out"),
    ],
)
def test_a_role_that_would_be_masked_as_somebody_else_is_refused(role: str, remedy: str) -> None:
    with pytest.raises(
        ConversationError, match=rf"messages\[1\].role must be one that .*, got '{role}': {remedy}"
    ) as e:
        labeler(CHATML + PROMPT)(conversation(role))
    assert e.value.kind == "role"


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "tool", "ipython", "function"])
def test_roles_of_templates_are_taken(role: str) -> None:
    assert labeler(CHATML + PROMPT)(conversation(role)).trained.any()


def test_a_role_that_the_template_names_is_its_own() -> None:
    example = labeler(NAMES_NARRATOR)(conversation("narrator"))
    assert int(Reason.OTHER_ROLE) in example.reason.tolist()


@pytest.mark.parametrize("role", ["ai", "model", "tool_call"])
def test_an_assistant_under_another_name_is_refused_even_where_the_template_names_it(role: str) -> None:
    assert unread_role(role, [role]) == unread_role(role, []) is not None


@pytest.mark.parametrize("role", KNOWN)
@pytest.mark.parametrize("damage", [lambda word: word.upper(), lambda word: word[:-1], lambda word: word + "s"])
def test_a_suggestion_never_makes_a_call_an_answer_or_the_reverse(role: str, damage) -> None:
    def kind(word: str | None) -> str | None:
        return "a call" if word in CALLS else SYNONYMS.get(word or "", word)

    near = near_role(damage(role))
    assert near is None or kind(near) == kind(role)


def test_words_between_two_meanings_get_no_suggestion() -> None:
    assert near_role("tool_res") is None
    assert near_role("tool_called") == "tool_call"
    assert near_role("narrator") is None
