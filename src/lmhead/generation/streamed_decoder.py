"""A tokenizer's decoder, token by token: what is returned never changes with what follows, and joined it is `decode`.

Decoders look at their neighbours: a run of byte-fallback tokens is text or not as a whole, WordPiece and Metaspace
treat the first token otherwise, BPEDecoder the last one, CTC drops a token that repeats the one before; and all of them
see the text without the special tokens in between. So each stage of a decoder has a twin here that holds back what is
not decided yet, and no more; each token is decoded once.

A stage without a twin (a pattern over the joined text, a decoder written in Python) decides when all tokens are there.
"""

import codecs
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import Any, Final, final

from tokenizers import Tokenizer, decoders

from lmhead.labels.offsets.token_bytes import BYTE_OF

_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_FALLBACK: Final = re.compile("<0x([+0-9A-Fa-f][0-9A-Fa-f])>")  # a sign too: so Rust reads numbers


class _Stage(ABC):
    """Takes pieces of text as they come; returns those that are decided, and the others at the end."""

    @abstractmethod
    def push(self, piece: str) -> list[str]:
        """The pieces that `piece` decides."""

    def end(self) -> list[str]:
        """The pieces that were held back."""
        return []


@final
class StreamedDecoder:
    """`tokenizer.decode`, special tokens skipped, of tokens that come one by one."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._special = {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special}
        self._stages = _stages(tokenizer.decoder)
        self._all: list[int] = []  # where only the whole can be decoded

    def push(self, id: int) -> str:
        """The text that is decided with this token; may be empty."""
        if self._stages is None:
            self._all.append(id)
            return ""
        token = self._tokenizer.id_to_token(id)
        return "" if token is None or token in self._special else "".join(_through(self._stages, [token]))

    def end(self) -> str:
        """The rest."""
        if self._stages is None:
            return str(self._tokenizer.decode(self._all))
        pieces: list[str] = []
        for number, stage in enumerate(self._stages):
            pieces += _through(self._stages[number + 1 :], stage.end())
        return "".join(pieces)


def _through(stages: Sequence[_Stage], pieces: list[str]) -> list[str]:
    for stage in stages:
        pieces = [out for piece in pieces for out in stage.push(piece)]
    return pieces


@final
class _Each(_Stage):
    """Every piece alone."""

    def __init__(self, decode: Callable[[list[str]], str]) -> None:
        self._decode = decode

    def push(self, piece: str) -> list[str]:
        return [self._decode([piece])]


@final
class _First(_Stage):
    """The first piece is decoded otherwise than the others."""

    def __init__(self, decode: Callable[[list[str]], str]) -> None:
        self._decode = decode
        self._before: list[str] = []

    def push(self, piece: str) -> list[str]:
        decoded = self._decode([*self._before, piece])
        self._before = [""]
        return [decoded]


@final
class _Last(_Stage):
    """The last piece is decoded otherwise than the others."""

    def __init__(self, decode: Callable[[list[str]], str]) -> None:
        self._decode = decode
        self._held: str | None = None

    def push(self, piece: str) -> list[str]:
        held, self._held = self._held, piece
        return [] if held is None else [self._decode([held, ""])]

    def end(self) -> list[str]:
        return [] if self._held is None else [self._decode([self._held])]


@final
class _Repeats(_Stage):
    """A piece that repeats the one before is dropped, and so is one that decodes to nothing."""

    def __init__(self, decode: Callable[[list[str]], str]) -> None:
        self._decode = decode
        self._before: str | None = None

    def push(self, piece: str) -> list[str]:
        repeats, self._before = piece == self._before, piece
        decoded = "" if repeats else self._decode([piece])
        return [decoded] if decoded else []


@final
class _Bytes(_Stage):
    """Byte-level tokens: UTF-8, of which a character's first bytes wait for the others."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, piece: str) -> list[str]:
        known = all(character in BYTE_OF for character in piece)
        raw = bytes(BYTE_OF[character] for character in piece) if known else piece.encode()
        return [self._decoder.decode(raw)]

    def end(self) -> list[str]:
        return [self._decoder.decode(b"", final=True)]


@final
class _ByteRuns(_Stage):
    """Tokens such as <0xE2>: a run of them is a text where all of it is UTF-8, else a replacement for every byte."""

    def __init__(self) -> None:
        self._run = bytearray()

    def push(self, piece: str) -> list[str]:
        byte = _FALLBACK.fullmatch(piece)
        if byte is None:
            return [*self.end(), piece]
        self._run.append(int(byte[1], 16))
        return []

    def end(self) -> list[str]:
        run, self._run = bytes(self._run), bytearray()
        try:
            return [run.decode()] if run else []
        except UnicodeDecodeError:
            return [_REPLACEMENT] * len(run)


