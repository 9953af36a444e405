"""The hardest documents as `lmhead inspect` shows them: the evaluation's own losses, the model's alternatives."""

import numpy as np
import pytest
import torch

import lmhead
from lmhead.data.rows.row import Place
from lmhead.errors import ArgumentError
from lmhead.evaluation.card.found_conditions import model_conditions, weights_sha256
from lmhead.evaluation.card.worst_rows import write_worst
from lmhead.evaluation.documents.document import EvaluationDocument
from lmhead.evaluation.scores.document_scores import document_scores
from lmhead.evaluation.scores.windows import Windows
from lmhead.evaluation.sums.document_sums import DocumentSums
from lmhead.evaluation.sums.worst_documents import WorstDocuments
from lmhead.given.given_model import given_model
from lmhead.labels.example import Example
from lmhead.record.record import read_record

V, CONTEXT = 40, 16


def model(seed=0):
    torch.manual_seed(seed)
    return lmhead.GPT(V, 16, 2, 2, CONTEXT).eval()


def document(rng, number, length):
    example = Example.of(rng.integers(0, V, length).tolist(), trained=[False, False, *[True] * (length - 2)])
    place = Place(source="a.txt", number=number)
    return EvaluationDocument(place=place, source="a.txt", example=example, utf8=b"x" * number)


def worst_of(given, windows):
    rng, worst, scores = np.random.default_rng(0), WorstDocuments(), []
    for each in document_scores(
        given.model,
        [document(rng, number, 20 + number) for number in range(1, 31)],
        windows,
        device=given.device,
        dtype=torch.float32,
    ):
        worst.add(each, DocumentSums.of(each))
        scores.append(each)
    return worst.documents(), {each.document.name: each for each in scores}


@pytest.mark.parametrize("windows", [Windows(window=CONTEXT, stride=8), Windows(window=5, stride=5)])
def test_the_rows_have_the_evaluations_losses_and_the_entries_lead_to_them(tmp_path, windows):
    with given_model(model()) as given:
        worst, scores = worst_of(given, windows)
        entries = write_worst(tmp_path, worst, given, None, title="hard ones")
    record = read_record(tmp_path / "tokens.jsonl")
    assert record.damage is None
    assert [entry.row for entry in entries] == list(range(len(worst)))
    assert [row.names[0] for row in record.rows] == [entry.document for entry in entries]
    for entry, row in zip(entries, record.rows, strict=True):
        own = scores[entry.document]
        scored = row.targets != -100
        np.testing.assert_allclose(row.scores.nll[scored], own.nll[2:], rtol=1e-6)
        np.testing.assert_array_equal(row.scores.rank[scored], own.rank[2:])
        assert entry.nll == pytest.approx(own.nll[2:].mean())
        assert entry.tokens == scored.sum()
        assert row.scores.top_ids.shape == (len(own.document), 5)
        assert not np.isnan(row.scores.nll[0])  # of what is not scored, too
    assert (tmp_path / "inspect.html").read_text().startswith("<!doctype html>")


def test_nobodys_file_is_written_over(tmp_path):
    (tmp_path / "tokens.jsonl").write_text("mine")
    with given_model(model()) as given:
        worst, _ = worst_of(given, Windows(window=CONTEXT, stride=8))
        with pytest.raises(ArgumentError, match="record"):
            write_worst(tmp_path, worst, given, None, title="hard ones")


def test_of_no_document_nothing_is_written(tmp_path):
    with given_model(model()) as given:
        assert write_worst(tmp_path, [], given, None, title="hard ones") == ()
    assert list(tmp_path.iterdir()) == []


def test_weights_have_one_sum_and_every_bit_counts():
    one, same, other = model(), model(), model(1)
    assert weights_sha256(one) == weights_sha256(same) != weights_sha256(other)
    with torch.no_grad():
        next(iter(same.parameters())).view(-1)[0].add_(1e-7)
    assert weights_sha256(one) != weights_sha256(same)
    assert weights_sha256(one.bfloat16()) != weights_sha256(model())


def test_what_the_model_is_stands_there():
    with given_model(model()) as given:
        found = model_conditions(given, torch.bfloat16)
    assert (found.kind, found.dtype, found.weights_dtype, found.context) == ("GPT", "bfloat16", "float32", CONTEXT)
    assert found.parameters == sum(parameter.numel() for parameter in given.model.parameters())
