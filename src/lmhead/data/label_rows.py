"""One row after the other through a labeler: what cannot be labelled becomes a refusal, which is data."""

from collections.abc import Callable, Iterable, Iterator

from lmhead.data.labelled import Labelled, Refusal
from lmhead.data.sample import Place, Sample
from lmhead.errors import ConversationError, LmheadError
from lmhead.labels.example import Example

Item = Sample | Labelled  # a Labelled was refused before: it passes as it is
Label = Callable[[Sample], Example]


def label_rows(items: Iterable[Item], label: Label) -> Iterator[Labelled]:
    """Each item labelled, in order. What is no mistake of the data is raised."""
    for item in items:
        yield item if isinstance(item, Labelled) else _labelled(item, label)


def refused(place: Place, error: LmheadError) -> Labelled:
    """A row that is refused with an error's words."""
    kind = error.kind if isinstance(error, ConversationError) else "format"
    return Labelled(place=place, refusal=Refusal(kind=kind, message=str(error)))


def _labelled(sample: Sample, label: Label) -> Labelled:
    try:
        return Labelled(place=sample.place, example=label(sample))
    except LmheadError as error:
        return refused(sample.place, error)
