"""Texts of messages as a tokenizer meets them: conversations as ChatML writes them, roles and calls included.

Without the control tokens that stand between them. For a tokenizer to be trained on, or to be tried on.
"""

import hashlib
import json
import re
from collections.abc import Hashable, Iterable, Iterator
from typing import Final

from lmhead.data.formats.formats import Samples
from lmhead.data.formats.sample import ChatSample, CompletionSample, Sample, TextSample, TokenSample
from lmhead.data.rows.progress import Progress, unheard
from lmhead.data.rows.row import Place
from lmhead.data.rows.selection import Selection
from lmhead.data.sets.held_out import held_out
from lmhead.data.tokenizer.chatml import CHATML, CHATML_TOKENS
from lmhead.errors import ArgumentError, ArgumentTypeError, InputError, TemplateError
from lmhead.labels.conversation.conversation import Conversation
from lmhead.labels.template.chat_template import ChatTemplate
from lmhead.options import Message

_CONTROL: Final = re.compile("|".join(re.escape(token) for token in CHATML_TOKENS))
_SOME: Final = 2**20  # characters


def split_texts(
    selection: Selection,
    broken: dict[Place, Message],
    *,
    format: str | None,
    held_out_share: float,
    progress: Progress = unheard,
) -> Iterator[str]:
    """The texts of the samples that are not held out, for a tokenizer to be trained on.

    The samples are read twice here, and once more when they are labelled: which of them are held out is not known
    before all were seen, a tokenizer must be there before labels are, and in memory texts may take more than there is.

    Args:
        broken: is given the rows that cannot be read, which are left out, and why.
        format: as ChatConfig has it.
        held_out_share: of them.
    """

    def leave(place: Place, error: InputError) -> None:
        broken[place] = error.message

    samples = Samples(selection, format=format, on_error=leave, progress=progress)
    places: list[Place] = []
    contents: list[Hashable] = []
    for place, texts in _texts(samples):
        places.append(place)
        contents.append(hashlib.sha256(json.dumps(texts).encode()).digest() if texts else place)
    every = [*places, *broken]
    apart = held_out(map(selection.names(), every), held_out_share, contents=[*contents, *broken])
    unseen = {place for place, out in zip(every, apart, strict=True) if out}
    return (text for place, texts in _texts(samples) if place not in unseen for text in texts)


def some_texts(selection: Selection, *, format: str | None) -> Iterator[str]:
    """The texts of the first samples, held out or not, about a megabyte, for a tokenizer to be tried on.

    They are read for themselves: labels that come out of the cache are ids, and no text was read.
    """
    room = _SOME
    for _, texts in _texts(Samples(selection, format=format, on_error=_ignored)):
        yield from texts
        room -= sum(map(len, texts))
        if room < 0:
            return


def _ignored(place: Place, error: InputError) -> None:
    """The row was refused where it was labelled."""


def _texts(samples: Iterable[Sample]) -> Iterator[tuple[Place, list[str]]]:
    """The texts of each sample; what cannot be rendered has none: its labels are refused later, with the reason."""
    template = ChatTemplate(CHATML)
    for sample in samples:
        match sample:
            case ChatSample():
                yield sample.place, [text for text in _CONTROL.split(_rendered(template, sample)) if text]
            case CompletionSample():
                yield sample.place, [sample.prompt, sample.completion]
            case TextSample():
                yield sample.place, [sample.text]
            case TokenSample():
                yield sample.place, []


def _rendered(template: ChatTemplate, sample: ChatSample) -> str:
    try:
        given = Conversation.of(sample.messages, sample.tools)
        return template.render(given.messages, tools=given.tools, **sample.template_arguments)
    except (TemplateError, ArgumentError, ArgumentTypeError):
        return ""
