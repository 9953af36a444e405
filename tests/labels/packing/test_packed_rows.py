"""Every token once, in order, in its own document; what overflow costs is counted; rows depend on (seed, row) alone."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmhead.errors import ArgumentError, InputError
from lmhead.labels.example import Example
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.labels.packing.packed_rows import pack, pack_stream
from lmhead.labels.targets import Reason

X = -100


def text(*ids: int, trained: bool = True) -> Example:
    return Example.of(list(ids), trained=[trained] * len(ids))


@st.composite
def examples(draw) -> list[Example]:
    """With ids that no two tokens share, so that each can be found again."""
    numbers = iter(range(1, 10_000))
    masks = draw(st.lists(st.lists(st.booleans(), max_size=12), min_size=1, max_size=15))
    return [Example.of([next(numbers) for _ in trained], trained=trained, reason=Reason.USER) for trained in masks]


def documents(batch: PackedBatch) -> list[list[int]]:
    """The ids of every document of every row."""
    return [
        row[document == number].tolist()
        for row, document in zip(batch.ids, batch.document, strict=True)
        for number in range(int(document.max()) + 1)
    ]


@given(examples(), st.integers(2, 9), st.sampled_from(["drop", "truncate", "split"]))
def test_every_token_is_there_once_or_counted(given_examples, length, overflow):
    stream = pack_stream(given_examples, length=length, overflow=overflow, rows=2, buffer=3, untrained="keep")
    batches = list(stream)
    found = sorted(document for batch in batches for document in documents(batch))
    expected = [example.ids.tolist() for example in given_examples if len(example)]
    if overflow == "drop":
        expected = [ids for ids in expected if len(ids) <= length]
    elif overflow == "truncate":
        expected = [ids[:length] for ids in expected]
    else:
        expected = [ids[start : start + length] for ids in expected for start in range(0, len(ids), length)]
    assert found == sorted(expected)

    report = stream.report
    assert report.tokens == report.packed_tokens + report.dropped_tokens + report.truncated_tokens
    assert report.packed_tokens == sum(map(len, expected))
    assert report.scored == sum(batch.targets.count for batch in batches)
    assert report.rows == sum(len(batch.ids) for batch in batches)


@given(examples(), st.integers(2, 9), st.sampled_from(["drop", "truncate", "split"]))
def test_rows_of_a_finite_set_hold_the_same_documents(given_examples, length, overflow):
    options = {"length": length, "overflow": overflow, "untrained": "keep"}
    try:
        rows = pack(given_examples, **options)
    except InputError as error:
        assert "no example is left to pack" in str(error)  # noqa: PT017
        return
    streamed = [document for batch in pack_stream(given_examples, rows=3, **options) for document in documents(batch)]
    assert sorted(documents(rows.take(0, rows.rows_per_epoch))) == sorted(streamed)


@given(examples(), st.integers(2, 9))
def test_each_position_predicts_the_next_token_of_its_own_document(given_examples, length):
    trained = {int(id) for example in given_examples for id in example.ids[example.trained]}
    for batch in pack_stream(given_examples, length=length, overflow="split", rows=2, untrained="keep"):
        for row in range(len(batch.ids)):
            for t in range(length):
                same = t + 1 < length and batch.document[row, t] == batch.document[row, t + 1] >= 0
                following = int(batch.ids[row, t + 1]) if same else X
                assert int(batch.targets.ids[row, t]) == (following if following in trained else X)
                position = int(batch.positions[row, t])
                new = t == 0 or batch.document[row, t] != batch.document[row, t - 1]
                assert position == (0 if new else batch.positions[row, t - 1] + 1)


def test_a_batch_by_hand():
    batch = PackedBatch.of(pack([text(1, 2, 3), text(4, 5)], length=6, overflow="drop").rows, length=6, pad_id=9)
    assert batch.ids.tolist() == [[1, 2, 3, 4, 5, 9]]
    assert batch.labels.tolist() == [[X, 2, 3, X, 5, X]]
    assert batch.targets.ids.tolist() == [[2, 3, X, 5, X, X]]
    assert [Reason(value).name for value in batch.targets.reason[0].tolist()] == [
        "SCORED", "SCORED", "DOCUMENT_BOUNDARY", "SCORED", "PADDING", "PADDING",
    ]  # fmt: skip
    assert batch.positions.tolist() == [[0, 1, 2, 0, 1, 0]]
    assert batch.document.tolist() == [[0, 0, 0, 1, 1, -1]]
    assert batch.cu_seqlens.tolist() == [0, 3, 5, 6]
    assert batch.cu_seqlens.dtype == torch.int32
    assert batch.max_seqlen == 3
    assert batch.sources == ((0, 1),)


def test_the_reason_of_an_untrained_token_is_kept():
    example = Example.of([1, 2, 3], trained=[False, False, True], reason=Reason.USER)
    batch = pack([example], length=3, overflow="drop").take(0, 1)
    assert [Reason(value).name for value in batch.targets.reason[0].tolist()] == ["USER", "SCORED", "END_OF_ROW"]


def test_weights_are_shifted_with_the_labels_and_are_1_where_an_example_has_none():
    weighted = Example(
        ids=np.array([1, 2, 3], np.int32),
        trained=np.ones(3, np.bool_),
        reason=np.zeros(3, np.uint8),
        weight=np.array([1, 0, 0.5], np.float32),
    )
    rows = pack([weighted, text(4, 5)], length=6, overflow="drop")
    batch = rows.take(0, 1)
    assert batch.targets.weight.tolist() == [[0, 0.5, 0, 1, 0, 0]]
    assert batch.labels.tolist() == [[X, X, 3, X, 5, X]]
    assert rows.report.scored == batch.targets.count == 2


def test_what_was_cut_off_is_the_reason_at_the_cut():
    batch = pack([text(1, 2, 3, 4, 5)], length=3, overflow="truncate").take(0, 1)
    assert [Reason(value).name for value in batch.targets.reason[0].tolist()] == ["SCORED", "SCORED", "TRUNCATED"]
    split = pack([text(1, 2, 3, 4, 5)], length=3, overflow="split").take(0, 2)
    assert Counter(Reason(value).name for value in split.targets.reason.flatten().tolist()) == {
        "SCORED": 3, "TRUNCATED": 1, "PADDING": 2,
    }  # fmt: skip


LONG = [text(1, 2, 3, 4, 5), text(6, 7), text()]


@pytest.mark.parametrize(
    ("overflow", "counts"),
    [
        ("drop", {"dropped": 1, "dropped_tokens": 5, "scored": 1, "rows": 1, "packed_tokens": 2}),
        ("truncate", {"truncated": 1, "truncated_tokens": 2, "scored": 3, "rows": 2, "packed_tokens": 5}),
        ("split", {"split": 1, "pieces": 2, "scored": 4, "rows": 3, "packed_tokens": 7}),
    ],
)
def test_each_policy_is_counted(overflow, counts):
    report = pack(LONG, length=3, overflow=overflow).report
    assert {name: getattr(report, name) for name in counts} == counts
    assert (report.documents, report.tokens, report.trainable, report.empty) == (3, 7, 5, 1)
    assert report.useful == counts["packed_tokens"] / (3 * counts["rows"])
    assert report.to_dict()["useful"] == report.useful


def test_the_report_says_what_was_lost():
    report = pack([*LONG, text(8, 9, trained=False)], length=3, overflow="truncate", untrained="drop").report
    assert str(report).splitlines() == [
        "4 documents of 9 tokens in 2 rows of 3: 83.33% useful",
        "learnt: 3 of 5 tokens",
        "truncated: 1 documents, 2 tokens cut off",
        "nothing to learn: 1 documents or parts of one, left out, 2 tokens",
        "empty: 1 documents",
    ]


def test_an_example_with_nothing_to_learn_is_refused_dropped_or_kept():
    prompt_too_long = Example.of([1, 2, 3, 4], trained=[False, False, False, True])
    given_examples = [text(5, 6), prompt_too_long]
    with pytest.raises(
        InputError, match=r"document 1 \(4 tokens\) has nothing to learn; its first trained token is at 3"
    ):
        pack(given_examples, length=3, overflow="truncate")
    with pytest.raises(InputError, match="none of its tokens after the first is trained: mend it, or leave such out"):
        pack([text(1)], length=3, overflow="truncate")
    dropped = pack(given_examples, length=3, overflow="truncate", untrained="drop").report
    assert (dropped.untrained, dropped.untrained_tokens, dropped.packed_tokens) == (1, 3, 2)
    kept = pack(given_examples, length=3, overflow="truncate", untrained="keep").report
    assert (kept.untrained, kept.untrained_tokens, kept.packed_tokens) == (1, 0, 5)


def test_a_part_with_nothing_to_learn_is_left_out_of_a_document_that_has_some():
    example = Example.of([1, 2, 3, 4], trained=[False, False, False, True])
    report = pack([example], length=2, overflow="split").report
    assert (report.split, report.pieces, report.untrained, report.untrained_tokens, report.scored) == (1, 2, 1, 2, 1)


def test_an_epoch_has_every_row_once_in_an_order_of_its_own():
    rows = pack([text(n, n + 1, n + 2) for n in range(0, 300, 3)], length=4, overflow="drop", seed=5)
    R = rows.rows_per_epoch
    first, second = rows.take(0, R).ids[:, 0].tolist(), rows.take(R, R).ids[:, 0].tolist()
    assert sorted(first) == sorted(second) == list(range(0, 300, 3))
    assert first != second != sorted(second)


def test_rows_do_not_depend_on_how_they_are_asked_for():
    given_examples = [text(n, n + 1) for n in range(40)]
    together = pack(given_examples, length=5, overflow="drop", seed=5).take(0, 50).ids
    rows = pack(given_examples, length=5, overflow="drop", seed=5)
    assert torch.equal(together, torch.cat([rows.take(row, 1).ids for row in reversed(range(50))]).flip(0))
    assert not torch.equal(together, pack(given_examples, length=5, overflow="drop", seed=6).take(0, 50).ids)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 1, "overflow": "drop"}, "length must be >= 2 tokens, got 1: one to read and one to predict"),
        ({"length": 8, "overflow": "wrap"}, "overflow must be one of drop, truncate, split, got wrap"),
        ({"length": 8, "overflow": "drop", "untrained": "no"}, "untrained must be one of drop, refuse, keep, got no"),
    ],
)
def test_choices_that_there_are_not_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        pack([text(1, 2)], **options)
    with pytest.raises(ArgumentError, match=message):
        pack_stream([text(1, 2)], rows=1, **options)


def test_nothing_left_is_an_error_with_the_counts():
    with pytest.raises(InputError, match=r"no example is left to pack[^$]*dropped: 1 documents longer than a row, 5"):
        pack([text(1, 2, 3, 4, 5)], length=3, overflow="drop")
    with pytest.raises(ArgumentError, match="rows must be at least one, got 0"):
        PackedBatch.of([], length=3)


def test_a_stream_is_read_as_batches_are_asked_for():
    stream = pack_stream((text(n, n + 1) for n in range(10)), length=4, overflow="drop", rows=2, buffer=3)
    assert stream.report.documents == 0
    next(iter(stream))
    assert (stream.report.documents, stream.report.rows, stream.report.packed_tokens) == (7, 2, 8)
