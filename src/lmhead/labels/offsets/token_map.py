"""Tokens of a rendered text, and the characters that each of them stands for.

No token may stand on both sides of a border of what is trained: at inference the prompt is tokenised alone, and no
token reaches from it into the answer. Where one would, the text is cut there and its pieces are tokenised apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from lmhead.errors import ConversationError
from lmhead.labels.offsets.token_bytes import TokenBytes, Tokens


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenMap:
    """Ids [T], and for each token its characters and the one character that tells whose it is."""

    ids: npt.NDArray[np.int32]  # [T]
    starts: npt.NDArray[np.int64]  # [T], rising: no character between two tokens belongs to none
    stops: npt.NDArray[np.int64]  # [T], exclusive
    anchors: npt.NDArray[np.int64]  # [T], in [start, stop) where that is not empty
    cuts: tuple[int, ...] = ()  # characters at which the text was cut
    ordered: bool = False  # the anchors never fall

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """The tokens whose anchors lie in characters [start, stop)."""
        if self.ordered:
            first, last = int(self.anchors.searchsorted(start)), int(self.anchors.searchsorted(stop))
            return (first, last) if first < last else (0, 0)
        inside = np.flatnonzero((self.anchors >= start) & (self.anchors < stop))
        return (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, 0)


def tokenized(
    backend: Tokenizer,
    text: str,
    borders: Sequence[int],
    added: dict[int, str],
    token_bytes: TokenBytes | None = None,
) -> TokenMap:
    """The tokens of a text, none of them on both sides of a border.

    A special token that swallows white space behind it may reach over a border with that: it belongs where its own
    text stands.

    Args:
        added: ids of the tokens that the tokenizer never splits.
        token_bytes: of this tokenizer: a quicker way to the same, where it tells.

    Raises:
        ConversationError: the pieces, tokenised apart, do not make the text again.
    """
    told = token_bytes.tokens(text) if token_bytes is not None else None
    apart = None
    if told is not None and token_bytes is not None:
        apart = _apart_between_walls(text, told, borders, added, token_bytes)
    found, cuts = apart or _apart(backend, text, borders, added, told)
    ids, starts, stops = found
    anchors = _anchors(text, found, borders)
    ordered = bool((anchors[1:] >= anchors[:-1]).all())
    return TokenMap(ids=ids, starts=starts, stops=stops, anchors=anchors, cuts=tuple(sorted(cuts)), ordered=ordered)


def _apart(
    backend: Tokenizer, text: str, borders: Sequence[int], added: dict[int, str], told: Tokens | None
) -> tuple[Tokens, set[int]]:
    """The tokens of a text, and where it had to be cut."""
    cuts: set[int] = set()
    whole = found = told or _pieces(backend, text, [])
    while crossed := _crossed(text, found, borders, added) - cuts:
        cuts |= crossed
        found = _pieces(backend, text, sorted(cuts))
    if cuts and _decoded(backend, found) != _decoded(backend, whole):
        raise ConversationError(
            f"tokenizer must let a text be cut at character {min(cuts)}, between prompt and answer, got other text "
            "from the pieces: it marks the beginning of a text (a prefix space); tokenise with prepend_scheme='never'",
            kind="tokens",
        )
    return found, cuts


def _apart_between_walls(
    text: str, found: Tokens, borders: Sequence[int], added: dict[int, str], token_bytes: TokenBytes
) -> tuple[Tokens, set[int]] | None:
    """The same, where bytes tell the tokens of each piece; None where they do not.

    A text is tokenised piece by piece between the control tokens in it: only where a token is cut apart, what stands
    between the nearest two of them is tokenised anew.
    """
    cuts: set[int] = set()
    while crossed := _crossed(text, found, borders, added) - cuts:
        if any(int(found[0][token]) in added for border, token in _straddling(found, borders) if border in crossed):
            return None  # what a control token covered may hold another one
        cuts |= crossed
        again = _between_walls(text, found, sorted(crossed), sorted(cuts), token_bytes)
        if again is None:
            return None
        found = again
    return found, cuts


def _between_walls(
    text: str, found: Tokens, crossed: list[int], cuts: list[int], token_bytes: TokenBytes
) -> Tokens | None:
    """The tokens of a text that is cut anew at `crossed`, and at all of `cuts` in all."""
    ids, starts, stops = found
    walls = token_bytes.walls(ids)
    kept, pieces = 0, []
    for border in crossed:
        place = int(walls.searchsorted(starts.searchsorted(border)))  # of the first wall behind the border
        first, last = (
            (int(walls[place - 1]) + 1 if place else 0),
            (int(walls[place]) if place < len(walls) else len(ids)),
        )
        if first < kept:
            continue  # between the same two as the border before
        pieces.append((ids[kept:first], starts[kept:first], stops[kept:first]))
        begin, end = int(stops[first - 1]) if first else 0, int(starts[last]) if last < len(ids) else len(text)
        for start, stop in pairwise([begin, *(cut for cut in cuts if begin < cut < end), end]):
            told = token_bytes.tokens(text[start:stop])
            if told is None:
                return None
            pieces.append((told[0], told[1] + start, told[2] + start))
        kept = last
    pieces.append((ids[kept:], starts[kept:], stops[kept:]))
    columns = zip(*pieces, strict=True)
    ids, starts, stops = (np.concatenate(column) for column in columns)
    return ids, starts, stops


def _pieces(backend: Tokenizer, text: str, cuts: Sequence[int]) -> Tokens:
    """Ids, starts and stops of a text cut into pieces."""
    ids: list[int] = []
    offsets: list[tuple[int, int]] = []
    for start, stop in pairwise([0, *cuts, len(text)]):
        encoded = backend.encode(text[start:stop], add_special_tokens=False)
        ids += encoded.ids
        offsets += [(first + start, last + start) for first, last in encoded.offsets] if start else encoded.offsets
    places = np.fromiter(chain.from_iterable(offsets), np.int64, 2 * len(offsets)).reshape(-1, 2)
    # A tokenizer may leave white space out of its offsets: it belongs to the token behind it.
    reached = np.maximum.accumulate(np.concatenate([[0], places[:-1, 1]])) if len(places) else places[:, 0]
    empty = places[:, 1] <= places[:, 0]
    starts = np.where(empty, reached, np.minimum(places[:, 0], reached))
    return np.asarray(ids, dtype=np.int32), starts, np.where(empty, reached, places[:, 1])


def _crossed(text: str, tokens: Tokens, borders: Sequence[int], added: dict[int, str]) -> set[int]:
    """The borders on both sides of which a token stands."""
    ids, starts, stops = tokens
    found = set()
    for border, token in _straddling(tokens, borders):
        own = text[starts[token] : stops[token]]
        if not (int(ids[token]) in added and not text[border : stops[token]].strip() and own.strip()):
            found.add(border)
    return found


def _anchors(text: str, tokens: Tokens, borders: Sequence[int]) -> npt.NDArray[np.int64]:
    """The first character of each token; the first that is not white space where a border runs through the token."""
    _, starts, stops = tokens
    anchors = starts.copy()
    for _, token in _straddling(tokens, borders):
        own = text[starts[token] : stops[token]]
        anchors[token] += len(own) - len(own.lstrip())
    return anchors


def _straddling(tokens: Tokens, borders: Sequence[int]) -> list[tuple[int, int]]:
    """(border, token) for each border that runs through a token."""
    _, starts, stops = tokens
    if not len(starts) or not borders:
        return []
    before = starts.searchsorted(np.asarray(borders)) - 1
    through = (before >= 0) & (stops[before] > borders)
    return [(borders[place], int(before[place])) for place in np.flatnonzero(through).tolist()]


def _decoded(backend: Tokenizer, tokens: Tokens) -> str:
    return backend.decode(tokens[0].tolist(), skip_special_tokens=False)
