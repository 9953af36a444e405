"""Prompts of a run on texts, continued along the way: words of held-out texts that are nowhere trained on."""

from itertools import islice
from typing import Final

from lmhead.data.sets.corpus import Corpus

_TEXTS: Final = 5  # that are looked at
_PLACES: Final = 3  # of each, where there are fewer
_BEGIN: Final = 2000  # bytes of each
_LEAST, _MOST = 12, 80  # characters


def held_out_prompts(corpus: Corpus) -> list[str]:
    """The beginnings of the first held-out texts, and of lines in them where they are few; at least one, all different.

    First those that stand in no text that is trained on. What follows those that do, as licences do, was never seen
    either.
    """
    texts = list(islice(corpus.held_out.every_utf8(), _TEXTS))
    begins = [_begin(str(bytes(utf8[:_BEGIN]), "utf-8", "ignore")) for utf8 in texts]
    inner = [_within(utf8, place) for utf8 in texts for place in range(1, _PLACES)] if len(texts) < _TEXTS else []
    unseen = dict.fromkeys(begin for begin in [*begins, *inner] if begin)
    for utf8 in corpus.train.every_utf8():
        raw = bytes(utf8)
        for begin in [begin for begin in unseen if begin.encode() in raw]:
            del unseen[begin]
    first = next((begin for begin in begins if begin in unseen), next(filter(None, begins), ""))
    return list(dict.fromkeys([first, *unseen, *filter(None, [*begins, *inner])]))


def _within(utf8: memoryview, place: int) -> str:
    """The beginning of the first line behind so many thirds of a text."""
    part = bytes(utf8[len(utf8) * place // _PLACES :][:_BEGIN])
    return _begin(str(part.partition(b"\n")[2], "utf-8", "ignore"))


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
