"""Rows of a batch out of anybody's data loader, as a model that shifts `labels` would be trained on them.

What is scored is what has a label, right or wrong: labels of padding, and of a document's first token, are shown as the
model would learn them, with the audit's findings at their place. Reasons are given to what has none.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from lmhead.data.rows.format_columns import MASKS
from lmhead.errors import IGNORE_INDEX
from lmhead.inspection.batch import label_rules
from lmhead.inspection.batch.audit import audit
from lmhead.inspection.batch.padding_segments import without_padding
from lmhead.inspection.batch.special_ids import SpecialIds
from lmhead.inspection.tokens.material import Material, row_of, within
from lmhead.labels.collated.batch_columns import BatchColumns, read_batch
from lmhead.labels.collated.batch_rows import column_of
from lmhead.labels.targets import Reason, Targets
from lmhead.record.token_row import TokenRow

NO_LABELS: Final = (
    "This batch has no labels: nothing of it is scored, and a model would learn nothing from it. Inspect what the "
    "model is given, behind the collator."
)
SHIFTED: Final = (
    "These labels look already shifted: nearly all of them are the token after their own. A model that shifts labels "
    "would learn the token after the next, and that is what is shown here."
)
BOTH: Final = (
    "This batch has labels and targets: the labels are shown, which a model of transformers takes; leave them out to "
    "see the targets."
)
_NO_REASON: Final = int(Reason.SCORED)


def batch_rows(batch: Mapping[str, Any], special: SpecialIds, *, ignore_index: int = IGNORE_INDEX) -> Material:
    """The rows of a batch with input_ids, and the findings of its audit.

    Raises:
        ArgumentTypeError: a column holds no integers.
        ArgumentError: there are no input_ids, or columns differ in shape.
    """
    batch, notes = _labelled(batch, ignore_index)
    columns = read_batch(batch)
    trained = np.zeros_like(columns.present)
    if columns.labels is not None:
        trained = label_rules.trained_positions(columns, ignore_index)
    report = audit(batch, special, ignore_index=ignore_index)
    columns = without_padding(columns, trained)
    rows = tuple(_row(columns, trained, number) for number in range(len(columns.ids)))
    if batch.get("labels") is not None and batch.get("targets") is not None:
        notes.append(BOTH)
    if "no_labels" in report:
        notes.append(NO_LABELS)
    if "labels_already_shifted" in report:
        notes.append(SHIFTED)
    return Material(rows=rows, findings=within(report.findings, rows), notes=tuple(notes))


def _labelled(batch: Mapping[str, Any], ignore_index: int) -> tuple[Mapping[str, Any], list[str]]:
    """The batch with labels made of a mask, where it has a mask and no labels; and what has to be said of that."""
    masks = [name for name in MASKS if batch.get(name) is not None]
    if not masks or batch.get("labels") is not None or batch.get("input_ids") is None:
        return batch, []
    present = read_batch({"input_ids": batch["input_ids"]}).present
    labels = column_of(batch, "input_ids", present)
    assert labels is not None
    for name in masks:
        mask = column_of(batch, name, present)
        assert mask is not None
        labels = np.where(mask == 1, labels, ignore_index)
    rows = [row[there] for row, there in zip(labels, present, strict=True)]
    note = f"This batch has no labels: what is scored is told by {' and '.join(masks)}, as its trainer would."
    return {**batch, "labels": rows}, [note]


def _row(columns: BatchColumns, trained: npt.NDArray[np.bool_], number: int) -> TokenRow:
    length = int(columns.present[number].sum())
    ids, visible = columns.ids[number, :length], columns.visible[number, :length]
    labels, scored = np.full(length, IGNORE_INDEX, np.int64), trained[number, :length]
    if columns.labels is not None:
        given = columns.labels[number, :length]
        labels = np.where(scored & (given >= 0), given, IGNORE_INDEX)  # of what is no id the audit tells
    why = np.full(length, _NO_REASON, np.uint8)
    ignored = labels == IGNORE_INDEX
    why[columns.starts[number, :length] & ignored] = int(Reason.DOCUMENT_BOUNDARY)
    why[~visible & ignored] = int(Reason.PADDING)
    targets = Targets.from_labels(torch.from_numpy(labels), reason=torch.from_numpy(why))
    silent = torch.from_numpy(~visible) & ~targets.scored  # padding, the last of which has nothing to predict either
    targets.reason.masked_fill_(silent, int(Reason.PADDING))
    document = None if columns.document is None else columns.document[number, :length]
    if document is None and not visible.all():
        document = np.zeros(length, np.int64)
    return row_of(
        ids,
        targets,
        document=None if document is None else np.where(visible, document, -1),
        position=None if columns.positions is None else np.maximum(columns.positions[number, :length], 0),
    )
