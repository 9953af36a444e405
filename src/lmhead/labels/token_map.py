"""Tokens of a rendered text, and the characters that each of them stands for.

No token may stand on both sides of a border of what is trained: at inference the prompt is tokenised alone, and no
token reaches from it into the answer. Where one would, the text is cut there and its pieces are tokenised apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from lmhead.errors import ConversationError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenMap:
    """Ids [T], and for each token its characters and the one character that tells whose it is."""

    ids: npt.NDArray[np.int32]  # [T]
    starts: npt.NDArray[np.int64]  # [T], rising: no character between two tokens belongs to none
    stops: npt.NDArray[np.int64]  # [T], exclusive
    anchors: npt.NDArray[np.int64]  # [T], in [start, stop) where that is not empty
    cuts: tuple[int, ...] = ()  # characters at which the text was cut

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """The tokens whose anchors lie in characters [start, stop)."""
        inside = np.flatnonzero((self.anchors >= start) & (self.anchors < stop))
        return (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, 0)


def tokenized(backend: Tokenizer, text: str, borders: Sequence[int], added: dict[int, str]) -> TokenMap:
    """The tokens of a text, none of them on both sides of a border.

    A special token that swallows white space behind it may reach over a border with that: it belongs where its own
    text stands.

    Args:
        added: ids of the tokens that the tokenizer never splits.

    Raises:
        ConversationError: the pieces, tokenised apart, do not make the text again.
    """
    cuts: set[int] = set()
    whole = found = _pieces(backend, text, [])
    while crossed := _crossed(text, found, borders, added) - cuts:
        cuts |= crossed
        found = _pieces(backend, text, sorted(cuts))
    if cuts and _decoded(backend, found) != _decoded(backend, whole):
        raise ConversationError(
            f"tokenizer must let a text be cut at character {min(cuts)}, between prompt and answer, got other text "
            "from the pieces: it marks the beginning of a text (a prefix space); tokenise with prepend_scheme='never'",
            kind="tokens",
        )
    ids, starts, stops = found
    return TokenMap(
        ids=ids, starts=starts, stops=stops, anchors=_anchors(text, starts, stops, borders), cuts=tuple(cuts)
    )


_Tokens = tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int64]]


def _pieces(backend: Tokenizer, text: str, cuts: Sequence[int]) -> _Tokens:
    """Ids, starts and stops of a text cut into pieces."""
    ids: list[int] = []
    offsets: list[tuple[int, int]] = []
    for start, stop in pairwise([0, *cuts, len(text)]):
        encoded = backend.encode(text[start:stop], add_special_tokens=False)
        ids += encoded.ids
        offsets += [(first + start, last + start) for first, last in encoded.offsets] if start else encoded.offsets
    places = np.asarray(offsets, dtype=np.int64).reshape(-1, 2)
    # A tokenizer may leave white space out of its offsets: it belongs to the token behind it.
    reached = np.maximum.accumulate(np.concatenate([[0], places[:-1, 1]])) if len(places) else places[:, 0]
    empty = places[:, 1] <= places[:, 0]
    starts = np.where(empty, reached, np.minimum(places[:, 0], reached))
    return np.asarray(ids, dtype=np.int32), starts, np.where(empty, reached, places[:, 1])


def _crossed(text: str, tokens: _Tokens, borders: Sequence[int], added: dict[int, str]) -> set[int]:
    """The borders on both sides of which a token stands."""
    ids, starts, stops = tokens
    found = set()
    for border in borders:
        token = int(np.searchsorted(starts, border, side="left")) - 1
        if token < 0 or stops[token] <= border:
            continue
        own = text[starts[token] : stops[token]]
        if not (int(ids[token]) in added and not text[border : stops[token]].strip() and own.strip()):
            found.add(border)
    return found


def _anchors(
    text: str, starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64], borders: Sequence[int]
) -> npt.NDArray[np.int64]:
    """The first character of each token; the first that is not white space where a border runs through the token."""
    anchors = starts.copy()
    for border in borders:
        token = int(np.searchsorted(starts, border, side="left")) - 1
        if token >= 0 and stops[token] > border:
            own = text[starts[token] : stops[token]]
            anchors[token] += len(own) - len(own.lstrip())
    return anchors


def _decoded(backend: Tokenizer, tokens: _Tokens) -> str:
    return backend.decode(tokens[0].tolist(), skip_special_tokens=False)
