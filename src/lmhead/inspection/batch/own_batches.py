"""The library's own batches as the mapping that `audit` reads: examples, packed rows, inputs beside targets."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lmhead.errors import IGNORE_INDEX, ArgumentTypeError, require
from lmhead.labels.example import Example
from lmhead.labels.packing.attention_mask import restarting_positions
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.labels.targets import Targets


def as_mapping(batch: object, ignore_index: int) -> tuple[Mapping[str, Any], int]:
    """(columns under transformers' names, the id that is ignored in them); a mapping with labels passes as it is.

    Raises:
        ArgumentTypeError: a batch of another kind.
    """
    if isinstance(batch, PackedBatch):
        # where attention crosses documents on purpose, a row is one
        return _aligned(batch.ids, replace(batch.targets, document=batch.attention_document)), IGNORE_INDEX
    examples = [batch] if isinstance(batch, Example) else batch
    if isinstance(examples, Sequence) and len(examples) and all(isinstance(one, Example) for one in examples):
        return {"input_ids": [one.ids for one in examples], "labels": [_labels(one) for one in examples]}, IGNORE_INDEX
    if isinstance(batch, Mapping):
        if batch.get("targets") is None or batch.get("input_ids") is None or batch.get("labels") is not None:
            return batch, ignore_index
        rest = {key: value for key, value in batch.items() if key not in ("input_ids", "targets", "labels")}
        require(not rest, "batch", "have input_ids and targets alone, where it has targets", ", ".join(map(str, rest)))
        targets = batch["targets"]
        if not isinstance(targets, Targets):
            targets = Targets.from_targets(targets, ignore_index=ignore_index)
        return _aligned(batch["input_ids"], targets), IGNORE_INDEX
    remedy = "a dict of input_ids and labels (or targets), a PackedBatch, an Example or a list of them"
    if isinstance(batch, Targets):
        remedy += "; beside Targets give the inputs, {'input_ids': ids, 'targets': targets}"
    raise ArgumentTypeError(f"batch must be a mapping with input_ids, got {type(batch).__name__}: give {remedy}")


def _labels(example: Example) -> npt.NDArray[np.int64]:
    """Those that are scored: what weighs nothing is ignored."""
    return np.where(example.learnt, example.labels(), np.int64(IGNORE_INDEX))


def _aligned(
    ids: Tensor,  # [R, T] or [T]
    targets: Targets,  # in ids' shape
) -> Mapping[str, Any]:
    """Targets moved back under the tokens that they are: each row gets one more token where its last target is scored.

    Raises:
        ArgumentError: shapes differ, or the targets are not those of the next token.
        ArgumentTypeError: not a Tensor where one is due.
    """
    require(targets.offset == 1, "targets", "be those of the next token, at(1)", f"at({targets.offset})")
    if not isinstance(ids, Tensor):
        raise ArgumentTypeError(f"input_ids must be a Tensor beside targets, got {type(ids).__name__}")
    require(
        ids.shape == targets.shape, "input_ids", f"have the targets' shape {tuple(targets.shape)}", tuple(ids.shape)
    )
    rows = (-1, ids.shape[-1])
    predicted = targets.ids.masked_fill(~targets.scored, IGNORE_INDEX).reshape(rows).cpu().numpy()
    inputs = ids.reshape(rows).cpu().numpy()
    ends = [slice(None) if row[-1] != IGNORE_INDEX else slice(-1) for row in predicted]
    columns = {
        "input_ids": [np.append(own, row[-1])[end] for own, row, end in zip(inputs, predicted, ends, strict=True)],
        "labels": [np.append(IGNORE_INDEX, row)[end] for row, end in zip(predicted, ends, strict=True)],
    }
    if targets.document is None:
        return columns
    documents = targets.document.reshape(rows).cpu()
    for name, column in (("document", documents), ("position_ids", restarting_positions(documents))):
        step = int(name == "position_ids")
        longer = [np.append(row, row[-1] + step) for row in column.numpy()]
        columns[name] = [row[end] for row, end in zip(longer, ends, strict=True)]
    return columns
