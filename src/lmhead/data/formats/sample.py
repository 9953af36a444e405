"""A row of data in one of the four forms that labelling takes. Every format (formats.py) is read into one of them.

ChatSample         messages, of which the assistant's are learnt
CompletionSample   a prompt, and the text after it that is learnt
TextSample         a text that is learnt whole
TokenSample        ids that somebody else made, with his labels
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lmhead.data.rows.row import Place


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
