"""In which form a template reads what has more than one: texts, thoughts, calls' arguments, and a text that is absent.

Templates of models that see images read blocks alone, `{"type": "text", "text": ...}`; most others read strings alone,
and print a block as a list. Some read a thought as a block, most as a field; some write arguments as JSON themselves,
others want JSON; a call without a text has null, "" or no content. Which it is shows in renders of one question and its
answer: where one form shows the texts and another does not, conversations are rendered in that one; else as given.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, Literal

from lmhead.errors import TemplateError
from lmhead.labels.conversation.metadata_keys import METADATA, TEXTS, THOUGHTS
from lmhead.labels.conversation.thoughts import behind_leading_thought, leading_thought
from lmhead.labels.template.chat_template import REASONING_FIELDS, Message

ContentForm = Literal["given", "strings", "blocks"]
ThoughtForm = Literal["field", "blocks", "content"]  # content: it writes neither of the others
ArgumentForm = Literal["objects", "strings"]
AbsentForm = Literal["empty", "null", "missing"]
Render = Callable[[list[Message]], str]

_TEXTS: Final = {"user": "\U000f0000", "assistant": "\U000f0001"}
_THOUGHT: Final = "\U000f0002"
_PRINTED: Final = re.compile(
    """(?:text|thinking)\\\\*["']\\s*:\\s*\\\\*["'][\U000f0000-\U000f0002]"""
)  # Python or JSON
_FUNCTION: Final = "f_1"
_ARGUMENTS: Final[dict[ArgumentForm, Any]] = {
    "objects": {"k_1": _THOUGHT},
    "strings": json.dumps({"k_1": _THOUGHT}, ensure_ascii=False),
}
_BADLY_WRITTEN: Final = re.compile(r"'k_1'\s*:|\\+\"k_1\\+\"")  # as Python, or as JSON in JSON
_ABSENT: Final[dict[AbsentForm, Message]] = {"empty": {"content": ""}, "null": {"content": None}, "missing": {}}
_FIELD: Final = "reasoning_content"


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How messages are written for a template."""

    thoughts: ThoughtForm | None = None  # None: it has none
    arguments: ArgumentForm | None = None  # None: as given
    absent: AbsentForm = "empty"  # of a call without a text


class Forms:
    """The forms that one template shows, decided where a conversation needs them first.

    Args:
        render: the template without tools.
    """

    def __init__(self, render: Render) -> None:
        self._bare = render

    def _render(self, messages: list[Message]) -> str:
        return self._bare(in_form(messages, self.content))

    def of(self, messages: list[Message]) -> Iterator[Form]:
        """The forms to render a conversation in, the next where one does not show all of it."""
        thoughts = self._thoughts if any(map(_thinks, messages)) else None
        calling = [message for message in messages if message.get("tool_calls")]
        if not calling:
            yield Form(thoughts=thoughts)
            return
        given = _given_arguments(calling)
        silent = any(not message.get("content") for message in calling)
        wanted = self._calls(given)
        yield replace(wanted, thoughts=thoughts)
        other: ArgumentForm = "objects" if wanted.arguments == "strings" else "strings"
        for absent in (wanted.absent, *(each for each in _ABSENT if silent and each != wanted.absent)):
            for arguments in (wanted.arguments, other):
                if (arguments, absent) != (wanted.arguments, wanted.absent):
                    yield Form(thoughts=thoughts, arguments=arguments, absent=absent)

    @cached_property
    def content(self) -> ContentForm:
        """The form in which the template shows texts, where it does not show them in the other."""
        return wanted_form(self._bare)

    @cached_property
    def _thoughts(self) -> ThoughtForm:
        """How it shows thoughts. A field that it leaves out stays one, where it does not read blocks either."""
        asked: Message = {"role": "user", "content": _TEXTS["user"]}
        answer = _TEXTS["assistant"]
        field: Message = {"role": "assistant", "content": answer, _FIELD: _THOUGHT}
        texts = (*_TEXTS.values(), _THOUGHT)
        as_field = _shows(self._render, [asked, field], texts)
        as_blocks = _shows(self._render, [asked, _with_thought_block(field)], texts)
        if as_field or as_blocks:
            return "field" if as_field else "blocks"
        return "content"

    def _calls(self, given: ArgumentForm) -> Form:
        """The form for calls whose arguments are given so: as given, if the template shows that."""
        other: ArgumentForm = "objects" if given == "strings" else "strings"
        for arguments in (given, other):
            shown = {absent: size for (kind, absent), size in self._shown_calls.items() if kind == arguments}
            if shown:
                shortest = min(shown.values())  # a longer one says "None", or opens a turn for the empty text
                return Form(arguments=arguments, absent=next(each for each in shown if shown[each] == shortest))
        return Form(arguments=given)

    @cached_property
    def _shown_calls(self) -> dict[tuple[ArgumentForm, AbsentForm], int]:
        """How long the render of a call is, in the forms that show it as JSON or in words of the template's own."""
        found: dict[tuple[ArgumentForm, AbsentForm], int] = {}
        for absent, content in _ABSENT.items():
            for arguments, given in _ARGUMENTS.items():
                function = {"name": _FUNCTION, "arguments": given}
                call = {"id": "abcdef123", "type": "function", "function": function}
                asked: Message = {"role": "user", "content": _TEXTS["user"]}
                calling: Message = {"role": "assistant", **content, "tool_calls": [call]}
                answer: Message = {"role": "tool", "tool_call_id": "abcdef123", "name": _FUNCTION, "content": "?"}
                try:
                    text = self._render([asked, calling, answer])
                except TemplateError:
                    continue
                whole = given if isinstance(given, str) else _THOUGHT
                if _FUNCTION in text and whole in text and not _BADLY_WRITTEN.search(text):
                    found[arguments, absent] = len(text)
        return found


