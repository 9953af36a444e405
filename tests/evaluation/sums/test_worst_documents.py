"""The hardest documents of a stream are the first of all that are sorted, whatever their order."""

import json

import numpy as np
import pytest
from tests.evaluation.sums.scored_documents import drawn

from lmhead.evaluation.sums.document_sums import DocumentSums
from lmhead.evaluation.sums.worst_documents import KEPT_TOKENS, LEAST, MOST, WorstDocuments


def worst_of(documents):
    worst = WorstDocuments()
    for each in documents:
        worst.add(each, DocumentSums.of(each))
    return worst


def names(worst):
    return [each.sums.name for each in worst.documents()]


@pytest.mark.parametrize("seed", range(4))
def test_they_are_the_first_of_all_that_are_sorted(seed):
    rng = np.random.default_rng(seed)
    documents = [drawn(rng, number) for number in range(1, 200)]
    sums = [each for each in map(DocumentSums.of, documents) if each.tokens >= LEAST]
    by_token = sorted(sums, key=lambda each: -each.nll / each.tokens)[:MOST]
    by_byte = sorted((each for each in sums if each.bytes), key=lambda each: -each.nll / each.bytes)[:MOST]
    in_turn = [each.name for pair in zip(by_token, by_byte, strict=True) for each in pair]
    wanted = list(dict.fromkeys(in_turn))
    assert names(worst_of(documents)) == wanted
    assert names(worst_of([documents[place] for place in rng.permutation(len(documents))])) == wanted
    merged = worst_of(documents[::2])
    merged.merge(worst_of(documents[1::2]))
    assert names(merged) == wanted


def test_short_documents_are_not_the_worst_for_one_token():
    rng = np.random.default_rng(0)
    assert worst_of([drawn(rng, number, length=LEAST) for number in range(20)]).documents() == []


def test_of_long_documents_the_beginning_is_kept_and_the_figure_is_of_all():
    document = drawn(np.random.default_rng(0), 1, length=KEPT_TOKENS + 500, chat=True)
    (kept,) = worst_of([document]).documents()
    assert len(kept.scores.document) == KEPT_TOKENS
    assert kept.cut
    assert kept.nll == pytest.approx(np.nanmean(document.nll))
    assert all(span.stop <= KEPT_TOKENS for span in kept.scores.document.example.spans)


def test_what_stops_and_goes_on_keeps_the_same():
    rng = np.random.default_rng(3)
    documents = [drawn(rng, number, weight=number % 2 == 0) for number in range(1, 60)]
    resumed = WorstDocuments()
    for each in documents:
        resumed.add(each, DocumentSums.of(each))
        resumed = WorstDocuments.from_state(json.loads(json.dumps(resumed.state(), allow_nan=False)))
    whole = worst_of(documents)
    assert resumed.state() == whole.state()
    for one, other in zip(resumed.documents(), whole.documents(), strict=True):
        for column in ("nll", "entropy", "confidence", "rank", "hit"):
            np.testing.assert_array_equal(getattr(one.scores, column), getattr(other.scores, column))
        for column in ("ids", "trained", "reason", "weight"):
            np.testing.assert_array_equal(
                getattr(one.scores.document.example, column), getattr(other.scores.document.example, column)
            )
        assert one.scores.document.example.spans == other.scores.document.example.spans
