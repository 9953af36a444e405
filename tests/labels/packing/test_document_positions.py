"""A batch tells of each position its place in its document, whatever stands in other rows, and its source."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmhead.labels.example import Example
from lmhead.labels.packing.packed_rows import pack
from lmhead.labels.packing.wrapped_rows import DocumentStream, WrappedRows, sliding_windows

LENGTHS = st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(lambda lengths: sum(lengths) > 5)


def stream(lengths: list[int]) -> DocumentStream:
    """Ids that tell document and place."""
    return DocumentStream.of([[100 * number + place for place in range(n)] for number, n in enumerate(lengths)])


@settings(max_examples=100, deadline=None)
@given(LENGTHS, st.integers(1, 5), st.data())
def test_windows_know_each_tokens_place_in_its_document(lengths: list[int], length: int, data: st.DataObject) -> None:
    batch = sliding_windows(stream(lengths), length=length, stride=data.draw(st.integers(1, length)))
    inside = batch.document >= 0
    assert torch.equal(batch.document_positions[inside], batch.ids[inside] % 100)
    assert torch.equal(batch.source[inside], batch.ids[inside] // 100)
    assert bool((batch.source[~inside] == -1).all())
    rows = WrappedRows(stream(lengths), length=length, seed=0).take(0, 7)
    assert torch.equal(rows.document_positions, rows.ids % 100)
    assert torch.equal(rows.source, rows.ids // 100)


def test_packed_documents_have_their_examples_as_sources() -> None:
    examples = [Example.of([10 * number + place for place in range(4)], trained=[True] * 4) for number in range(3)]
    batch = pack(examples, length=9, overflow="drop").take(0, 2)
    inside = batch.document >= 0
    assert torch.equal(batch.source[inside], batch.ids[inside] // 10)
    assert torch.equal(batch.document_positions[inside], batch.ids[inside] % 10)
    assert set(batch.source[~inside].tolist()) == {-1}


def test_a_row_alone_is_the_same_without_its_padding() -> None:
    batch = sliding_windows(stream([3, 6]), length=4, stride=3)
    for number in range(len(batch.ids)):
        row = batch.row(number)
        length = int((batch.document[number] >= 0).sum())
        assert row.ids.tolist() == [batch.ids[number, :length].tolist()]
        assert row.targets.ids.tolist() == [batch.targets.ids[number, :length].tolist()]
        assert row.document_positions.tolist() == [batch.document_positions[number, :length].tolist()]
        assert np.array_equal(row.source, batch.source[number : number + 1, :length])
        assert row.targets.count == int(batch.targets.scored[number].sum())
