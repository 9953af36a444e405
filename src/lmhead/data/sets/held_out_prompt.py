"""Prompt of a run on texts, continued along the way: the beginning of a held-out text that is nowhere trained on."""

from itertools import islice
from typing import Final

from lmhead.data.sets.corpus import Corpus

_TEXTS: Final = 5  # that are looked at
_BEGIN: Final = 2000  # bytes of each
_LEAST, _MOST = 12, 80  # characters


def held_out_prompt(corpus: Corpus) -> str:
    """Some words of the first held-out text whose beginning does not stand in a text that is trained on.

    Where each one does, as licences do, it is the beginning of the first: what follows it was never seen.
    """
    begins = [
        _begin(str(bytes(utf8[:_BEGIN]), "utf-8", "ignore")) for utf8 in islice(corpus.held_out.every_utf8(), _TEXTS)
    ]
    unseen = dict.fromkeys(begin for begin in begins if begin)
    for utf8 in corpus.train.every_utf8():
        raw = bytes(utf8)
        for begin in [begin for begin in unseen if begin.encode() in raw]:
            del unseen[begin]
    return next(iter(unseen), next(filter(None, begins), ""))


def _begin(text: str) -> str:
    """The first line, or as many as make some words; a long one up to a word's end."""
    lines = text.lstrip().splitlines()
    said = ""
    while lines and len(said) < _LEAST:
        said = f"{said}\n{lines.pop(0)}" if said else lines.pop(0)
    if len(said) > _MOST:
        words = said[:_MOST].rsplit(maxsplit=1)
        said = words[0] if len(words) > 1 and len(words[0]) >= _LEAST else said[:_MOST]
    return said.rstrip()
