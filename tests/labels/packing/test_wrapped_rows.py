"""Wrapped rows cover the stream and depend on (seed, row) alone; sliding windows score every token once."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmhead.errors import ArgumentError, InputError
from lmhead.labels.packing import wrapped_rows as packing
from lmhead.labels.packing.wrapped_rows import DocumentStream, WrappedRows, sliding_windows
from lmhead.labels.targets import Reason


def stream(*lengths: int) -> DocumentStream:
    ids = iter(range(10_000))
    return DocumentStream.of([[next(ids) for _ in range(length)] for length in lengths])


def test_a_stream_knows_each_tokens_document() -> None:
    assert stream(2, 0, 3).document(np.arange(5)).tolist() == [0, 0, 2, 2, 2]
    assert len(stream()) == 0


def test_the_fingerprint_tells_where_documents_end() -> None:
    assert stream(2, 3).fingerprint() == stream(2, 3).fingerprint()
    assert stream(2, 3).fingerprint() != stream(3, 2).fingerprint()


@pytest.mark.parametrize("at_once", [1, 2, 3, 7, 100])
def test_the_fingerprint_is_that_of_ids_and_documents_of_four_bytes_each(monkeypatch, at_once: int) -> None:
    monkeypatch.setattr(packing, "_AT_ONCE", at_once)
    narrow = DocumentStream(ids=np.array([5, 6, 7, 8, 9, 5, 6], np.uint16), ends=np.array([2, 2, 5, 7]))
    document = np.array([0, 0, 2, 2, 2, 3, 3], np.int32)
    assert (
        narrow.fingerprint() == hashlib.sha256(narrow.ids.astype(np.int32).tobytes() + document.tobytes()).hexdigest()
    )


def test_an_epoch_has_every_row_once_and_rows_do_not_overlap() -> None:
    rows = WrappedRows(stream(1000), length=10, seed=0)
    batch = rows.take(0, rows.rows_per_epoch)
    assert len(set(batch.ids.flatten().tolist())) == batch.ids.numel() >= 980
    assert torch.equal(batch.targets.ids, batch.ids + 1)


def test_rows_do_not_depend_on_how_they_are_asked_for() -> None:
    together = WrappedRows(stream(100), length=7, seed=3).take(0, 50).ids
    rows = WrappedRows(stream(100), length=7, seed=3)
    backwards = [rows.take(i, 1).ids[0] for i in reversed(range(50))]
    assert torch.equal(together, torch.stack(backwards[::-1]))
    assert not torch.equal(together, WrappedRows(stream(100), length=7, seed=4).take(0, 50).ids)


def test_a_wrapped_row_reads_on_across_documents_and_predicts_none_from_another() -> None:
    batch = WrappedRows(stream(3, 0, 2, 4), length=8, seed=0).take(0, 1)
    assert batch.document.tolist() == [[0, 0, 0, 2, 2, 3, 3, 3]]
    assert batch.sources == ((0, 2, 3),)
    assert batch.targets.ids.tolist() == [[1, 2, -100, 4, -100, 6, 7, 8]]
    assert batch.targets.tally() == {Reason.SCORED: 6, Reason.DOCUMENT_BOUNDARY: 2}
    assert batch.attention_document is None
    assert batch.positions.tolist() == [list(range(8))]
    assert bool(batch.attention_mask()[0, 0, 7].all())  # the last position sees the first
    assert batch.cu_seqlens.tolist() == [0, 8]


@pytest.mark.parametrize("length", [9, 8, 5])
def test_streams_of_about_one_row_work(length: int) -> None:
    batch = WrappedRows(stream(10), length=length, seed=0).take(0, 4)
    assert batch.ids.shape == batch.targets.shape == batch.document.shape == (4, length)


def test_too_short_a_text_is_refused_with_its_length() -> None:
    with pytest.raises(InputError, match=r"10 tokens, fewer than one row needs \(10 \+ 1\)"):
        WrappedRows(stream(10), length=10, seed=0)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 60), st.integers(1, 12), st.data())
def test_sliding_windows_score_every_token_but_the_first_once(tokens: int, length: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, length))
    batch = sliding_windows(stream(tokens), length=length, stride=stride)
    assert sorted(batch.targets.ids[batch.targets.scored].tolist()) == list(range(1, tokens))
    assert bool((batch.document[batch.targets.scored] == 0).all())


def test_a_window_says_what_the_one_before_has_scored_and_what_lies_past_the_end() -> None:
    batch = sliding_windows(stream(2, 5), length=4, stride=2)
    assert [[Reason(value).name for value in row] for row in batch.targets.reason.tolist()] == [
        ["SCORED", "DOCUMENT_BOUNDARY", "SCORED", "SCORED"],
        ["OVERLAP", "OVERLAP", "SCORED", "SCORED"],
    ]
    last = sliding_windows(stream(6), length=4, stride=3).targets
    assert [Reason(value).name for value in last.reason[1].tolist()] == ["OVERLAP", "SCORED", "PADDING", "PADDING"]


def test_a_stride_longer_than_the_window_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"stride must be in \[1, 4\]"):
        sliding_windows(stream(10), length=4, stride=5)
