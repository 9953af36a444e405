"""What the library made itself `audit` takes as it is, and finds nothing wrong with it; real faults are found still."""

import itertools

import numpy as np
import pytest
import torch

from lmhead.errors import IGNORE_INDEX, ArgumentError, ArgumentTypeError
from lmhead.inspection.batch.audit import audit
from lmhead.inspection.batch.special_ids import SpecialIds
from lmhead.labels.example import Example
from lmhead.labels.packing.packed_rows import pack
from lmhead.labels.packing.wrapped_rows import DocumentStream, WrappedRows
from lmhead.labels.targets import Targets

FIRST = 10  # ids below it begin, end and pad
LENGTH = 10


def document(size: int, *, bos: int | None, eos: int | None, answer: bool) -> Example:
    ids = [FIRST + (7 * size + 3 * t) % 30 for t in range(size)]
    ids = ([] if bos is None else [bos]) + ids + ([] if eos is None else [eos])
    return Example.of(ids, trained=[t >= len(ids) // 2 or not answer for t in range(len(ids))])


def forms(examples, rows):
    """The same rows, as each consumer has them."""
    batch = rows.take(0, rows.rows_per_epoch)
    plain = {"input_ids": batch.ids, "labels": batch.labels, "position_ids": batch.positions}
    return {
        "PackedBatch": batch,
        "for_transformers": batch.for_transformers(),
        "cu_seqlens": {**plain, "cu_seqlens": batch.cu_seqlens},
        "document": {**plain, "document": batch.document},
        "Targets beside inputs": {"input_ids": batch.ids, "targets": batch.targets},
        "Examples": examples,
    }


@pytest.mark.parametrize("pad_id", [0, 1, 2, 9], ids=lambda pad_id: f"pad {pad_id}")
@pytest.mark.parametrize("answer", [False, True], ids=["texts", "answers"])
@pytest.mark.parametrize("overflow", ["truncate", "split"])
def test_what_the_library_made_has_no_fault_whatever_pads_it(overflow, answer, pad_id):
    for bos, eos, told in itertools.product([None, 0, 1], [None, 2], [None, pad_id]):
        tokenizer = SpecialIds(size=50, bos=bos, eos=eos, pad=told)
        examples = [document(size, bos=bos, eos=eos, answer=answer) for size in (3, 5, 2, 7, 14, 4, 4, 1)]
        rows = pack(examples, length=LENGTH, overflow=overflow, untrained="drop", pad_id=pad_id)
        for form, batch in forms(examples, rows).items():
            faults = [finding for finding in audit(batch, tokenizer).findings if finding.severity != "info"]
            if form == "Examples":  # as they came: rows of them may have nothing to learn
                faults = [finding for finding in faults if finding.code != "row_without_labels"]
            assert faults == [], (form, tokenizer)


def test_rows_that_attention_crosses_on_purpose_have_no_fault_and_are_read_to_their_last_target():
    batch = WrappedRows(DocumentStream.of([[11, 12, 13], [14, 15], [16, 17, 18, 19]]), length=8, seed=0).take(0, 1)
    report = audit(batch)
    assert [finding for finding in report.findings if finding.severity != "info"] == []
    assert report.scored == batch.targets.count == 6


def test_padding_that_only_its_segment_tells_is_not_counted():
    examples = [document(size, bos=0, eos=2, answer=False) for size in (3, 5, 7)]
    rows = pack(examples, length=LENGTH, overflow="truncate", pad_id=2)
    every = forms(examples, rows)
    reports = [audit(every[form]) for form in ("PackedBatch", "for_transformers", "cu_seqlens", "document")]
    assert {(report.tokens, report.scored) for report in reports} == {(21, 18)}
    assert {report.scored for report in map(audit, every.values())} == {18}


def test_padding_between_documents_is_none_either():
    batch = {
        "input_ids": [[0, 11, 2, 0, 0, 0, 0, 12, 2, 0, 0]],
        "labels": [[-100, 11, 2, -100, -100, -100, -100, 12, 2, -100, -100]],
        "position_ids": [[0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1]],
    }
    tokenizer = SpecialIds(size=50, bos=0, eos=2)
    batch["input_ids"][0][6] = 13  # a document begins, behind padding
    report = audit(batch, tokenizer)
    assert [finding.code for finding in report.findings if finding.severity != "info"] == []
    assert report.tokens == 6


FAULTS = {
    "double_bos": {"input_ids": [[0, 0, 11, 12, 2, 0, 0]], "labels": [[-100, -100, 11, 12, 2, -100, -100]]},
    "boundary_scored": {
        "input_ids": [[0, 11, 2, 0, 12, 2, 0, 0]],
        "labels": [[-100, 11, 2, 0, 12, 2, -100, -100]],
        "position_ids": [[0, 1, 2, 0, 1, 2, 0, 1]],
    },
    "end_not_trained": {  # padding has the end's id, and was taken out of the labels by it
        "input_ids": [[0, 11, 12, 2, 2, 2]],
        "labels": [[-100, 11, 12, -100, -100, -100]],
    },
    "padding_trained": {"input_ids": [[0, 11, 2, 9, 9]], "labels": [[-100, 11, 2, 9, 9]]},
}


@pytest.mark.parametrize("code", FAULTS)
def test_real_faults_beside_padding_are_found(code):
    pad = 2 if code == "end_not_trained" else 9
    assert code in audit(FAULTS[code], SpecialIds(size=50, bos=0, eos=2, pad=pad))


def test_a_text_that_is_one_token_again_and_again_is_no_padding_where_it_is_learnt():
    batch = {"input_ids": [[11, 12, 7, 7, 7]], "labels": [[11, 12, -100, 7, 7]], "position_ids": [[0, 1, 0, 1, 2]]}
    assert audit(batch).tokens == 5


def test_inputs_beside_targets_are_read_to_their_last_target():
    x, y = torch.tensor([[5, 6, 7], [8, 9, 10]]), torch.tensor([[6, 7, 8], [9, IGNORE_INDEX, 11]])
    for targets in (y, Targets.from_targets(y)):
        report = audit({"input_ids": x, "targets": targets})
        assert (report.rows, report.tokens, report.scored) == (2, 8, 5)
        assert "labels_already_shifted" not in report
    assert "labels_are_not_input_ids" in audit({"input_ids": x, "targets": x})  # targets that were not shifted
    weight = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    assert audit({"input_ids": x, "targets": Targets.from_targets(y, weight=weight)}).scored == 3
    other = Targets.from_targets(y.where(y >= 0, 0), ignore_index=0)
    assert audit({"input_ids": x, "targets": other}).scored == 5
    assert audit({"input_ids": x[0], "targets": y[0]}).scored == 3


def test_an_example_is_a_row_and_its_weightless_tokens_are_not_scored():
    example = Example.of([5, 6, 7, 8], trained=[True] * 4)
    weighted = Example(
        ids=example.ids, trained=example.trained, reason=example.reason, weight=np.array([1, 0, 1, 1], np.float32)
    )
    assert (audit(example).rows, audit(example).tokens, audit(example).scored) == (1, 4, 3)
    assert audit([example, weighted]).scored == 5


def test_what_cannot_be_audited_says_what_can():
    example = Example.of([5, 6, 7, 8], trained=[True] * 4)
    targets = Targets.from_labels(torch.tensor([5, 6, 7]))
    with pytest.raises(ArgumentTypeError, match=r"got Targets: give .* beside Targets give the inputs"):
        audit(targets)
    with pytest.raises(ArgumentTypeError, match="got PackedRows: give a dict of input_ids and labels"):
        audit(pack([example], length=4, overflow="drop"))
    with pytest.raises(ArgumentTypeError, match="input_ids must be a Tensor beside targets, got list"):
        audit({"input_ids": [5, 6, 7], "targets": targets})
    with pytest.raises(ArgumentError, match="input_ids must have the targets' shape"):
        audit({"input_ids": torch.tensor([5, 6]), "targets": targets})
    with pytest.raises(ArgumentError, match=r"targets must be those of the next token, at\(1\)"):
        audit({"input_ids": torch.tensor([5, 6, 7]), "targets": targets.at(2)})
    with pytest.raises(ArgumentError, match=r"input_ids and targets alone.*attention_mask"):
        audit({"input_ids": torch.tensor([5, 6, 7]), "targets": targets, "attention_mask": torch.ones(3)})
