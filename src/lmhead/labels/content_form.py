"""In which form a template reads texts: as strings, or as blocks `{"type": "text", "text": ...}`.

Templates of models that see images read blocks alone; most others read strings alone, and print a block as a list.
Which it is shows in the render of one question and its answer in both forms. Where one form does not show the texts and
the other does, conversations are rendered in that one; else as they are given.
"""

import re
from collections.abc import Callable
from typing import Final, Literal

from lmhead.errors import TemplateError
from lmhead.labels.template import Message

ContentForm = Literal["given", "strings", "blocks"]
_TEXTS: Final = {"user": "\U000f0000", "assistant": "\U000f0001"}
_PRINTED: Final = re.compile("""text\\\\*["']\\s*:\\s*\\\\*["'][\U000f0000\U000f0001]""")  # a block as Python or JSON


def wanted_form(render: Callable[[list[Message]], str]) -> ContentForm:
    """The form in which a template shows texts, where it does not show them in the other."""
    strings: list[Message] = [{"role": role, "content": text} for role, text in _TEXTS.items()]
    as_strings, as_blocks = _shows(render, strings), _shows(render, in_form(strings, "blocks"))
    if as_strings == as_blocks:
        return "given"
    return "strings" if as_strings else "blocks"


def in_form(messages: list[Message], form: ContentForm) -> list[Message]:
    """The messages with their contents in a form; contents that hold more than text stay as they are."""
    if form == "given":
        return messages
    convert = _blocks if form == "blocks" else _string
    return [
        {**message, "content": convert(message["content"])} if "content" in message else message for message in messages
    ]


def _shows(render: Callable[[list[Message]], str], messages: list[Message]) -> bool:
    try:
        text = render(messages)
    except TemplateError:
        return False
    return all(own in text for own in _TEXTS.values()) and not _PRINTED.search(text)


def _blocks(content: object) -> object:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _string(content: object) -> object:
    if not isinstance(content, list):
        return content
    texts = [_text(block) for block in content]
    return "".join(text for text in texts if text is not None) if None not in texts else content


def _text(block: object) -> str | None:
    """The text of a block that is nothing else."""
    if isinstance(block, dict) and block.get("type", "text") == "text":
        block = block.get("text")
    return block if isinstance(block, str) else None
