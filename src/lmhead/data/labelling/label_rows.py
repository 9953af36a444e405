"""Labelling row after row: what cannot be labelled becomes a refusal, which is data; patience with slow templates.

A row gets all the time that the sandbox allows, but not every row does: a chat template may never end. Each is rendered
briefly first. One that takes longer is rendered at length, unless an earlier row of the same template was, and was
refused: then it is refused at once. So a row's label depends on it and on those before it alone, whichever process
renders it: what takes longer is decided by whoever collects the rows, in their order.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, final

from lmhead.data.formats.sample import ChatSample, Sample
from lmhead.data.labelling.outcome import Labelled, Refusal
from lmhead.data.rows.row import Place
from lmhead.errors import ConversationError, LmheadError
from lmhead.labels.example import Example
from lmhead.labels.template.sandbox_budget import PatienceError, briefly
from lmhead.options import Message

Label = Callable[[Sample], Example]
Item = Sample | Labelled  # a Labelled was refused before: it passes as it is
_UNFINISHED: Final = Refusal(kind="template", message=Message(""))  # no refusal that anybody sees


def label_rows(items: Iterable[Item], label: Label) -> Iterator[Labelled]:
    """Each item labelled, in order. What is no mistake of the data is raised."""
    patience = Patience(lambda: label)
    for item in items:
        yield item if isinstance(item, Labelled) else patience.finished(_briefly_labelled(item, label), item)


def brief_rows(items: Iterable[Item], label: Label) -> Iterator[Labelled]:
    """The same where somebody else finishes what takes long."""
    for item in items:
        yield item if isinstance(item, Labelled) else _briefly_labelled(item, label)


def is_unfinished(row: Labelled) -> bool:
    """Whether the row takes long."""
    return row.refusal == _UNFINISHED


def refused(place: Place, error: LmheadError) -> Labelled:
    """A row that is refused with an error's words."""
    kind = error.kind if isinstance(error, ConversationError) else "format"
    return Labelled(place=place, refusal=Refusal(kind=kind, message=error.message))


@final
class Patience:
    """Finishes rows that take long, in their order.

    Args:
        labeler: makes what labels; called when it is first needed.
    """

    def __init__(self, labeler: Callable[[], Label]) -> None:
        self._labeler = labeler
        self._label: Label | None = None
        self._refused: dict[bool, Place] = {}  # of the template for rows with tools, and of the one for rows without

    def finished(self, row: Labelled, sample: Sample) -> Labelled:
        """The row, which may have been briefly labelled, labelled or refused for good."""
        if not is_unfinished(row):
            return row
        template = isinstance(sample, ChatSample) and bool(sample.tools)
        if template in self._refused:
            message = Message(
                f"{row.place}: messages must render in as little time as others do, got a chat template that ran into "
                f"a limit at {self._refused[template]}, and is not given that much time again"
            )
            return Labelled(place=row.place, refusal=Refusal(kind="template", message=message))
        if self._label is None:
            self._label = self._labeler()
        result = _labelled(sample, self._label)
        if result.refusal is not None:
            self._refused[template] = row.place
        return result


def _briefly_labelled(sample: Sample, label: Label) -> Labelled:
    """The sample labelled or refused, or marked as one that takes long."""
    try:
        with briefly():
            return _labelled(sample, label)
    except PatienceError:
        return Labelled(place=sample.place, refusal=_UNFINISHED)


def _labelled(sample: Sample, label: Label) -> Labelled:
    try:
        return Labelled(place=sample.place, example=label(sample))
    except LmheadError as error:
        return refused(sample.place, error)
