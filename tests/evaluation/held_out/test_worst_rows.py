"""The rows that a person should look at: a damaged document is the first, the worst tokens are among them."""

import numpy as np
import pytest
import torch
from tests.evaluation.held_out.held_out_data import V, chat, model, text

from lmhead.batches.contract import HeldOut
from lmhead.errors import IGNORE_INDEX
from lmhead.evaluation.held_out.held_out_rows import scored_rows
from lmhead.evaluation.held_out.worst_rows import WorstRows
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.labels.packing.wrapped_rows import DocumentStream, sliding_windows
from lmhead.labels.targets import Reason
from lmhead.ops.problem import TokenStatistics
from lmhead.record.record import Record

CPU = torch.device("cpu")


def statistics_of(batch: PackedBatch, nll: torch.Tensor) -> TokenStatistics:
    zero = torch.zeros_like(nll)
    return TokenStatistics(
        nll=nll, lse=zero, entropy=zero, hit=zero.bool(), max_logprob=zero, scored=batch.targets.scored
    )


def all_rows(held_out: HeldOut) -> list[PackedBatch]:
    return [batch.row(number) for batch in held_out.batches() for number in range(len(batch.ids))]


def windows(rows: int, documents: int = 1) -> PackedBatch:
    """Rows of 40 tokens in equal documents."""
    each = rows * 40 // documents
    stream = DocumentStream.of([[number] * (each + (number == documents - 1)) for number in range(documents)])
    return sliding_windows(stream, length=40, stride=40)


def test_the_worst_document_and_the_worst_token_come_in_turn() -> None:
    batch = windows(100)
    nll = torch.full(batch.ids.shape, 1.0)
    nll[70] = 6.0  # all of it is damaged
    nll[71] = 5.0
    nll[30, 7], nll[31, 8] = 20.0, 19.0
    worst = WorstRows()
    worst.add(batch, statistics_of(batch, nll))
    rows = [row.ids for row in worst.rows()]
    assert len(rows) == 3
    expected = [70, 30, 71]
    assert all(torch.equal(row, batch.ids[number : number + 1]) for row, number in zip(rows, expected, strict=False))


def test_a_damaged_document_in_a_row_of_others_is_found() -> None:
    batch = windows(100, documents=200)  # two a row
    nll = torch.where(batch.document == 131, 4.0, 1.0)
    nll[3] = 3.0  # as a whole worse than the row of that document
    worst = WorstRows()
    worst.add(batch, statistics_of(batch, nll))
    assert worst.rows()[0].sources == batch.sources[65:66]


def test_where_nothing_is_wrong_there_is_a_row_all_the_same() -> None:
    batch = windows(3)
    worst = WorstRows()
    worst.add(batch, statistics_of(batch, torch.zeros(batch.ids.shape)))
    assert len(worst.rows()) == 1


def test_a_short_document_is_not_the_worst_for_one_token() -> None:
    stream = DocumentStream.of([[1] * 3, [2] * 30, [3] * 31])
    batch = sliding_windows(stream, length=64, stride=64)
    one, two = WorstRows(), WorstRows()
    one.add(batch, statistics_of(batch, torch.where(batch.document == 0, 9.0, 0.0)))
    two.add(batch, statistics_of(batch, torch.where(batch.document == 1, 2.0, 0.0)))
    assert one._by_document[0].value == pytest.approx(2 * 9.0 / 16)
    assert two._by_document[0].value == pytest.approx(2.0)


def test_batches_make_no_difference() -> None:
    batch = windows(60)
    nll = torch.rand(batch.ids.shape, generator=torch.Generator().manual_seed(0))
    together, apart = WorstRows(), WorstRows()
    together.add(batch, statistics_of(batch, nll))
    for number in range(60):
        apart.add(batch.row(number), statistics_of(batch.row(number), nll[number : number + 1]))
    assert [row.before for row in together.rows()] == [row.before for row in apart.rows()]
    assert len(together.rows()) == 1
    assert [each.value for each in together._by_token] == [each.value for each in apart._by_token]