def wanted_form(render: Render) -> ContentForm:
    """The form in which a template shows texts, where it does not show them in the other."""
    strings: list[Message] = [{"role": role, "content": text} for role, text in _TEXTS.items()]
    texts = tuple(_TEXTS.values())
    as_strings, as_blocks = _shows(render, strings, texts), _shows(render, in_form(strings, "blocks"), texts)
    if as_strings == as_blocks:
        return "given"
    return "strings" if as_strings else "blocks"


def in_form(messages: list[Message], form: ContentForm) -> list[Message]:
    """The messages with their contents in a form; contents that hold more than text stay as they are."""
    if form == "given":
        return messages
    wanted, convert = (str, _blocks) if form == "blocks" else (list, _string)
    return [
        type(message)({**message, "content": convert(message["content"])})
        if isinstance(message.get("content"), wanted)
        else message
        for message in messages
    ]


def written(messages: list[Message], form: Form) -> list[Message]:
    """The messages with thoughts, arguments and absent texts in a form."""
    return [_written(message, form) for message in messages]


def _written(message: Message, form: Form) -> Message:
    calls = message.get("tool_calls")
    if isinstance(message.get("content"), list):
        message = {**message, "content": [_plain_text(block) for block in message["content"]]}
    if not message.get("content"):
        if not calls:
            message = message if message.get("content") == "" else {**message, "content": ""}
        else:
            message = {key: value for key, value in message.items() if key != "content"} | _ABSENT[form.absent]
    if calls and form.arguments:
        convert = _as_object if form.arguments == "objects" else _as_json
        message = {**message, "tool_calls": [_with_arguments(call, convert) for call in calls]}
    if form.thoughts is None or message["role"] != "assistant":
        return message
    message = _with_one_thought(_with_thought_field(message), form.thoughts)
    return _with_thought_block(message) if form.thoughts == "blocks" else message


def _thinks(message: Message) -> bool:
    content = message.get("content")
    if message["role"] != "assistant":
        return False
    return _thought_field(message) is not None or (isinstance(content, list) and any(map(_is_thought, content)))


def _thought_field(message: Message) -> str | None:
    """The name under which a message has its reasoning."""
    return next((field for field in REASONING_FIELDS if message.get(field)), None)


