"""The shift, and why a position is not scored."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmhead.errors import IGNORE_INDEX, ArgumentError, ArgumentTypeError
from lmhead.labels.targets import Reason, Targets, shift_labels

X = IGNORE_INDEX


def reasons(targets):
    return [Reason(value) for value in targets.reason.flatten().tolist()]


def test_targets_are_the_next_labels():
    targets = Targets.from_labels(torch.tensor([[5, 6, 7], [8, 9, 10]]))
    assert targets.ids.tolist() == [[6, 7, X], [9, 10, X]]
    assert targets.scored.tolist() == [[True, True, False]] * 2
    assert targets.count == 4


def test_labels_are_left_as_they_were():
    labels = torch.tensor([5, 6, 7])
    Targets.from_labels(labels, document=torch.tensor([0, 0, -1]))
    assert labels.tolist() == [5, 6, 7]


@pytest.mark.parametrize("shape", [(4,), (2, 4), (2, 3, 4), (0, 4), (2, 0)])
def test_any_leading_dimensions(shape):
    labels = torch.arange(torch.Size(shape).numel()).reshape(shape)
    targets = Targets.from_labels(labels)
    assert targets.shape == labels.shape
    assert torch.equal(targets.ids[..., :-1], labels[..., 1:])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_ids_become_int64(dtype):
    assert Targets.from_labels(torch.tensor([1, 2, 3], dtype=dtype)).ids.tolist() == [2, 3, X]


def test_every_reason_has_its_place():
    targets = Targets.from_labels(
        torch.tensor([1, 2, X, 4, 5, 6, 7, 0]),
        document=torch.tensor([0, 0, 0, 0, 1, 1, 1, -1]),
        weight=torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.5, 1.0]),
    )
    assert reasons(targets) == [
        Reason.SCORED,
        Reason.IGNORED,
        Reason.SCORED,
        Reason.DOCUMENT_BOUNDARY,
        Reason.ZERO_WEIGHT,
        Reason.SCORED,
        Reason.PADDING,
        Reason.PADDING,
    ]
    assert targets.ids.tolist() == [2, X, 4, X, X, 7, X, X]
    assert targets.weight.tolist() == [1.0, 0.0, 1.0, 0.0, 0.0, 0.5, 0.0, 0.0]
    assert targets.tally() == {
        Reason.SCORED: 3,
        Reason.IGNORED: 1,
        Reason.DOCUMENT_BOUNDARY: 1,
        Reason.PADDING: 2,
        Reason.ZERO_WEIGHT: 1,
    }


def test_the_end_of_a_row_has_nothing_to_predict():
    assert reasons(Targets.from_labels(torch.tensor([1, 2]))) == [Reason.SCORED, Reason.END_OF_ROW]


def test_ignoring_the_first_label_changes_nothing():
    assert torch.equal(shift_labels(torch.tensor([X, 6, 7])), shift_labels(torch.tensor([5, 6, 7])))


def test_padding_is_masked_by_length_and_end_of_text_is_learned():
    end = pad = 2
    labels = torch.tensor([[5, 6, end, pad, pad]])
    mask = torch.tensor([[1, 1, 1, 0, 0]])
    assert Targets.from_labels(labels, attention_mask=mask).ids.tolist() == [[6, end, X, X, X]]
    assert Targets.from_labels(labels, ignore_index=pad).count == 1  # masked by id: end of text is never learned


def test_padding_on_the_left():
    targets = Targets.from_labels(torch.tensor([0, 0, 5, 6]), attention_mask=torch.tensor([False, False, True, True]))
    assert targets.ids.tolist() == [X, X, 6, X]
    assert reasons(targets)[:2] == [Reason.PADDING] * 2


def test_mask_that_numbers_documents_is_refused():
    with pytest.raises(ArgumentError, match=r"attention_mask must be 0 or 1, got 2: .*document=attention_mask - 1"):
        Targets.from_labels(torch.tensor([5, 6, 7]), attention_mask=torch.tensor([1, 2, 2]))


def test_at_two_predicts_the_token_after_the_next():
    targets = Targets.from_labels(torch.tensor([5, 6, 7, 8]))
    assert targets.at(1) is targets
    assert targets.at(2).ids.tolist() == [7, 8, X, X]
    assert targets.at(3).ids.tolist() == [8, X, X, X]
    assert targets.at(9).count == 0
    assert targets.at(2).at(3).ids.tolist() == targets.at(3).ids.tolist()


def test_at_stays_within_documents():
    targets = Targets.from_labels(torch.tensor([1, 2, 3, 4, 5, 6]), document=torch.tensor([0, 0, 0, 1, 1, -1]))
    assert targets.at(2).ids.tolist() == [3, X, X, X, X, X]
    assert reasons(targets.at(2))[1:3] == [Reason.DOCUMENT_BOUNDARY] * 2


def test_at_cannot_go_back():
    with pytest.raises(ArgumentError, match="offset must be at least 2"):
        Targets.from_labels(torch.tensor([5, 6, 7])).at(2).at(1)


@st.composite
def rows(draw):
    T = draw(st.integers(1, 9))
    return (
        draw(st.lists(st.sampled_from([X, 1, 2, 3]), min_size=T, max_size=T)),
        draw(st.lists(st.integers(-1, 2), min_size=T, max_size=T)),
        draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=T, max_size=T)),
    )


@given(rows(), st.integers(1, 4))
def test_scored_is_what_the_definition_says(row, offset):
    labels, document, weight = row
    targets = Targets.from_labels(
        torch.tensor(labels), document=torch.tensor(document), weight=torch.tensor(weight)
    ).at(offset)
    for t in range(len(labels)):
        on_the_way = document[t : t + offset + 1]
        scored = (
            len(on_the_way) == offset + 1
            and min(on_the_way) == max(on_the_way) >= 0
            and labels[t + offset] != X
            and weight[t + offset] > 0
        )
        assert bool(targets.scored[t]) == scored
        assert targets.ids[t] == (labels[t + offset] if scored else X)
        assert targets.weight[t] == (weight[t + offset] if scored else 0)


@given(rows(), st.integers(1, 4))
def test_shifted_ids_and_labels_agree(row, offset):
    labels, document, _ = (torch.tensor(column) for column in row)
    shifted = torch.cat([labels[1:], torch.tensor([X])])
    ours = Targets.from_targets(shifted, document=document).at(offset)
    assert torch.equal(ours.ids, Targets.from_labels(labels, document=document).at(offset).ids)


@given(rows())
def test_labels_are_what_targets_are_made_of_but_for_what_nothing_predicts(row):
    labels, document, weight = (torch.tensor(column) for column in row)
    targets = Targets.from_labels(labels, document=document, weight=weight)
    back = targets.labels
    predicted = torch.cat([torch.tensor([False]), targets.scored[:-1]])
    assert torch.equal(back, labels.where(predicted, X))
    assert torch.equal(Targets.from_labels(back).ids, targets.ids)


def test_labels_are_those_of_the_next_token_alone():
    with pytest.raises(ArgumentError, match=r"targets must be those of the next token, at\(1\), got at\(2\)"):
        _ = Targets.from_labels(torch.tensor([5, 6, 7])).at(2).labels


def test_the_first_positions_keep_what_they_have_to_predict():
    labels, document = torch.tensor([[5, 6, 7]]), torch.tensor([[0, 0, 1]])
    weight = torch.tensor([[1.0, 2.0, 3.0]])
    first = Targets.from_labels(labels, document=document, weight=weight).up_to(2)
    assert first.ids.tolist() == [[6, X]]
    assert first.weight.tolist() == [[2, 0]]
    assert reasons(first) == [Reason.SCORED, Reason.DOCUMENT_BOUNDARY]
    assert first.document.tolist() == [[0, 0]]


def test_targets_given_shifted_are_not_shifted():
    targets = Targets.from_targets(torch.tensor([6, 7, 8]), weight=torch.tensor([1.0, 0.0, 2.0]))
    assert targets.ids.tolist() == [6, X, 8]
    assert reasons(targets) == [Reason.SCORED, Reason.ZERO_WEIGHT, Reason.SCORED]


def test_weights_multiply_and_zeros_are_a_reason():
    targets = Targets.from_labels(torch.tensor([5, 6, 7, 8]), weight=torch.tensor([1.0, 2.0, 3.0, 4.0]))
    weighted = targets.weighted(torch.tensor([0.5, 0.0, 1.0, 1.0]))
    assert weighted.weight.tolist() == [1.0, 0.0, 4.0, 0.0]
    assert reasons(weighted) == [Reason.SCORED, Reason.ZERO_WEIGHT, Reason.SCORED, Reason.END_OF_ROW]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": torch.tensor(1)}, r"labels must be rows \[..., T\], got shape \(\)"),
        ({"labels": torch.tensor([1.0])}, "labels must be integers, got torch.float32"),
        ({"labels": torch.tensor([True])}, "labels must be integers, got torch.bool"),
        ({"labels": torch.tensor([1, 2]), "document": torch.tensor([0])}, r"document must have the ids' shape \(2,\)"),
        ({"labels": torch.tensor([1, 2]), "document": torch.rand(2)}, "document must be integers"),
        ({"labels": torch.tensor([1, 2]), "weight": torch.ones(1, 2)}, "weight must have the ids' shape"),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        Targets.from_labels(**arguments)


def test_lists_are_refused():
    with pytest.raises(ArgumentTypeError, match="labels must be a Tensor, got list"):
        Targets.from_labels([1, 2, 3])
