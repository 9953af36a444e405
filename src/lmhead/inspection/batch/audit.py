"""audit: is this batch, from anyone's pipeline, what its maker means to train on?

Finds what can be told from a batch alone (label_rules.py, packing_rules.py). Whether a model keeps the documents of a
row apart cannot: that is check_isolation's.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lmhead.errors import IGNORE_INDEX
from lmhead.inspection.batch import label_rules, packing_rules
from lmhead.inspection.batch.audit_report import AuditReport
from lmhead.inspection.batch.own_batches import as_mapping
from lmhead.inspection.batch.padding_segments import without_padding
from lmhead.inspection.batch.special_ids import SpecialIds
from lmhead.inspection.finding import Finding, worst_first
from lmhead.labels.collated.batch_columns import BatchColumns, read_batch
from lmhead.labels.example import Example
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.ops.checks import check_choices


def audit(
    batch: Mapping[str, Any] | PackedBatch | Example | Sequence[Example],
    tokenizer: object = None,
    *,
    ignore_index: int = IGNORE_INDEX,
) -> AuditReport:
    """Findings about a batch that a model which shifts `labels` would be given, as every transformers model does.

    Args:
        batch: input_ids and labels [R, T] or [T], as tensors, arrays or lists; if there, attention_mask, position_ids,
            cu_seqlens and the document of each position are read too (batch_columns.py has the names). Or one of the
            library's own: a PackedBatch, an Example or several, input_ids beside targets.
        tokenizer: of transformers, for what needs the ids of beginning, end and padding; of tokenizers, for the size.

    Raises:
        ArgumentTypeError: `batch` is no mapping of integers, or the tokenizer is none.
        ArgumentError: there are no input_ids, or columns differ in shape.

    Example:
        >>> print(audit({"input_ids": [[5, 6, 7, 8, 9]], "labels": [[6, 7, 8, 9, -100]]}))  # doctest: +ELLIPSIS
        1 rows, 5 tokens, 3 scored (60%): 1 error
        error: 4 labels are the token after their own: a model that shifts labels would learn ...
    """
    check_choices(ignore_index, None)
    mapping, ignore_index = as_mapping(batch, ignore_index)
    columns, vocabulary = read_batch(mapping), SpecialIds.of(tokenizer)
    trained = np.zeros_like(columns.present)
    if columns.labels is not None:
        trained = label_rules.trained_positions(columns, ignore_index)
    columns = without_padding(columns, trained)
    return AuditReport(
        findings=worst_first(_findings(columns, trained, vocabulary)),
        rows=len(columns.ids),
        tokens=int(columns.visible.sum()),
        scored=int(trained[:, 1:].sum()),
    )


def _findings(
    columns: BatchColumns, trained: npt.NDArray[np.bool_], vocabulary: SpecialIds
) -> Iterator[Finding | None]:
    yield packing_rules.ids_out_of_vocabulary(columns, vocabulary)
    yield packing_rules.positions_do_not_restart(columns, vocabulary)
    yield packing_rules.mask_beside_packing(columns)
    yield packing_rules.double_bos(columns, vocabulary)
    if columns.labels is None:
        yield _no_labels(columns)
        return
    yield label_rules.nothing_trained(trained)
    yield label_rules.labels_out_of_range(columns, trained, vocabulary)
    shifted = label_rules.shifted(columns, trained)
    yield shifted
    if shifted is None:  # else every label stands one place off, and what follows would speak of the wrong token
        yield label_rules.not_input_ids(columns, trained)
        yield label_rules.padding_trained(columns, trained, vocabulary)
        yield label_rules.first_predicted_from_padding(columns, trained)
        yield label_rules.end_hidden(columns, trained, vocabulary)
        yield label_rules.end_not_trained(columns, trained, vocabulary)
        yield packing_rules.boundary_scored(columns, trained, vocabulary)
        yield label_rules.everything_trained(columns, trained)
        yield label_rules.mask_lost(columns, trained)


def _no_labels(columns: BatchColumns) -> Finding:
    return Finding(
        code="no_labels",
        severity="error",
        count=len(columns.ids),
        message="the batch has no labels: nothing is learnt from it",
        remedy="audit what the model is given, behind the collator",
    )