@final
class _Ends(_Stage):
    """Strips a character from the two ends of the text, so many times at most."""

    def __init__(self, character: str, start: int, stop: int) -> None:
        self._character, self._left, self._stop = character, start, stop
        self._held = ""  # may be the end

    def push(self, piece: str) -> list[str]:
        while self._left and piece:
            if piece[0] == self._character:
                piece, self._left = piece[1:], self._left - 1
            else:
                self._left = 0
        text = self._held + piece
        trailing = sum(1 for _ in takewhile(self._character.__eq__, reversed(text)))
        decided = len(text) - min(trailing, self._stop)
        self._held = text[decided:]
        return [text[:decided]]


@final
class _Whole(_Stage):
    """A text that can only be decoded when all of it is there."""

    def __init__(self, decode: Callable[[list[str]], str]) -> None:
        self._decode = decode
        self._pieces: list[str] = []

    def push(self, piece: str) -> list[str]:
        self._pieces.append(piece)
        return []

    def end(self) -> list[str]:
        return [self._decode(["".join(self._pieces)])]


@final
class _Spaces(_Stage):
    """No decoder: a space between two tokens."""

    def __init__(self) -> None:
        self._between = ""

    def push(self, piece: str) -> list[str]:
        text, self._between = self._between + piece, " "
        return [text]


def _stages(decoder: decoders.Decoder | None) -> list[_Stage] | None:
    """The twins of a decoder's stages; None where one of them is not known."""
    if decoder is None:
        return [_Spaces()]
    stages: list[_Stage] = []
    joined = False  # the text is one piece by now, whose parts the later stages do not see as pieces
    for rules in _rules(decoder):
        make = (_OF_TEXT if joined else _OF_TOKENS).get(rules["type"], _whole if joined else None)
        if make is None:
            return None
        stages.append(make(rules))
        joined = joined or rules["type"] in ("ByteLevel", "Fuse")
    return stages


def _rules(decoder: decoders.Decoder) -> list[dict[str, Any]]:
    """What each stage is, as tokenizer.json says it."""
    try:
        found = json.loads(decoder.__getstate__())
    except Exception:  # noqa: BLE001  (the Rust side raises Exception itself: a decoder written in Python has no JSON)
        return [{"type": "custom"}]
    return _flat(found)


def _flat(rules: dict[str, Any]) -> list[dict[str, Any]]:
    if rules["type"] != "Sequence":
        return [rules]
    return [stage for inner in rules["decoders"] for stage in _flat(inner)]


def _decode(rules: Mapping[str, Any]) -> Callable[[list[str]], str]:
    """The stage itself, of a list of pieces."""
    alone = json.dumps({"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": []}, "decoder": dict(rules)})
    decode: Callable[[list[str]], str] = Tokenizer.from_str(alone).decoder.decode
    return decode


def _whole(rules: Mapping[str, Any]) -> _Stage:
    return _Whole(_decode(rules))


def _replace_in_text(rules: Mapping[str, Any]) -> _Stage:
    """One character is replaced wherever it stands; a longer pattern may begin in one piece and end in the next."""
    alone = len(rules["pattern"].get("String", "")) == 1
    return _Each(_decode(rules)) if alone else _Whole(_decode(rules))


_OF_TOKENS: Final[Mapping[str, Callable[[Mapping[str, Any]], _Stage]]] = {
    "ByteLevel": lambda rules: _Bytes(),
    "ByteFallback": lambda rules: _ByteRuns(),
    "Fuse": lambda rules: _Each("".join),
    "Strip": lambda rules: _Each(_decode(rules)),
    "Replace": lambda rules: _Each(_decode(rules)),
    "WordPiece": lambda rules: _First(_decode(rules)),
    "Metaspace": lambda rules: _First(_decode(rules)),
    "BPEDecoder": lambda rules: _Last(_decode(rules)),
    "CTC": lambda rules: _Repeats(_decode(rules)),
}
_OF_TEXT: Final[Mapping[str, Callable[[Mapping[str, Any]], _Stage]]] = {
    "Fuse": lambda rules: _Each("".join),
    "Strip": lambda rules: _Ends(rules["content"], rules["start"], rules["stop"]),
    "Replace": _replace_in_text,
    "Metaspace": lambda rules: _Each(_decode(rules)),
}
