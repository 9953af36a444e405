"""Sources: by what losses are told apart: a document's file, the data set's name, or what a column of its row says."""

from collections.abc import Callable

from lmhead.batches.source_groups import short_sources
from lmhead.data.rows.row import Place
from lmhead.data.rows.selection import Selection


def source_of(selection: Selection) -> Callable[[Place], str]:
    """What tells the source of a row: what it names itself, else its file without the folders that all lie in."""
    names = short_sources([file.source for file in selection.every_file() or ()])
    return lambda place: names.get(place.source, place.source) if place.group is None else place.group
