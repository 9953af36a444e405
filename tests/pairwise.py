"""Fewer cases of a product of options: every pair of values in some case, instead of every combination."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import combinations, product
from typing import TypeVar

import pytest
from hypothesis import settings

Row = TypeVar("Row", bound=tuple[Hashable, ...])


def pairwise(**options: Iterable[object]) -> pytest.MarkDecorator:
    """Parametrises a test by options, so that every two values of two options meet; nightly, all combinations do.

    The same as one `pytest.mark.parametrize` for each option, in fewer cases:

        @pairwise(backend=BACKENDS, dtype=DTYPES, kind=["lora", "dora"])
    """
    assert len(options) > 1, "pairs need two options"
    values = [list(each) for each in options.values()]
    places = list(product(*(range(len(each)) for each in values)))
    rows = [tuple(each[place] for each, place in zip(values, row, strict=True)) for row in chosen(places)]
    return pytest.mark.parametrize(tuple(options), rows, ids=str)


def chosen(rows: Sequence[Row]) -> list[Row]:
    """Rows that cover every pair of values; nightly, all. For products of which some combinations cannot be."""
    return list(rows if settings.get_current_profile_name() == "nightly" else covering(rows))


def covering(rows: Sequence[Row]) -> Iterator[Row]:
    """Some of the rows, in which every pair of columns has all pairs of values that it has in any row.

    Each time the row with the most pairs that are still missing, of several the first: the same choice every time.
    """
    pairs = {row: set(combinations(enumerate(row), 2)) for row in rows}
    missing = set().union(*pairs.values())
    while missing:
        row = max(pairs, key=lambda row: len(pairs[row] & missing))
        missing -= pairs[row]
        yield row
