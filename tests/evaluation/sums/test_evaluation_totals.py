"""Totals are those of a plain loop over tokens, whatever the order and the parts, and after a stop."""

import json
import math
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.evaluation.sums.scored_documents import drawn

from lmhead.errors import ArgumentError, InputError, NonFiniteError
from lmhead.evaluation.held_out.exact_answers import ExactAnswers
from lmhead.evaluation.position_bands import POSITION_EDGES
from lmhead.evaluation.scores.window_batches import window_batches
from lmhead.evaluation.scores.windows import Windows
from lmhead.evaluation.sums import evaluation_totals
from lmhead.evaluation.sums.evaluation_totals import EvaluationTotals
from lmhead.labels.targets import Reason
from lmhead.ops.problem import TokenStatistics

WINDOWS = Windows(window=16, stride=5)


def totals_of(documents, windows=WINDOWS):
    made = EvaluationTotals(windows)
    for each in documents:
        made.add(each)
    return made


def documents_of(seed, count=80, **options):
    rng = np.random.default_rng(seed)
    return [drawn(rng, number, **options) for number in range(1, count + 1)]


def tokens_of(documents):
    """(document, t) of every scored token."""
    for each in documents:
        for t in np.flatnonzero(each.document.scored).tolist():
            yield each, t


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("weight", [False, True])
def test_totals_are_those_of_a_loop_over_tokens(seed, weight):
    documents = documents_of(seed, weight=weight)
    totals, every = totals_of(documents), list(tokens_of(documents))
    assert totals.tokens == len(every)
    assert totals.nll == pytest.approx(math.fsum(each.nll[t] for each, t in every), rel=1e-13)
    assert totals.hits == sum(bool(each.hit[t]) for each, t in every)
    assert totals.bytes == sum(len(each.document.utf8) for each in documents)
    assert totals.documents == len(documents)
    assert totals.empty == sum(not each.document.scored.any() for each in documents)
    assert totals.longest == max(len(each.document) for each in documents)


@pytest.mark.parametrize("seed", range(3))
def test_scored_and_skipped_tokens_are_all_tokens(seed):
    documents = documents_of(seed, weight=True)
    totals = totals_of(documents)
    assert totals.tokens + sum(totals.skipped.values()) == totals.all_tokens == sum(len(d.document) for d in documents)
    wanted = Counter()
    for each in documents:
        example = each.document.example
        for t in range(len(example)):
            if not example.trained[t]:
                wanted[Reason(int(example.reason[t])).name.lower()] += 1
            elif example.weight[t] == 0:
                wanted["zero_weight"] += 1
            elif t == 0:
                wanted["document_boundary"] += 1
    assert totals.skipped == wanted


@pytest.mark.parametrize("together", [1, 64, 1 << 20])
def test_order_parts_and_what_is_summed_at_once_do_not_show(monkeypatch, together):
    documents = documents_of(4, count=200)
    whole = totals_of(documents)
    monkeypatch.setattr(evaluation_totals, "_TOGETHER", together)
    rng = np.random.default_rng(0)
    merged = totals_of([])
    for part in np.array_split(rng.permutation(len(documents)), 7):
        merged.merge(totals_of([documents[number] for number in part]))
    same(merged, whole)


def same(one, other):
    """Counts equal; sums to 1e-12."""
    assert (one.tokens, one.all_tokens, one.hits, one.bytes) == (
        other.tokens,
        other.all_tokens,
        other.hits,
        other.bytes,
    )
    assert (one.documents, one.empty, one.windowed) == (other.documents, other.empty, other.windowed)
    assert (one.positions_read, one.longest, one.skipped) == (other.positions_read, other.longest, other.skipped)
    assert one.nll == pytest.approx(other.nll, rel=1e-12)
    sources = [{name: (nll, counts) for name, nll, counts in totals.sources} for totals in (one, other)]
    assert sources[0].keys() == sources[1].keys()
    for name, (nll, counts) in sources[0].items():
        assert counts == sources[1][name][1]
        assert nll == pytest.approx(sources[1][name][0], rel=1e-12)
    for kind in ("positions", "calibration"):
        sums = [getattr(totals, kind) for totals in (one, other)]
        assert (sums[0].tokens == sums[1].tokens).all()
        assert (sums[0].hits == sums[1].hits).all()
    np.testing.assert_allclose(one.positions.nll.values, other.positions.nll.values, rtol=1e-12)
    np.testing.assert_allclose(one.answers.turns.nll.values, other.answers.turns.nll.values, rtol=1e-12)
    np.testing.assert_allclose(one.answers.first_nll.values, other.answers.first_nll.values, rtol=1e-12)
    assert (one.answers.answers, one.answers.exact) == (other.answers.answers, other.answers.exact)
    assert one.calibration.error() == pytest.approx(other.calibration.error(), rel=1e-12)
    for kind in ("ranks", "entropies", "nlls"):
        assert getattr(one, kind).state() == getattr(other, kind).state()


def test_what_stops_and_goes_on_is_bit_for_bit_what_never_stopped():
    documents = documents_of(5)
    resumed = totals_of([])
    for begin in range(0, len(documents), 9):
        for each in documents[begin : begin + 9]:
            resumed.add(each)
        resumed = EvaluationTotals.from_state(json.loads(json.dumps(resumed.state(), allow_nan=False)))
    stopping = totals_of([])
    for begin in range(0, len(documents), 9):
        for each in documents[begin : begin + 9]:
            stopping.add(each)
        stopping.state()
    assert resumed.state() == stopping.state()
    same(resumed, totals_of(documents))


