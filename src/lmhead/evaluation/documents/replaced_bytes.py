"""Replaced bytes: U+FFFD where data were not UTF-8. It has three bytes, and nobody knows how many it stands for."""

from typing import Final

from lmhead.data.rows.text_file import Errors

LOST: Final = "it has bytes that are not UTF-8, or U+FFFD itself: how many bytes were replaced by it nobody knows"
_REPLACEMENT: Final = "\ufffd".encode()


def may_hold_replaced(utf8: bytes | None, errors: Errors) -> bool:
    """Whether bytes of a text may have been replaced when it was read: then it has no number of bytes."""
    return errors == "replace" and utf8 is not None and _REPLACEMENT in utf8
