"""trainer_dataset: every label is scored, none across a border, and nothing that labels cannot say is dropped."""

from dataclasses import replace

import numpy as np
import pytest

import lmhead
from lmhead import ArgumentError, ArgumentTypeError, Example, InputError, trainer_dataset

pytest.importorskip("datasets", reason="datasets is not installed: pip install 'lmhead[test]'")

LEARNT = Example.of([5, 6, 7, 8], trained=[True, False, True, True])


def test_labels_stand_at_their_ids_and_none_at_the_first():
    row = trainer_dataset([LEARNT])[0]
    assert row == {"input_ids": [5, 6, 7, 8], "labels": [-100, -100, 7, 8]}


def test_packed_rows_tell_their_documents_twice():
    rows = lmhead.pack([LEARNT, LEARNT], length=9, overflow="drop")
    (row,) = trainer_dataset(rows)
    assert row["input_ids"] == [5, 6, 7, 8] * 2
    assert row["labels"] == [-100, -100, 7, 8] * 2
    assert row["seq_lengths"] == [4, 4]
    assert row["position_ids"] == [0, 1, 2, 3] * 2


def test_the_parts_of_a_split_document_are_documents():
    rows = lmhead.pack([Example.of([5, 6, 7, 8], trained=[True] * 4)], length=2, overflow="split")
    assert sorted(row["labels"] for row in trainer_dataset(rows)) == [[-100, 6], [-100, 8]]


def test_a_token_of_weight_0_has_no_label():
    example = replace(LEARNT, weight=np.array([1, 1, 0, 1], np.float32))
    assert trainer_dataset([example])[0]["labels"] == [-100, -100, -100, 8]


def test_a_weight_that_no_label_can_say_is_refused():
    example = replace(LEARNT, weight=np.array([1, 1, 0.5, 1], np.float32))
    with pytest.raises(ArgumentError, match=r"weight must be 0 or 1 .* its loss knows no weights"):
        trainer_dataset([example])


def test_an_example_with_nothing_to_learn_is_named():
    with pytest.raises(InputError, match=r"examples\[1\] must have something to learn, got 2 tokens"):
        trainer_dataset([LEARNT, Example.of([5, 6], trained=[True, False])])


def test_many_examples_keep_their_order():
    data = trainer_dataset([Example.of([5, 6 + number], trained=[True, True]) for number in range(2500)])
    assert [row["labels"] for row in data] == [[-100, 6 + number] for number in range(2500)]


def test_no_example_is_told():
    with pytest.raises(InputError, match="examples must be at least one"):
        trainer_dataset([])


@pytest.mark.parametrize("given", [3, [{"messages": []}]])
def test_what_is_no_example_is_told_so(given):
    with pytest.raises(ArgumentTypeError, match=r"examples(\[0\])? must be"):
        trainer_dataset(given)
