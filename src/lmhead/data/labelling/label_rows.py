"""One row after the other through a labeler: what cannot be labelled becomes a refusal, which is data."""

from collections.abc import Iterable, Iterator

from lmhead.data.formats.sample import Sample
from lmhead.data.labelling.outcome import Labelled
from lmhead.data.labelling.patience import Label, Patience, briefly_labelled, refused

__all__ = ["Item", "Label", "brief_rows", "label_rows", "refused"]

Item = Sample | Labelled  # a Labelled was refused before: it passes as it is


def label_rows(items: Iterable[Item], label: Label) -> Iterator[Labelled]:
    """Each item labelled, in order. What is no mistake of the data is raised."""
    patience = Patience(lambda: label)
    for item in items:
        yield item if isinstance(item, Labelled) else patience.finished(briefly_labelled(item, label), item)


def brief_rows(items: Iterable[Item], label: Label) -> Iterator[Labelled]:
    """The same where somebody else finishes what takes long."""
    for item in items:
        yield item if isinstance(item, Labelled) else briefly_labelled(item, label)
