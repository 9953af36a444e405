"""Bytes that the scored tokens of labelled rows stand for: of conversations, of completions, of rows of ids.

Control tokens have none. A token's bytes are told by its name, whatever stands around it, in byte-level vocabularies
and in those with a mark for each space; of others (WordPiece) they depend on the neighbours, and are not claimed.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final
from unicodedata import is_normalized

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from lmhead.data.formats.sample import ChatSample, CompletionSample, Sample
from lmhead.data.tokenizer.plain_text import PlainText
from lmhead.inspection.tokens.token_text import TokenText
from lmhead.labels.conversation.conversation import ASSISTANT
from lmhead.labels.example import Example
from lmhead.labels.offsets.byte_counts import byte_counts
from lmhead.labels.targets import Reason
from lmhead.shown import shown_value

_IN_PLACE: Final = {"ByteLevel", "Replace", "Metaspace", "ByteFallback", "Fuse", "Strip"}  # decoders


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredText:
    """The bytes of one document's scored tokens."""

    utf8: bytes | None
    ends: npt.NDArray[np.int64] | None  # [T]: bytes of `utf8` up to and with token t
    lost: str | None = None  # why there are none


class ScoredBytes:
    """Tells the bytes of scored tokens of one tokenizer."""

    def __init__(self, backend: Tokenizer) -> None:
        self._backend = backend
        self._text, self._plain = TokenText.of(backend), PlainText(backend)

    def of(self, example: Example, sample: Sample) -> ScoredText:
        """The bytes of a row's scored tokens, where the tokens give the row's text back."""
        if isinstance(sample, CompletionSample):
            return self._completion(example, sample)
        if not isinstance(sample, ChatSample):
            return self.of_ids(example)
        lost = self._lost(strings_of_assistant(sample))
        return self.known(example) if lost is None else ScoredText(utf8=None, ends=None, lost=lost)

    def of_ids(self, example: Example) -> ScoredText:
        """Of ids whose text nobody has: where any text comes back from its tokens."""
        if self._loses_nothing and self._why_not is None:
            return self.known(example)
        return ScoredText(utf8=None, ends=None, lost="ids alone do not tell the text that this tokenizer made them of")

    def known(self, example: Example, *, moved: int = 0) -> ScoredText:
        """The bytes by the tokens' names.

        Args:
            moved: bytes of the first scored token that are none of the text.
        """
        at = np.flatnonzero(example.learnt[1:]) + 1
        pieces = [self._spelled(number) for number in example.ids[at].tolist()]
        sizes = np.zeros(len(example), np.int64)
        sizes[at] = [len(piece) for piece in pieces]
        return ScoredText(utf8=b"".join(pieces)[moved:], ends=np.maximum(np.cumsum(sizes) - moved, 0))

    def _spelled(self, number: int) -> bytes:
        return b"" if self._text.is_control(number) else self._text.spelled(number) or b""

    def _completion(self, example: Example, sample: CompletionSample) -> ScoredText:
        """A completion is there, to be compared with."""
        start = int((example.reason != int(Reason.PROMPT)).argmax())
        spelled, wanted = b"".join(map(self._spelled, example.ids[start:].tolist())), sample.completion.encode()
        if spelled not in (wanted, b" " + wanted):
            return ScoredText(utf8=None, ends=None, lost=f"{shown_value(sample.completion)} does not come back")
        first = start > 0 and example.reason[start] == int(Reason.SCORED)
        return self.known(example, moved=len(spelled) - len(wanted) if first else 0)  # the mark before a text

    def _lost(self, texts: Iterable[str]) -> str | None:
        """What becomes of the first text that its tokens do not give back."""
        if self._why_not is not None:
            return self._why_not
        texts = list(texts)
        written = next((text for text in texts if self._plain.control_notes(text)), None)
        if written is not None:
            return f"in {shown_value(written)} a control token is written, which a template makes one of"
        if self._loses_nothing:
            lost = next((text for text in texts if not is_normalized("NFC", text)), None) if self._normalises else None
        else:
            lost = next((text for text in texts if not self._comes_back(text)), None)
        return None if lost is None else f"{shown_value(lost)} does not come back"

    def _comes_back(self, text: str) -> bool:
        spelled, utf8 = b"".join(map(self._spelled, self._plain.ids(text))), text.encode()
        return spelled in (utf8, b" " + utf8)

    @cached_property
    def _loses_nothing(self) -> bool:
        return byte_counts(self._backend) is not None

    @cached_property
    def _normalises(self) -> bool:
        return self._backend.normalizer is not None

    @cached_property
    def _why_not(self) -> str | None:
        """Why the name of a token does not tell its bytes, wherever it stands; None where it does."""
        decoder = json.loads(self._backend.to_str())["decoder"]
        if not decoder or not {part["type"] for part in _parts(decoder)} <= _IN_PLACE:
            return "what bytes a token of this tokenizer stands for depends on its neighbours"
        control = next((t.content for t in self._backend.get_added_tokens_decoder().values() if t.special), "")
        behind = self._backend.encode(f"{control}a", add_special_tokens=False).ids
        if b"".join(map(self._spelled, behind)) != b"a":
            return "this tokenizer puts a space behind a control token, which is none of the text"
        return None


def _parts(decoder: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if decoder["type"] == "Sequence":
        for part in decoder["decoders"]:
            yield from _parts(part)
    else:
        yield decoder


def strings_of_assistant(sample: ChatSample) -> Iterator[str]:
    """All that an assistant says: texts, reasoning, arguments of calls."""
    for message in sample.messages:
        if isinstance(message, Mapping) and message.get("role") == ASSISTANT:
            yield from _strings([value for key, value in message.items() if key != "role"])


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)
