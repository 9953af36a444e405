"""Whatever batch comes: its labels are shown shifted by one, each silence has a reason, findings stand at tokens."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import lmhead
from lmhead import Reason
from lmhead.record.record import Record

IDS = st.integers(0, 12)
LABELS = st.one_of(st.just(-100), st.integers(-3, 12))


@st.composite
def batches(draw):
    """Rows of one length with labels, and some of the columns that tell padding and documents."""
    R, T = draw(st.integers(1, 3)), draw(st.integers(1, 7))

    def rows(values):
        return draw(st.lists(st.lists(values, min_size=T, max_size=T), min_size=R, max_size=R))

    batch = {"input_ids": rows(IDS)}
    batch["labels"] = draw(st.sampled_from([rows(LABELS), batch["input_ids"]]))
    for name, values in (
        ("attention_mask", st.integers(0, 1)),
        ("position_ids", st.integers(-1, 4)),
        ("seq_idx", st.integers(-1, 2)),
    ):
        if draw(st.booleans()):
            batch[name] = rows(values)
    return batch


@given(batches())
def test_labels_are_shown_shifted_with_a_reason_for_each_silence(batch):
    seen = lmhead.inspect(batch)
    for row, labels in zip(seen.rows, batch["labels"], strict=True):
        wanted = [label if label >= 0 else -100 for label in labels[1:]] + [-100]
        assert row.targets.tolist() == wanted
        assert ((row.reason == int(Reason.SCORED)) == (row.targets >= 0)).all()
        if row.document is not None:
            numbers = np.unique(row.document[row.document >= 0])
            assert numbers.tolist() == list(range(len(numbers)))
            assert set(row.reason[(row.document < 0) & (row.targets < 0)].tolist()) <= {int(Reason.PADDING)}
    for finding in seen.findings:
        assert all(0 <= token < len(seen.rows[row].ids) for row, token in finding.spots)
    assert len(Record.of_lines(seen.lines()).rows) == len(seen.rows)
