"""ChatPrompt: a conversation so far -> the ids after which the assistant speaks."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from tokenizers import AddedToken, Tokenizer

from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles
from lmhead.errors import InputError
from lmhead.labels.conversation.content_form import ContentForm, in_form, wanted_form
from lmhead.labels.template.chat_template import ChatTemplate

_PRIVATE: Final = 0xF0000  # characters that stand for control tokens which somebody wrote


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatPrompt:
    """Renders messages with the template and the generation prompt, and encodes them. Made by `of`.

    A control token is one only where the template wrote it: in a message it is text, whoever typed it.
    """

    backend: Tokenizer
    template: ChatTemplate
    control: dict[str, AddedToken]  # special tokens by their text
    template_arguments: dict[str, Any]
    form: ContentForm  # of contents, as in labelling: a template may show text in blocks alone

    @staticmethod
    def of(
        files: TokenizerFiles, *, now: datetime | None = None, template_arguments: Mapping[str, Any] | None = None
    ) -> "ChatPrompt":
        """The prompt of a tokenizer.

        Raises:
            InputError: it has no chat template.
        """
        if files.chat_template is None:
            raise InputError(
                f"{files.source} has no chat template, it was trained on texts: train it on conversations with "
                "lmhead train --init RUN --data chat.jsonl"
            )
        backend = files.backend()
        added = backend.get_added_tokens_decoder().values()
        template = ChatTemplate(files.chat_template, special_tokens=files.special_tokens, now=now)
        return ChatPrompt(
            backend=backend,
            template=template,
            control={token.content: token for token in added if token.special},
            template_arguments=dict(template_arguments or {}),
            form=wanted_form(template.render),
        )

    def ids(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """The ids of the conversation, with what comes before an answer.

        Raises:
            TemplateError: the template refuses the conversation.
        """
        given = [dict(message) for message in messages]
        taken = {character for text in _strings(given) for character in text if ord(character) >= _PRIVATE}
        free = (chr(number) for number in range(_PRIVATE, 0x10FFFE) if chr(number) not in taken)
        stand_ins = {token: next(free) for token in self.control}
        shielded = [_changed(message, self._pattern(), lambda found: stand_ins[found[0]]) for message in given]
        contents = in_form(shielded, self.form)
        text = self.template.render(contents, add_generation_prompt=True, **self.template_arguments)
        if shielded == given:
            return list(self.backend.encode(text, add_special_tokens=False).ids)
        return self._encoded_apart(text, {stand_in: token for token, stand_in in stand_ins.items()}, next(free))

    def _pattern(self) -> "re.Pattern[str]":
        longest_first = sorted(self.control, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")

    def _encoded_apart(self, text: str, written: dict[str, str], guard: str) -> list[int]:
        """The template's control tokens as ids, and all between them as text, with what stands for control tokens.

        `guard` becomes a token that stands before a text which does not begin the prompt: some tokenizers put a space
        where a text begins.
        """
        plain = Tokenizer.from_str(self.backend.to_str())
        plain.encode_special_tokens = True
        plain.add_tokens([AddedToken(guard, normalized=False)])
        ids: list[int] = []
        pieces = re.split(f"({self._pattern().pattern})", text)
        for index, piece in enumerate(pieces):
            if index % 2:
                ids += self.backend.encode(piece, add_special_tokens=False).ids
                continue
            if index and self.control[pieces[index - 1]].rstrip:
                piece = piece.lstrip()
            if index + 1 < len(pieces) and self.control[pieces[index + 1]].lstrip:
                piece = piece.rstrip()
            restored = "".join(written.get(character, character) for character in piece)
            if index:
                ids += plain.encode(guard + restored, add_special_tokens=False).ids[1:]
            elif restored:
                ids += plain.encode(restored, add_special_tokens=False).ids
        return ids


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for item in value.values() for text in _strings(item)]
    if isinstance(value, list | tuple):
        return [text for item in value for text in _strings(item)]
    return []


def _changed(value: Any, pattern: "re.Pattern[str]", change: Any) -> Any:
    """The same value with every match in its strings changed."""
    if isinstance(value, str):
        return pattern.sub(change, value)
    if isinstance(value, Mapping):
        return {key: _changed(item, pattern, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_changed(item, pattern, change) for item in value]
    return value
