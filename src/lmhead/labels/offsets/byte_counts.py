"""Bytes of text that each token of a vocabulary stands for: what bits per byte of scored tokens are taken over.

    byte-level       GPT-2's, Llama 3's, Qwen's: a character of a token for each byte
    byte fallback    Gemma's: a mark for each space, and <0xC3> for bytes of characters that are no token

Of others a token alone does not tell: they lose text to an unknown token, fold case, or write the space before a word
by what stands there.
"""

import json
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from lmhead.labels.offsets.token_bytes import BYTE_OF, is_byte_level

_SPACE: Final = "\u2581"  # that stands for a space
_MARKED: Final = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
_UNMARKED: Final = {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "}
_FALLBACK: Final = {f"<0x{byte:02X}>" for byte in range(256)}


def byte_counts(backend: Tokenizer) -> npt.NDArray[np.int64] | None:
    """UTF-8 bytes of each token [V]; 0 of control tokens, which are no text. None where a token alone does not tell."""
    vocabulary = backend.get_vocab(with_added_tokens=True)
    state = json.loads(backend.to_str())
    if not _loses_nothing(backend, state, vocabulary):
        return None
    byte_level = is_byte_level(backend)
    counts = np.zeros(max(vocabulary.values()) + 1, np.int64)
    for token, number in vocabulary.items():
        counts[number] = len(token) if byte_level else _bytes_of_marked(token)
    for number, added in backend.get_added_tokens_decoder().items():
        counts[number] = 0 if added.special else len(added.content.encode())
    return counts


def _loses_nothing(backend: Tokenizer, state: dict[str, Any], vocabulary: dict[str, int]) -> bool:
    """Whether there are tokens for any text, and they give it back; NFC is how nearly all text is written."""
    normalizer, decoder = state["normalizer"], state["decoder"]
    if is_byte_level(backend):
        return (normalizer is None or normalizer["type"] == "NFC") and vocabulary.keys() >= BYTE_OF.keys()
    steps = [_UNMARKED, {"type": "ByteFallback"}, {"type": "Fuse"}]
    marks = normalizer == _MARKED and decoder == {"type": "Sequence", "decoders": steps}
    return marks and state["model"].get("byte_fallback") is True and vocabulary.keys() >= _FALLBACK


def _bytes_of_marked(token: str) -> int:
    return 1 if token in _FALLBACK else len(token.replace(_SPACE, " ").encode())