def _is_thought(block: object) -> bool:
    return isinstance(block, Mapping) and block.get("type") in THOUGHTS


def _with_thought_block(message: Message) -> Message:
    """The message with its reasoning as the first block of its content."""
    field, content = _thought_field(message), message.get("content") or []
    if field is None or not isinstance(message[field], str):
        return message
    text = _blocks(content) if isinstance(content, str) else content
    rest = {key: value for key, value in message.items() if key not in REASONING_FIELDS}
    return {**rest, "content": [{"type": "thinking", "thinking": message[field]}, *text]}


def _with_one_thought(message: Message, form: ThoughtForm) -> Message:
    """The message without the second of two equal thoughts, one in a field and one that its content begins with."""
    content = message.get("content")
    if not isinstance(content, str) or _thought_field(message) is None or leading_thought(content) is None:
        return message
    if form == "content":
        return {key: value for key, value in message.items() if key not in REASONING_FIELDS}
    return {**message, "content": behind_leading_thought(content)}


def _with_thought_field(message: Message) -> Message:
    """The message with the blocks of thought that its content begins with as a field; any others stay."""
    content = message.get("content")
    if not isinstance(content, list) or _thought_field(message):
        return message
    count = next((place for place, block in enumerate(content) if not _is_thought(block)), len(content))
    thoughts = [_thought(block) for block in content[:count]]
    if not thoughts or None in thoughts or any(map(_is_thought, content[count:])):
        return message
    rest: Any = content[count:] or ""
    return {**message, _FIELD: "\n\n".join(filter(None, thoughts)), "content": rest}


def _thought(block: Mapping[str, Any]) -> str | None:
    """The text of a block of thought that holds nothing else."""
    texts = [value for key, value in block.items() if key not in METADATA and value]
    if len(texts) != 1:
        return "" if not texts else None
    if isinstance(texts[0], list):
        parts = [_text(item) for item in texts[0]]
        return None if None in parts else "".join(part for part in parts if part)
    return texts[0] if isinstance(texts[0], str) else None


def _given_arguments(calling: list[Message]) -> ArgumentForm:
    """How the first arguments are given."""
    for message in calling:
        for call in message["tool_calls"]:
            function = call.get("function", call) if isinstance(call, dict) else {}
            if isinstance(function, dict) and isinstance(function.get("arguments"), str):
                return "strings"
    return "objects"


def _with_arguments(call: Any, convert: Callable[[Any], Any]) -> Any:
    if not isinstance(call, dict):
        return call
    if isinstance(call.get("function"), dict):
        return {**call, "function": _with_arguments(call["function"], convert)}
    return {**call, "arguments": convert(call["arguments"])} if "arguments" in call else call


def _as_object(arguments: Any) -> Any:
    """What a string of JSON holds, if it is an object."""
    if not isinstance(arguments, str):
        return arguments
    try:
        found = json.loads(arguments)
    except ValueError:
        return arguments
    return found if isinstance(found, dict) else arguments


def _as_json(arguments: Any) -> Any:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def _shows(render: Render, messages: list[Message], texts: tuple[str, ...]) -> bool:
    try:
        text = render(messages)
    except TemplateError:
        return False
    return all(own in text for own in texts) and not _PRINTED.search(text)


def _blocks(content: str) -> list[Any]:
    return [{"type": "text", "text": content}]


def _string(content: list[Any]) -> object:
    texts = [_text(block) for block in content]
    return "".join(text for text in texts if text is not None) if None not in texts else content


def _plain_text(block: Any) -> Any:
    """A block of text under the name that templates know."""
    return {**block, "type": "text"} if isinstance(block, dict) and block.get("type") in TEXTS else block


def _text(block: object) -> str | None:
    """The text of a block that is nothing else."""
    if isinstance(block, dict) and block.get("type", "text") == "text":
        if any(value is not None and key != "text" and key not in METADATA for key, value in block.items()):
            return None
        block = block.get("text")
    return block if isinstance(block, str) else None
