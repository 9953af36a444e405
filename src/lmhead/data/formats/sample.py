"""A row of data in one of the four forms that labelling takes. Every format (formats.py) is read into one of them.

ChatSample         messages, of which the assistant's are learnt
CompletionSample   a prompt, and the text after it that is learnt
TextSample         a text that is learnt whole
TokenSample        ids that somebody else made, with his labels
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lmhead.shown import shown_line


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a row stands: prints as `chat.jsonl, line 3`."""

    source: str  # the file's path as it was given or found, or the Hub's name of a data set
    number: int  # from 1
    unit: Literal["line", "row"] = "row"  # a line of JSONL; a row of anything else

    def __str__(self) -> str:
        return f"{shown_line(self.source)}, {self.unit} {self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row as it was read: its columns but for those that are null, which tables fill up with."""

    place: Place
    columns: Mapping[str, Any]
    nulls: frozenset[str] = frozenset()  # columns that are null
    unopened: frozenset[str] = frozenset()  # columns of its file that were not asked for
    lacks: frozenset[str] = frozenset()  # columns that are to be renamed, and that it has not
    whole: bool = False  # a file that is one text


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatSample:
    """A conversation, as ChatLabeler takes it."""

    place: Place
    messages: Sequence[Mapping[str, Any]]  # role, content, reasoning_content, tool_calls, ...; train, weight
    tools: Sequence[Mapping[str, Any]] | None = None
    template_arguments: Mapping[str, Any] = field(default_factory=dict)  # of this row alone: chat_template_kwargs


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionSample:
    """A prompt and a completion, both plain text: the completion is learnt, and the end of text after it."""

    place: Place
    prompt: str
    completion: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSample:
    """A text that is learnt whole, with the end of text after it."""

    place: Place
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSample:
    """Ids that were made elsewhere. `labels[t]` is the token AT t or -100; None: all are learnt."""

    place: Place
    ids: Sequence[int]
    labels: Sequence[int] | None = None


Sample = ChatSample | CompletionSample | TextSample | TokenSample
