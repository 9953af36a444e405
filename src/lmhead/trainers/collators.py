"""Collators of labelled rows for transformers' Trainer and TRL's SFTTrainer: padded, or packed with document masks.

What they take is a row of `trainer_dataset`, or, where a Trainer is given plain lists, an Example (padded) or one of
`lmhead.pack(...).rows` (packed). What they give is scored exactly where it has labels: a trainer's `num_items_in_batch`
is the number of scored tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmhead.errors import IGNORE_INDEX, ArgumentError, ArgumentTypeError, require
from lmhead.labels.example import Example
from lmhead.labels.packing.overflow import Piece
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.ops.checks import require_sizes
from lmhead.trainers.dataset import document_labels

Feature = Mapping[str, Any] | Example | Sequence[Piece]


@dataclass(frozen=True, slots=True, kw_only=True)
class PaddedCollator:
    """Rows of one document each -> input_ids, labels, attention_mask [B, T], padded on the right.

    Args:
        pad_id: any id: padding is what the mask says.
        pad_to_multiple_of: T is a multiple of so many tokens.

    Example:
        >>> batch = PaddedCollator()([Example.of([7, 8, 9], trained=[False, True, True]), {"input_ids": [5, 6]}])
        >>> batch["labels"].tolist(), batch["attention_mask"].tolist()
        ([[-100, 8, 9], [-100, 6, -100]], [[1, 1, 1], [1, 1, 0]])
    """

    pad_id: int = 0
    pad_to_multiple_of: int = 1

    def __post_init__(self) -> None:
        require_sizes(pad_to_multiple_of=self.pad_to_multiple_of)

    def __call__(self, features: Sequence[Feature]) -> dict[str, Tensor]:
        """One batch.

        Raises:
            ArgumentTypeError: a row is neither an Example nor a mapping with input_ids.
            ArgumentError: a row is packed, which takes a PackedCollator, or its labels do not fit its ids.
        """
        batch = _batch([[_document(feature)] for feature in features], self.pad_id, self.pad_to_multiple_of)
        return {
            "input_ids": batch.ids,
            "labels": batch.labels,
            "attention_mask": (batch.document >= 0).long(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedCollator:
    """Packed rows -> input_ids, labels, position_ids [R, T] and a mask [R, 1, T, T] that keeps documents apart.

    As `PackedBatch.for_transformers`: right for `attn_implementation="sdpa"`; for "eager" give the model's `dtype`.
    Without `mask` the positions restart and nothing is cached: models of transformers that make their masks in its
    one place see documents in that, at no cost of a mask that goes to the device; `check_isolation` tells whether yours
    does. A mask takes the place of sliding windows (Gemma, Mistral, GPT-OSS): where a document is longer than the
    window, only `mask=False` trains what the model computes later.

    Args:
        pad_id: any id: padding is a segment of its own.
        pad_to_multiple_of: T is a multiple of so many tokens; the length of the rows for one shape throughout.
        dtype: of a mask that is added to the scores, 0 and -inf; None: True and False.
        mask: False: no mask, but `use_cache=False`.

    Example:
        >>> row = {"input_ids": [7, 8, 9, 5, 6], "labels": [-100, 8, 9, -100, 6], "seq_lengths": [3, 2]}
        >>> PackedCollator()([row])["position_ids"]
        tensor([[0, 1, 2, 0, 1]])
    """

    pad_id: int = 0
    pad_to_multiple_of: int = 1
    dtype: torch.dtype | None = None
    mask: bool = True

    def __post_init__(self) -> None:
        require_sizes(pad_to_multiple_of=self.pad_to_multiple_of)

    def __call__(self, features: Sequence[Feature]) -> dict[str, Any]:
        """One batch.

        Raises:
            ArgumentTypeError: a row is no packed one.
            ArgumentError: nothing tells the documents of a row, or its columns do not fit its ids.
        """
        batch = _batch([_documents(feature) for feature in features], self.pad_id, self.pad_to_multiple_of)
        if not self.mask:
            columns = {"input_ids": batch.ids, "labels": batch.labels, "position_ids": batch.positions}
            return {**columns, "use_cache": False}
        return batch.for_transformers(dtype=self.dtype)


def _batch(rows: Sequence[Sequence[Piece]], pad_id: int, multiple: int) -> PackedBatch:
    require(bool(rows), "features", "be at least one row", 0)
    for row in rows:
        for piece in row:
            if piece.example.weight is not None:
                document_labels(piece)  # refuses weights that labels do not show
    longest = max(sum(len(piece) for piece in row) for row in rows)
    return PackedBatch.of(rows, length=-(-longest // multiple) * multiple, pad_id=pad_id)


def _document(feature: Feature) -> Piece:
    """The one document of a padded row."""
    if isinstance(feature, Mapping):
        if "seq_lengths" in feature:
            raise ArgumentError("features must be rows of one document, got packed ones: take a PackedCollator")
        feature = _example(feature)
    if not isinstance(feature, Example):
        raise ArgumentTypeError(
            f"features must be Examples, or rows of trainer_dataset, got {type(feature).__name__}: "
            "make them with lmhead.trainer_dataset"
        )
    return Piece.whole(0, feature)


def _documents(feature: Feature) -> Sequence[Piece]:
    """The documents of a packed row."""
    if isinstance(feature, Mapping):
        whole = _example(feature)
        stops = np.cumsum(_lengths(feature))
        require(stops[-1] == len(whole), "seq_lengths", f"add up to the row's {len(whole)} tokens", stops[-1])
        return [
            Piece(example=whole, index=0, start=int(start), stop=int(stop))
            for start, stop in zip([0, *stops[:-1]], stops, strict=True)
        ]
    if not isinstance(feature, Sequence) or not all(isinstance(piece, Piece) for piece in feature):
        raise ArgumentTypeError(
            f"features must be packed rows, got {type(feature).__name__}: "
            "make them with lmhead.pack, and lmhead.trainer_dataset of that"
        )
    return feature


def _lengths(feature: Mapping[str, Any]) -> Sequence[int]:
    """How many tokens each document of a row has."""
    if "seq_lengths" in feature:
        return list(feature["seq_lengths"])
    if "position_ids" in feature:
        positions = np.asarray(feature["position_ids"])
        lengths: list[int] = np.diff(np.flatnonzero(positions == 0), append=len(positions)).tolist()
        return lengths
    raise ArgumentError(
        "features must have seq_lengths or position_ids, which tell the documents of a row, got "
        f"{', '.join(sorted(feature))}: Trainer drops what the model's forward does not name; "
        "set remove_unused_columns=False in its arguments, or, for rows of one document, take a PaddedCollator"
    )


def _example(feature: Mapping[str, Any]) -> Example:
    """What a row's columns say; without labels all is learnt."""
    if "input_ids" not in feature:
        raise ArgumentError(f"features must have input_ids, got {', '.join(sorted(feature)) or 'no column'}")
    ids = np.asarray(feature["input_ids"], np.int32)
    labels = np.asarray(feature.get("labels", ids), np.int32)
    require(labels.shape == ids.shape, "labels", f"be aligned with the row's {len(ids)} input_ids", len(labels))
    learnt = labels != IGNORE_INDEX
    require(bool((labels == ids)[learnt].all()), "labels", "be the input_ids or -100", "another id: do not shift them")
    return Example.of(ids.tolist(), trained=learnt.tolist())
