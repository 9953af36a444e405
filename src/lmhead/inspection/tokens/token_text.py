"""Text of single tokens: what each id of a tokenizer stands for: text, bytes that are no character, a control token.

    byte-level       GPT-2's, Llama 3's, Qwen's: a character of a token for each byte
    byte fallback    Gemma's, Mistral's: <0xC3> for bytes of characters that are no token
    Metaspace        SentencePiece's: a mark for each space
    WordPiece        BERT's: ## before what goes on with a word

`decode` of one id alone would lose the space before a word, and make U+FFFD of each part of a character.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from tokenizers import Tokenizer

from lmhead.labels.offsets.token_bytes import BYTE_OF
from lmhead.record.vocabulary import Piece

_FALLBACK: Final = re.compile("<0x([0-9A-Fa-f]{2})>")
_SPACE: Final = "\u2581"  # that stands for a space
_Step = Callable[[str], str]


class TokenText:
    """What the ids of one tokenizer stand for, looked up once each.

    Args:
        token: the tokenizer's own name of an id; None where it has no such id.
        control: ids that are no text.
        added: text of ids that the tokenizer never splits and that are text.
        spelled: a token's name -> its bytes.

    Example:
        >>> from tokenizers import decoders, models
        >>> byte_level = Tokenizer(models.BPE(vocab={"\u0120caf": 0, "\u00c3": 1}, merges=[]))
        >>> byte_level.decoder = decoders.ByteLevel()
        >>> text = TokenText.of(byte_level)
        >>> text[0], text[1]
        (Piece(kind='text', text=' caf'), Piece(kind='bytes', text='c3'))
    """

    def __init__(
        self,
        token: Callable[[int], str | None],
        control: Mapping[int, str],
        added: Mapping[int, str],
        spelled: Callable[[str], bytes],
    ) -> None:
        self._token = token
        self._control = control
        self._added = added
        self._spelled = spelled
        self._known: dict[int, bytes | None] = {}

    @staticmethod
    def of(backend: Tokenizer) -> "TokenText":
        """Of a `tokenizers.Tokenizer`."""
        added = backend.get_added_tokens_decoder()
        return TokenText(
            backend.id_to_token,
            {number: token.content for number, token in added.items() if token.special},
            {number: token.content for number, token in added.items() if not token.special},
            _spelling(backend),
        )

    @staticmethod
    def of_python(tokenizer: Any) -> "TokenText":
        """Of a tokenizer of transformers that is written in Python."""
        added = {number: str(token) for number, token in tokenizer.added_tokens_decoder.items()}
        special = set(tokenizer.all_special_ids)
        return TokenText(
            lambda number: tokenizer.convert_ids_to_tokens(number) if 0 <= number < len(tokenizer) else None,
            {number: text for number, text in added.items() if number in special},
            {number: text for number, text in added.items() if number not in special},
            lambda token: _bytes_of(token, (_unmarked, _word_piece("##") if _is_word_piece(tokenizer) else _same)),
        )

    def __getitem__(self, number: int) -> Piece:
        """What an id stands for; of one that is no token, that it is none."""
        if number in self._control:
            return Piece(kind="control", text=self._control[number])
        found = self.spelled(number)
        if found is None:
            return Piece(kind="control", text=f"[no token {number}]")
        try:
            return Piece(kind="text", text=found.decode())
        except UnicodeDecodeError:
            return Piece(kind="bytes", text=found.hex())

    def spelled(self, number: int) -> bytes | None:
        """The bytes of a token, a control token's name as it is written; None of what is no token."""
        if number not in self._known:
            self._known[number] = self._look_up(number)
        return self._known[number]

    def is_control(self, number: int) -> bool:
        """Whether an id is no text."""
        return number in self._control

    def _look_up(self, number: int) -> bytes | None:
        written = self._control.get(number, self._added.get(number))
        if written is not None:
            return written.encode()
        token = self._token(number) if 0 <= number < 2**32 else None
        return None if token is None else self._spelled(token)


def _spelling(backend: Tokenizer) -> Callable[[str], bytes]:
    """How the names of the tokens spell their bytes, by the tokenizer's decoder."""
    if backend.decoder is None:  # decode puts a space between tokens
        return lambda token: f" {token}".encode()
    state = backend.decoder.__getstate__()
    parts = list(_parts(json.loads(state))) if isinstance(state, bytes) else []
    if any(part["type"] == "ByteLevel" for part in parts):
        return _byte_level
    steps = tuple(filter(None, map(_step, parts)))
    return lambda token: _bytes_of(token, steps)


def _parts(decoder: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if decoder["type"] == "Sequence":
        for part in decoder["decoders"]:
            yield from _parts(part)
    else:
        yield decoder


def _step(part: Mapping[str, Any]) -> _Step | None:
    """What a decoder does to one token, whatever its neighbours are."""
    match part["type"]:
        case "Replace" if "String" in part["pattern"]:
            old, new = part["pattern"]["String"], part["content"]
            return lambda text: text.replace(old, new)
        case "Metaspace":
            mark = part["replacement"]
            return lambda text: text.replace(mark, " ")
        case "WordPiece":
            return _word_piece(part["prefix"])
        case "BPEDecoder":
            suffix = part["suffix"]
            return lambda text: text.replace(suffix, " ")
        case "CTC":
            delimiter = part["word_delimiter_token"]
            return lambda text: text.replace(delimiter, " ")
    return None


def _bytes_of(token: str, steps: tuple[_Step, ...]) -> bytes:
    byte = _FALLBACK.fullmatch(token)
    if byte is not None:
        return bytes([int(byte[1], 16)])
    for step in steps:
        token = step(token)
    return token.encode("utf-8", "replace")


def _byte_level(token: str) -> bytes:
    known = all(character in BYTE_OF for character in token)
    return bytes(BYTE_OF[character] for character in token) if known else token.encode()


def _word_piece(prefix: str) -> _Step:
    return lambda text: text.removeprefix(prefix) if text.startswith(prefix) else f" {text}"


def _unmarked(text: str) -> str:
    return text.replace(_SPACE, " ")


def _same(text: str) -> str:
    return text


def _is_word_piece(tokenizer: Any) -> bool:
    return any(token.startswith("##") for token in tokenizer.get_vocab())
