"""Text without roles -> ids: what inference would be given, and what would follow."""

import re
from functools import cached_property

from tokenizers import Tokenizer

from lmhead.errors import ConversationError
from lmhead.labels.example import Note


class PlainText:
    """A tokenizer to which control tokens written in a text are text.

    Args:
        backend: left as it is; a copy is made with the first text.
    """

    def __init__(self, backend: Tokenizer) -> None:
        self._backend = backend

    @cached_property
    def _plain(self) -> Tokenizer:
        plain = Tokenizer.from_str(self._backend.to_str())
        plain.no_truncation()
        plain.no_padding()
        plain.encode_special_tokens = True
        return plain

    @cached_property
    def prefix(self) -> list[int]:
        """What the tokenizer itself puts before a text: the beginning of sequence, mostly; once."""
        encoded = self._plain.encode("a", add_special_tokens=True)
        own = encoded.special_tokens_mask
        return encoded.ids[: own.index(0)] if 0 in own else []

    @cached_property
    def _control(self) -> re.Pattern[str] | None:
        tokens = [token.content for token in self._backend.get_added_tokens_decoder().values() if token.special]
        longest_first = sorted(filter(None, tokens), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def ids(self, text: str) -> list[int]:
        """The ids of a text alone, nothing before or behind it."""
        return list(self._plain.encode(text, add_special_tokens=False).ids)

    def continued(self, prompt: str, completion: str) -> tuple[list[int], list[int], list[Note]]:
        """Ids of the prompt as inference makes them, ids of the completion behind it, and a note where a token of the
        two texts together would stand on both sides.

        Raises:
            ConversationError: the tokenizer writes other text where the two are tokenised apart.
        """
        asked, joined = self.ids(prompt), self.ids(prompt + completion)
        if joined[: len(asked)] == asked:
            return asked, joined[len(asked) :], []
        answer = self.ids(completion)
        if self._decoded(asked + answer) != self._decoded(joined):
            raise ConversationError(
                "prompt and completion must be tokens apart that make the text of both, got other text: the tokenizer "
                "marks the beginning of a text (a prefix space); end the prompt where a word ends, without a space",
                kind="tokens",
            )
        text = "a token would have reached from the prompt into the completion: they are tokenised apart"
        return asked, answer, [Note(kind="regions_tokenized_apart", text=text)]

    def control_notes(self, text: str) -> list[Note]:
        """A note where a control token is written in a text."""
        found = sorted(set(self._control.findall(text))) if self._control else []
        if not found:
            return []
        assert self._control is not None
        begins = self._control.match(text.lstrip())
        if begins:
            told = f"the text begins with {begins[0]}, which stays text: a rendered conversation belongs in messages"
            return [Note(kind="rendered_text", text=told)]
        told = f"the text holds {', '.join(found[:5])}, which stays text"
        return [Note(kind="control_token_in_text", text=told)]

    def _decoded(self, ids: list[int]) -> str:
        return str(self._plain.decode(ids, skip_special_tokens=False))
