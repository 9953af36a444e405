"""Text from data as a terminal may show it: what would move its cursor or turn its direction is written out."""

import re

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"  # \t and \n stay
)


def shown(text: str) -> str:
    r"""The text with visible escapes: `\x1b`, `\u202e`."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape", "backslashreplace").decode(), text)


def shown_line(text: str) -> str:
    """The same on one line."""
    return shown(text.replace("\n", r"\n").replace("\t", r"\t"))
