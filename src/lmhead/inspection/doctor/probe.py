"""What a chat template does, found by giving it a handful of conversations: no template is known by its name.

Each conversation is labelled as data would be, so that what is found here is what happens to the data.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Literal

from lmhead.inspection.doctor.examined_template import ExaminedTemplate, Messages, Refused, Tools
from lmhead.labels.chat.atoms import Atoms
from lmhead.labels.example import Example, NoteKind

Fate = Literal["kept", "dropped", "refused"]

_TOOL: Final = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather, zephyr.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "A city"}},
            "required": ["city"],
        },
    },
}
_SYSTEM: Final = {"role": "system", "content": "Be golf seven"}
_ASK: Final = {"role": "user", "content": "Ask alpha one"}
_REPLY: Final = {"role": "assistant", "content": "Reply bravo two"}
_THEN: Final = {"role": "user", "content": "Then charlie three"}
_GO_ON: Final = {"role": "assistant", "content": "Reply delta four"}
_CALLS: Final = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {"id": "abcdef123", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Juliet"}}}
    ],
}
_ANSWER: Final = {"role": "tool", "name": "get_weather", "tool_call_id": "abcdef123", "content": "kilo degrees"}
_PLAIN: Final[tuple[tuple[Messages, Tools], ...]] = (  # the first that the template takes is looked at
    ([_ASK, _REPLY], None),
    ([_SYSTEM, _ASK, _REPLY], None),
    ([_ASK, _REPLY], [_TOOL]),
)
_CONTROL: Final = re.compile(r"<[|\uff5c][^<>\s]{1,40}[|\uff5c]>|<(?:start|end)_of_[a-z]+>|<turn\|>|<\|turn>")
_FEWEST_WORDS: Final = 3  # that make a prompt out of headers
_ROLES: Final = re.compile(r"^(system|developer) | user$")  # of the headers around such a prompt
_SHOWN: Final = 30  # characters of a header, at most
_WORD: Final = re.compile(r"[^\W\d_]{2,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateFacts:
    """What was seen. A text is what the finding about it will quote."""

    failure: Refused | None = None  # even a question and its answer cannot be labelled
    wants_tools: bool = False  # nothing can without tools
    refused: dict[str, str] = field(default_factory=dict)  # kind of conversation -> what the template says
    system: Fate = "kept"
    system_before_answer: bool = False  # dropped, but kept where the conversation ends with the user's turn
    tools: Fate = "kept"
    reasoning: dict[str, "Reasoning"] = field(default_factory=dict)  # by where data has it: field, inline
    unended: str = ""  # which turn nothing ends: every, the last, an earlier
    prompt_differs: str = ""  # how the generation prompt differs from the training text
    end_of_last: str | None = None  # the control token that ends the last turn
    end_of_earlier: str | None = None  # and an earlier one
    dated: bool = False
    own_prompt: str = ""  # what it writes where there is no system prompt
    first_token: str = ""  # the special token that the text begins with
    split: tuple[str, ...] = ()  # control tokens that it writes and the tokenizer splits


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasoning:
    """Which reasoning is left out."""

    last: bool
    earlier: bool


def probe(template: ExaminedTemplate) -> TemplateFacts:
    """The facts about one template with its tokenizer."""
    plain, tools, labelled = _plain(template)
    if tools is not None:
        template = ExaminedTemplate(template.recipe, tools)
    refused, dated = _refused(template), _dated(template, plain)
    if isinstance(labelled, Refused):
        return TemplateFacts(failure=labelled, dated=dated, refused=refused)
    turns = template.labelled([*plain, _THEN, _GO_ON])
    earlier = turns if isinstance(turns, Example) else None
    text = template.render(plain) or ""
    system, before_answer = _system(template)
    return TemplateFacts(
        wants_tools=tools is not None,
        refused=refused,
        system=system,
        system_before_answer=before_answer,
        tools=_tools(template),
        reasoning={name: found for name, make in _REASONING.items() if (found := _reasoning(template, make))},
        unended=_unended(labelled, earlier),
        prompt_differs=_prompt_differs(template, plain, labelled, turns),
        end_of_last=template.end_of_turn(labelled, -1),
        end_of_earlier=None if earlier is None else template.end_of_turn(earlier, 0),
        dated=dated,
        own_prompt=_own_prompt(text, template) if plain is _PLAIN[0][0] else "",
        first_token=template.first_token(text),
        split=tuple(sorted(set(_CONTROL.findall(text)) - template.added_tokens)),
    )


def _plain(template: ExaminedTemplate) -> tuple[Messages, Tools, Example | Refused]:
    """A question with its answer, and what becomes of it."""
    outcomes = [(messages, tools, template.labelled(messages, tools)) for messages, tools in _PLAIN]
    return next((outcome for outcome in outcomes if isinstance(outcome[2], Example)), outcomes[0])


def _refused(template: ExaminedTemplate) -> dict[str, str]:
    """Kinds of conversation that the template raises an error for, and its words."""
    kinds: dict[str, Messages] = {
        "system": [_SYSTEM, _ASK, _REPLY],
        "consecutive": [_ASK, _THEN, _REPLY],
        "assistant_first": [_REPLY, _THEN, _GO_ON],
    }
    found = {name: why for name, messages in kinds.items() if (why := template.refusal(messages))}
    if why := template.refusal([_ASK, _CALLS, _ANSWER, _REPLY], [_TOOL]):
        found["tools"] = why
    return found


def _system(template: ExaminedTemplate) -> tuple[Fate, bool]:
    answered = template.render([_SYSTEM, _ASK, _REPLY])
    if answered is None:
        return "refused", False
    if "golf seven" in answered:
        return "kept", False
    asked = template.render([_SYSTEM, _ASK], prompt=True)
    return "dropped", "golf seven" in (asked or "")


def _tools(template: ExaminedTemplate) -> Fate:
    text = template.render([_ASK, _CALLS, _ANSWER, _REPLY], [_TOOL])
    if text is None:
        return "refused"
    return "kept" if "get_weather" in text and "zephyr" in text else "dropped"


def _in_field(thought: str, text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text, "reasoning_content": thought}


def _inline(thought: str, text: str) -> dict[str, str]:
    return {"role": "assistant", "content": f"<think>\n{thought}\n</think>\n\n{text}"}


_REASONING: Final[dict[str, Callable[[str, str], dict[str, str]]]] = {"field": _in_field, "inline": _inline}


def _reasoning(template: ExaminedTemplate, make: Callable[[str, str], dict[str, str]]) -> Reasoning | None:
    one = template.render([_ASK, make("hotel thought", "Reply bravo two")])
    two = template.render(
        [_ASK, make("hotel thought", "Reply bravo two"), _THEN, make("india thought", "Reply delta four")]
    )
    if one is None or two is None:
        return None
    return Reasoning(last="hotel thought" not in one, earlier="hotel thought" not in two)


def _unended(labelled: Example, turns: Example | None) -> str:
    last = _has(labelled, "no_terminator")
    earlier = turns is not None and any(note.kind == "no_terminator" and note.message == 1 for note in turns.notes)
    if last and (earlier or turns is None):
        return "every"
    return "the last" if last else "an earlier" if earlier else ""


def _prompt_differs(template: ExaminedTemplate, plain: Messages, labelled: Example, turns: Example | Refused) -> str:
    """What the prompt has and what the text has, where the labeler noted that they differ."""
    examples = [example for example in (labelled, turns) if isinstance(example, Example)]
    notes = [note for example in examples for note in example.notes if note.kind == "generation_prompt_differs"]
    if not notes:
        return ""
    prompt, text = template.render(plain[:-1], prompt=True) or "", template.render(plain) or ""
    if not prompt or text.startswith(prompt):  # they differ in an earlier turn
        return notes[0].text
    shared = Atoms(template.added_tokens).common(prompt, text)
    header = max(shared.rfind("<"), shared.rfind("["), len(shared) - _SHOWN, 0)  # of the control token before
    answer = max(text.find(str(_REPLY["content"])), len(shared))
    return (
        f"inference prompts with {prompt[header:]!r}, the training text has {text[header:answer]!r} before the answer"
    )


def _has(example: Example, kind: NoteKind) -> bool:
    return any(note.kind == kind for note in example.notes)


def _dated(template: ExaminedTemplate, plain: Messages) -> bool:
    """Whether another day gives another text."""
    other = template.at(template.recipe.now + timedelta(days=400))
    conversations: list[tuple[Messages, Tools]] = [
        (plain, None),
        ([_ASK, _CALLS, _ANSWER, _REPLY], [_TOOL]),
        ([_SYSTEM, _ASK, _REPLY], None),
    ]
    return any(template.render(messages, tools) != other.render(messages, tools) for messages, tools in conversations)


def _own_prompt(text: str, template: ExaminedTemplate) -> str:
    """What stands before the question, where it is more than headers."""
    before = _CONTROL.sub(" ", text[: max(text.find("Ask alpha one"), 0)])
    for token in template.added_tokens:
        before = before.replace(token, " ")
    before = _ROLES.sub("", " ".join(before.split()))
    return before if len(_WORD.findall(before)) >= _FEWEST_WORDS else ""