def test_states_of_another_version_or_without_a_part_are_refused():
    state = totals_of(documents_of(0, count=2)).state()
    with pytest.raises(InputError, match="version 1, got 2"):
        EvaluationTotals.from_state(state | {"evaluation_totals": 2})
    with pytest.raises(InputError, match="got none of 'ranks'"):
        EvaluationTotals.from_state({name: value for name, value in state.items() if name != "ranks"})


def test_totals_of_other_windows_are_not_merged():
    with pytest.raises(ArgumentError, match="same windows"):
        totals_of([]).merge(totals_of([], Windows(window=16, stride=16)))


@pytest.mark.parametrize("seed", range(3))
def test_sources_together_are_the_total(seed):
    totals = totals_of(documents_of(seed, count=150))
    sources = list(totals.sources)
    assert len(sources) == 5
    assert math.fsum(nll for _, nll, _ in sources) == pytest.approx(totals.nll, rel=1e-12)
    for name in ("tokens", "hits", "bytes", "documents"):
        assert sum(counts[name] for *_, counts in sources) == getattr(totals, name)


def test_bytes_are_not_claimed_where_one_document_does_not_say():
    first, second = documents_of(1, count=2)
    lost = replace(second, document=replace(second.document, utf8=None))
    totals = totals_of([first, lost])
    assert totals.bytes is None
    assert totals.unmeasured == 1


@pytest.mark.parametrize("seed", range(3))
def test_positions_turns_and_first_tokens_are_those_of_a_loop(seed):
    documents = documents_of(seed)
    totals = totals_of(documents)
    bands, turns = defaultdict(list), defaultdict(list)
    for each, t in tokens_of(documents):
        before = t - 1  # the predicting one
        bands[sum(before >= edge for edge in POSITION_EDGES)].append(each.nll[t])
        spans = [span for span in each.document.example.spans if span.role == "assistant"]
        for number, span in enumerate(spans):
            if span.start <= t < span.stop:
                turns[number].append(each.nll[t])
    for sums, wanted in ((totals.positions, bands), (totals.answers.turns, turns)):
        assert {place: count for place, count in enumerate(sums.tokens.tolist()) if count} == {
            place: len(values) for place, values in wanted.items()
        }
        for place, values in wanted.items():
            assert sums.nll.values[place] == pytest.approx(math.fsum(values), rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_exact_answers_are_those_of_a_run_along_the_way(seed):
    documents = documents_of(seed, chat=True, length=40)
    answers = ExactAnswers()
    first = 0.0
    for each in documents:
        if not each.document.example.spans[1:]:
            continue
        scored, hit = (torch.from_numpy(column)[None] for column in (each.document.scored, each.hit))
        zero = torch.zeros(scored.shape)
        answers.update(TokenStatistics(nll=zero, lse=zero, entropy=zero, hit=hit, max_logprob=zero, scored=scored))
        begins = each.document.scored & ~np.append(False, each.document.scored[:-1])
        first += math.fsum(each.nll[begins])
    totals = totals_of(documents)
    assert (totals.answers.answers, totals.answers.exact) == (answers.count, answers.exact)
    assert totals.answers.first_nll.values[0] == pytest.approx(first, rel=1e-12)


def test_texts_have_no_answers():
    assert totals_of(documents_of(0, chat=False)).answers.answers == 0


@pytest.mark.parametrize("seed", range(2))
def test_calibration_is_that_of_a_loop_over_bins(seed):
    documents = documents_of(seed)
    calibration = totals_of(documents).calibration
    bins = defaultdict(list)
    for each, t in tokens_of(documents):
        confidence = math.exp(float(each.confidence[t]))
        bins[next(b for b in range(1, 16) if confidence <= b / 15 or b == 15)].append((confidence, bool(each.hit[t])))
    count = sum(map(len, bins.values()))
    error = sum(
        len(pairs) / count * abs(np.mean([sure for sure, _ in pairs]) - np.mean([right for _, right in pairs]))
        for pairs in bins.values()
    )
    assert calibration.error() == pytest.approx(error, rel=1e-9)
    assert {place + 1: n for place, n in enumerate(calibration.tokens.tolist()) if n} == {
        place: len(pairs) for place, pairs in bins.items()
    }


def test_positions_read_are_those_of_the_batches():
    documents = documents_of(7)
    for windows in (WINDOWS, Windows(window=8, stride=8), Windows(window=100, stride=50)):
        batches = window_batches([each.document for each in documents], windows, tokens=64)
        read = sum(len(placed.window) for batch in batches for placed in batch.rows)
        assert totals_of(documents, windows).positions_read == read


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_no_number_is_an_error_that_names_its_place(value):
    document = documents_of(0, count=1, length=20)[0]
    at = int(np.flatnonzero(document.document.scored)[3])
    document.nll[at] = value
    totals = totals_of(documents_of(1, count=2))
    before = totals.state()
    with pytest.raises(NonFiniteError, match=f"nll must be finite, got {value} at token {at} of s.*, row 1"):
        totals.add(document)
    assert totals.state() == before