def test_one_of_32_rows_is_kept_but_one_at_least_and_no_more_than_sixteen() -> None:
    for rows, kept in ((1, 1), (63, 1), (64, 2), (2000, 16)):
        batch = windows(rows)
        worst = WorstRows()
        worst.add(batch, statistics_of(batch, torch.rand(batch.ids.shape)))
        assert len(worst.rows()) == kept


def test_loss_that_is_no_number_is_the_worst() -> None:
    batch = windows(30)
    nll = torch.ones(batch.ids.shape)
    nll[17, 3] = torch.nan
    worst = WorstRows()
    worst.add(batch, statistics_of(batch, nll))
    assert worst.rows()[0].before == batch.before[17:18]  # type: ignore[index]


@pytest.mark.parametrize("data", [text, chat])
def test_the_scores_of_a_row_are_those_of_float64(data: object) -> None:
    held_out: HeldOut = data()  # type: ignore[operator]
    wide = model().double()
    judge = model()
    batches = all_rows(held_out)[::-1]  # of conversations the shortest first
    rows = scored_rows(judge, batches, held_out, device=CPU, dtype=torch.float32, top_k=5)
    for batch, row in zip(batches, rows, strict=True):
        row = Record.of_lines([row.line()]).rows[0]  # as it is read back
        with torch.no_grad():
            logprobs = wide(batch.ids, document=batch.attention_document)[0][0].log_softmax(-1)
        following = np.where(row.targets == IGNORE_INDEX, np.append(row.ids[1:], 0), row.targets)
        scores = row.scores
        assert scores is not None
        assert scores.rank is not None
        assert scores.entropy is not None
        assert scores.top_ids is not None
        assert scores.top_logprobs is not None
        known = np.isfinite(scores.nll)
        assert known[row.targets != IGNORE_INDEX].all()
        entropy = -(logprobs.exp() * logprobs).sum(-1)
        top = logprobs.topk(5)
        for place in np.flatnonzero(known).tolist():
            target = float(logprobs[place, following[place]])
            assert scores.nll[place] == pytest.approx(-target, rel=2e-5, abs=2e-6)
            assert scores.rank[place] == int((logprobs[place] > target).sum())
            assert scores.entropy[place] == pytest.approx(float(entropy[place]), rel=1e-5)
            assert scores.top_ids[place].tolist() == top.indices[place].tolist()
            np.testing.assert_allclose(scores.top_logprobs[place], top.values[place].numpy(), rtol=2e-5, atol=2e-6)


def test_a_row_of_a_conversation_has_its_roles_reasons_and_place() -> None:
    held_out = chat()
    for batch in all_rows(held_out):
        (row,) = scored_rows(model(), [batch], held_out, device=CPU, dtype=torch.float32, top_k=500)
        (number,) = batch.sources[0]
        example = held_out.examples[number]
        assert row.ids.tolist() == example.ids.tolist()
        assert [(span.role, span.start, span.stop) for span in row.spans] == [
            (span.role, span.start, span.stop) for span in example.spans
        ]
        assert row.names == (f"{number % 2}.jsonl, line {number + 1}",)
        assert row.sources == (f"{number % 2}.jsonl",)
        assert row.scores is not None
        assert np.isfinite(row.scores.nll[:-1]).all()  # of the prompt, too
        assert np.isnan(row.scores.nll[-1])
        assert row.scores.top_ids is not None
        assert row.scores.top_ids.shape == (len(row.ids), V)  # there are no more
        assert row.reason[-1] == Reason.END_OF_ROW


def test_a_row_of_texts_tells_each_documents_file_and_the_places_in_it() -> None:
    held_out = text()
    for batch in all_rows(held_out):
        (row,) = scored_rows(model(), [batch], held_out, device=CPU, dtype=torch.float32, top_k=2)
        assert row.document is not None
        assert row.position is not None
        for place, (document, position) in enumerate(zip(row.document, row.position, strict=True)):
            source = int(batch.source[0, place])
            assert row.names[document] == row.sources[document] == f"{source % 3}.txt"
            start = int(held_out.stream.begins(np.array([source]))[0])
            assert held_out.stream.ids[start + position] == row.ids[place]
