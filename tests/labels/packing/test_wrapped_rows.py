"""Wrapped rows cover the stream and depend on (seed, row) alone; sliding windows score every token once."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmhead.errors import ArgumentError, InputError
from lmhead.labels.packing import wrapped_rows as packing
from lmhead.labels.packing.wrapped_rows import DocumentStream, WrappedRows, sliding_windows


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
    ids, _ = rows.take(0, rows.rows_per_epoch)
    inputs = ids[:, :-1].ravel()
    assert len(set(inputs.tolist())) == inputs.size >= 980
    assert (np.diff(ids, axis=1) == 1).all()


def test_rows_do_not_depend_on_how_they_are_asked_for() -> None:
    together, _ = WrappedRows(stream(100), length=7, seed=3).take(0, 50)
    rows = WrappedRows(stream(100), length=7, seed=3)
    backwards = [rows.take(i, 1)[0][0] for i in reversed(range(50))]
    assert (together == np.stack(backwards[::-1])).all()
    assert (together != WrappedRows(stream(100), length=7, seed=4).take(0, 50)[0]).any()


@pytest.mark.parametrize("length", [9, 8, 5])
def test_streams_of_about_one_row_work(length: int) -> None:
    ids, document = WrappedRows(stream(10), length=length, seed=0).take(0, 4)
    assert ids.shape == document.shape == (4, length + 1)


def test_too_short_a_text_is_refused_with_its_length() -> None:
    with pytest.raises(InputError, match=r"10 tokens, fewer than one row needs \(10 \+ 1\)"):
        WrappedRows(stream(10), length=10, seed=0)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 60), st.integers(1, 12), st.data())
def test_sliding_windows_score_every_token_but_the_first_once(tokens: int, length: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, length))
    ids, document, scored = sliding_windows(stream(tokens), length=length, stride=stride)
    assert sorted(ids[scored].tolist()) == list(range(1, tokens))
    assert not scored[:, 0].any()
    assert (document[scored] == 0).all()


def test_a_stride_longer_than_the_window_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"stride must be in \[1, 4\]"):
        sliding_windows(stream(10), length=4, stride=5)
