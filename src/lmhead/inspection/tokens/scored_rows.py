"""Scores of rows by a model: nll, rank, entropy and alternatives of every token that something predicts.

Each document is read alone, as it is where a model keeps documents apart; a longer one than the context in windows that
overlap by half, as in an evaluation. So no padding and no neighbour is ever seen, whatever the row looked like.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from lmhead.errors import IGNORE_INDEX, InputError
from lmhead.evaluation.token_scores import token_scores
from lmhead.given.given_model import GivenModel
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.labels.targets import Targets
from lmhead.record.token_row import TokenRow, TokenScores

_TOKENS_AT_ONCE: Final = 8192
_MISSING: Final = {"nll": np.nan, "rank": -1, "entropy": np.nan, "top_ids": -1, "top_logprobs": np.nan}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """Tokens [start, stop) of a row that are read together; scores are kept from `keep` on."""

    row: int
    start: int
    stop: int
    keep: int

    def __len__(self) -> int:
        return self.stop - self.start


def scored_rows(rows: Sequence[TokenRow], given: GivenModel, *, crossing: bool, top: int) -> list[TokenScores]:
    """Scores of each row, aligned with its positions.

    Args:
        crossing: the documents of a row are read as one text.
        top: so many alternatives; 0: none.

    Raises:
        InputError: an id is not in the model's vocabulary.
    """
    windows: list[_Window] = []
    for number, row in enumerate(rows):
        _require_known(number, row, given)
        for start, stop in documents_of(row, crossing=crossing):
            windows += _windows(number, start, stop, given.model.max_seq_len)
    windows.sort(key=len, reverse=True)
    wanted = [_wanted(row, given.model.vocab_size) for row in rows]
    top_k = min(top, given.model.vocab_size) or None
    made: list[dict[str, npt.NDArray[Any]]] = [{} for _ in rows]
    for together in _batches(windows):
        batch = _batch(together, rows, wanted)
        scores = token_scores(given.model, batch, device=given.device, dtype=torch.float32, top_k=top_k)
        for window, found in zip(together, scores, strict=True):
            _keep(made[window.row], found, window, wanted[window.row] != IGNORE_INDEX)
    return [_scores(columns, len(row.ids)) for columns, row in zip(made, rows, strict=True)]


def _require_known(number: int, row: TokenRow, given: GivenModel) -> None:
    real = row.ids if row.document is None else row.ids[row.document >= 0]
    outside = real[(real < 0) | (real >= given.model.vocab_size)]
    if len(outside):
        raise InputError(
            f"ids must be in the vocabulary of {given.name}, [0, {given.model.vocab_size:,}), got {outside[0]:,} in "
            f"row {number}: give the model that belongs to these ids, or a template that adds no tokens"
        )


def documents_of(row: TokenRow, *, crossing: bool) -> Iterator[tuple[int, int]]:
    """(start, stop) of what is read as one text; padding is not read."""
    T = len(row.ids)
    if row.document is None:
        yield 0, T
        return
    text = np.where(row.document >= 0, 0, -1) if crossing else row.document
    edges = [0, *(np.flatnonzero(np.diff(text)) + 1).tolist(), T]
    for start, stop in itertools.pairwise(edges):
        if start < stop and text[start] >= 0:
            yield start, stop


def _windows(row: int, start: int, stop: int, context: int) -> Iterator[_Window]:
    """Windows of at most `context` tokens, each half a window further on; every position is kept once."""
    stride = max(1, context // 2)
    begin, keep = start, start
    while True:
        end = min(stop, begin + context)
        yield _Window(row=row, start=begin, stop=end, keep=keep)
        if end == stop:
            return
        begin, keep = begin + stride, end


def _wanted(row: TokenRow, size: int) -> npt.NDArray[np.int64]:  # [T]
    """What is scored from each position: its target, or where there is none the token that follows in the document."""
    wanted = np.full(len(row.ids), IGNORE_INDEX, np.int64)
    for start, stop in documents_of(row, crossing=False):
        wanted[start : stop - 1] = row.ids[start + 1 : stop]
    wanted = np.where(row.targets != IGNORE_INDEX, row.targets, wanted)
    return np.where((wanted >= 0) & (wanted < size), wanted, IGNORE_INDEX)  # a label that is no id has no loss


def _batches(windows: Sequence[_Window]) -> Iterator[list[_Window]]:
    """Windows of about one length together."""
    together: list[_Window] = []
    for window in windows:
        if together and len(together[0]) * (len(together) + 1) > _TOKENS_AT_ONCE:
            yield together
            together = []
        together.append(window)
    if together:
        yield together


def _batch(
    windows: Sequence[_Window], rows: Sequence[TokenRow], wanted: Sequence[npt.NDArray[np.int64]]
) -> PackedBatch:
    """A row of one document for each window; behind it padding, which nothing looks at."""
    shape = len(windows), len(windows[0])
    ids, predicted, document = np.zeros(shape, np.int64), np.full(shape, IGNORE_INDEX), np.full(shape, -1)
    for place, window in enumerate(windows):
        part = slice(window.start, window.stop)
        ids[place, : len(window)] = rows[window.row].ids[part]
        predicted[place, : len(window)] = wanted[window.row][part]
        document[place, : len(window)] = 0
    # the last target of a row may stand behind it: documents are told, and close nothing
    targets = replace(Targets.from_targets(torch.from_numpy(predicted)), document=torch.from_numpy(document))
    return PackedBatch(ids=torch.from_numpy(ids), targets=targets, sources=((0,),) * len(windows), isolated=False)


def _keep(
    made: dict[str, npt.NDArray[Any]],
    found: TokenScores,
    window: _Window,
    wanted: npt.NDArray[np.bool_],  # [T]
) -> None:
    """Copy the scores of a window to their places in its row, where they are wanted."""
    kept = np.flatnonzero(wanted[window.keep : window.stop]) + window.keep
    for field in fields(found):
        column = getattr(found, field.name)
        if column is None:
            continue
        if field.name not in made:
            made[field.name] = np.full((len(wanted), *column.shape[1:]), _MISSING[field.name], column.dtype)
        made[field.name][kept] = column[kept - window.start]


def _scores(columns: dict[str, npt.NDArray[Any]], length: int) -> TokenScores:
    return TokenScores(**columns) if columns else TokenScores(nll=np.full(length, np.nan))
