"""Intervals of a headline from sums of documents, in all and by source."""

import math

import numpy as np
import pytest

from lmhead.errors import ArgumentError
from lmhead.evaluation.intervals.document_intervals import document_intervals, intervals_by_source
from lmhead.evaluation.sums.document_sums import DocumentSums


def documents(n, *, seed=0, source="a", **more):
    rng = np.random.default_rng(seed)
    found = []
    for place in range(n):
        tokens = int(rng.integers(1, 200))
        fields = {
            "name": f"{source}, line {place + 1}",
            "source": source,
            "digest": f"{source}{place}",
            "tokens": tokens,
            "nll": float(tokens * rng.uniform(2, 4)),
            "bytes": 4 * tokens,
            "hits": int(rng.integers(0, tokens + 1)),
        }
        found.append(DocumentSums(**{**fields, **more}))
    return found


def test_each_figure_is_the_ratio_of_its_sums():
    of = documents(40)
    found = document_intervals(of, resamples=99)
    nll, tokens = sum(each.nll for each in of), sum(each.tokens for each in of)
    assert found.nll.value == pytest.approx(nll / tokens)
    assert found.bits_per_byte.value == pytest.approx(nll / math.log(2) / sum(each.bytes for each in of))
    assert found.accuracy.value == pytest.approx(sum(each.hits for each in of) / tokens)
    for interval in (found.nll, found.bits_per_byte, found.accuracy):
        assert interval.low < interval.value < interval.high


def test_bits_per_byte_are_not_claimed_where_the_bytes_of_one_document_are_not_known():
    of = [*documents(30), *documents(1, bytes=None, digest=None)]
    found = document_intervals(of, resamples=99)
    assert found.bits_per_byte is None
    assert found.nll is not None


def test_documents_without_a_scored_token_count_for_nothing():
    of = documents(30)
    empty = DocumentSums(name="empty", source="a", digest="e", tokens=0, nll=0.0, bytes=0, hits=0)
    assert document_intervals([*of, empty], resamples=99) == document_intervals(of, resamples=99)
    assert document_intervals([empty]).nll is None


def test_sources_have_their_own_and_one_document_has_none():
    of = [*documents(25), *documents(1, source="b")]
    found = intervals_by_source(of, resamples=99)
    assert list(found) == ["a", "b"]
    assert found["a"] == document_intervals(of[:25], resamples=99)
    assert found["b"].nll.low is None
    assert "one document" in found["b"].nll.note


def test_an_nll_that_is_not_finite_is_refused_with_its_document():
    of = [*documents(3), *documents(1, source="b", nll=math.nan)]
    with pytest.raises(ArgumentError, match="nll of b, line 1 must be finite, got nan"):
        document_intervals(of)
