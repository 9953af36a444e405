"""A batch from anyone's pipeline, in one form: numpy rows, which positions are tokens, where documents end.

The keys are transformers': input_ids, labels, attention_mask, position_ids, and those by which tools tell documents
(batch_documents.py). Others are not looked at.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lmhead.errors import ArgumentTypeError, require
from lmhead.labels.collated.batch_documents import documents_of
from lmhead.labels.collated.batch_rows import column_of, dimensions, planes_of, rows_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchColumns:
    """Rows as they came, short ones filled up; every array is [R, T]."""

    ids: npt.NDArray[np.int64]
    present: npt.NDArray[np.bool_]  # False where a list was shorter than the longest
    labels: npt.NDArray[np.int64] | None
    mask: npt.NDArray[np.int64] | None  # the 2-D attention mask; None where there is none, or one that is not 2-D
    positions: npt.NDArray[np.int64] | None  # of several planes, as models that see pictures have, the first
    document: npt.NDArray[np.int64] | None  # -1 where there is none; None: nothing tells where documents end
    told_by: str = ""  # the key that tells the documents

    @property
    def visible(self) -> npt.NDArray[np.bool_]:
        """Positions that neither the mask nor the documents call padding."""
        visible = self.present if self.mask is None else self.present & (self.mask != 0)
        return visible if self.document is None else visible & (self.document >= 0)

    @property
    def starts(self) -> npt.NDArray[np.bool_]:
        """Positions that begin a document right behind another in the same row."""
        starts = np.zeros_like(self.present)
        if self.document is not None:
            before, now = self.document[:, :-1], self.document[:, 1:]
            starts[:, 1:] = (before != now) & (before >= 0) & (now >= 0)
        return starts & self.visible


def read_batch(batch: Mapping[str, Any]) -> BatchColumns:
    """The columns of a batch whose values are torch tensors, numpy arrays or lists, of one row or of several.

    Raises:
        ArgumentTypeError: `batch` is no mapping, or a value no array of integers.
        ArgumentError: there are no input_ids, or columns differ in shape.
    """
    if not isinstance(batch, Mapping):
        raise ArgumentTypeError(f"batch must be a mapping with input_ids, got {type(batch).__name__}")
    given = ", ".join(map(str, batch)) or "nothing"
    require(batch.get("input_ids") is not None, "batch", "have input_ids", given)
    ids, present = rows_of("input_ids", batch["input_ids"])
    has_flat_mask = batch.get("attention_mask") is not None and dimensions(batch["attention_mask"]) <= 2
    mask = column_of(batch, "attention_mask", present) if has_flat_mask else None
    planes = planes_of(batch, "position_ids", present)
    document, told_by = documents_of(batch, present, mask, planes)
    if document is not None:
        document = np.where(present if mask is None else present & (mask != 0), document, -1)
    return BatchColumns(
        ids=ids,
        present=present,
        labels=column_of(batch, "labels", present),
        mask=mask,
        positions=None if planes is None else planes[0],
        document=document,
        told_by=told_by,
    )
