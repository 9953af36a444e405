"""Bytes of text that each token of a vocabulary stands for: what bits per byte of scored tokens are taken over."""

import json

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from lmhead.labels.offsets.token_bytes import BYTE_OF, is_byte_level

_KEEPING = ("NFC",)  # normalizers that leave text as it is, as nearly all text is written


def byte_counts(backend: Tokenizer) -> npt.NDArray[np.int64] | None:
    """UTF-8 bytes of each token [V]; 0 of control tokens, which are no text. None where a token alone does not tell.

    A byte-level tokenizer whose vocabulary has all 256 bytes loses nothing, and its tokens' bytes add up to the text's.
    Others lose text to an unknown token, fold case, or write a token's space by what stands before it.
    """
    vocabulary = backend.get_vocab(with_added_tokens=True)
    if not is_byte_level(backend) or not _keeps_text(backend) or not BYTE_OF.keys() <= vocabulary.keys():
        return None
    counts = np.zeros(max(vocabulary.values()) + 1, np.int64)
    for token, number in vocabulary.items():
        counts[number] = len(token)  # a character for each byte
    for number, added in backend.get_added_tokens_decoder().items():
        counts[number] = 0 if added.special else len(added.content.encode())
    return counts


def _keeps_text(backend: Tokenizer) -> bool:
    normalizer = json.loads(backend.to_str())["normalizer"]
    return normalizer is None or normalizer["type"] in _KEEPING
