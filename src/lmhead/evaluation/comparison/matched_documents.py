"""Documents matched by their bytes: the first of equal texts in one evaluation with the first in the other, ..."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from lmhead.evaluation.sums.document_sums import DocumentSums

Key = Callable[[DocumentSums], Hashable | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchedDocuments:
    """Places in the two lists. Documents of which nothing is scored on either side are in none of these."""

    pairs: tuple[tuple[int, int], ...]
    only_first: tuple[int, ...]
    only_second: tuple[int, ...]
    unknown_first: tuple[int, ...]  # that have no key: their bytes are not known
    unknown_second: tuple[int, ...]


def by_bytes(document: DocumentSums) -> Hashable | None:
    """The same scored bytes."""
    return document.digest


def by_tokens(document: DocumentSums) -> Hashable:
    """The same scored bytes in as many tokens; where these are not known, the same place."""
    return document.digest or ("named", document.source, document.name), document.tokens


def matched_documents(first: Sequence[DocumentSums], second: Sequence[DocumentSums], key: Key) -> MatchedDocuments:
    """The pairs, in the order of the first, and what is left over."""
    waiting: dict[Hashable, list[int]] = defaultdict(list)
    unknown_second = []
    for place in reversed(range(len(second))):
        found = key(second[place])
        if found is not None:
            waiting[found].append(place)
        elif second[place].tokens:
            unknown_second.append(place)
    pairs, only_first, unknown_first = [], [], []
    for place, document in enumerate(first):
        found = key(document)
        if found is None:
            if document.tokens:
                unknown_first.append(place)
        elif waiting.get(found):
            other = waiting[found].pop()
            if document.tokens or second[other].tokens:
                pairs.append((place, other))
        elif document.tokens:
            only_first.append(place)
    left = sorted(place for places in waiting.values() for place in places if second[place].tokens)
    return MatchedDocuments(
        pairs=tuple(pairs),
        only_first=tuple(only_first),
        only_second=tuple(left),
        unknown_first=tuple(unknown_first),
        unknown_second=tuple(reversed(unknown_second)),
    )
