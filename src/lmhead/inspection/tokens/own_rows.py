"""Rows of what the library makes: Examples, packed rows with their roles, Targets with their inputs or alone."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lmhead.errors import ArgumentTypeError, require
from lmhead.inspection.batch.audit import audit
from lmhead.inspection.batch.special_ids import SpecialIds
from lmhead.inspection.tokens.material import Material, row_of, within
from lmhead.labels.example import Example
from lmhead.labels.packing.overflow import Piece
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.labels.targets import Targets
from lmhead.record.token_row import Span, TokenRow

NOT_GIVEN: Final = -1  # in place of an input that nobody gave
ALONE: Final = (
    "These are targets without their inputs: a token is known where it is scored, and shown as not given elsewhere."
)


def example_row(example: Example, *, name: str = "", source: str = "") -> TokenRow:
    """One Example, with the roles of its messages."""
    row = row_of(example.ids, example.targets())
    shown = [span for span in example.spans if span.start < span.stop]  # an empty message has no token
    spans = tuple(Span(start=span.start, stop=span.stop, role=span.role) for span in shown)
    return replace(row, spans=spans, names=(name,) if name else (), sources=(source,) if source else ())


def example_rows(examples: Sequence[Example], special: SpecialIds) -> Material:
    """Each Example is a row."""
    rows = tuple(example_row(example, name=f"example {number}") for number, example in enumerate(examples))
    return Material(rows=rows, findings=within(audit(examples, special).findings, rows))


def packed_rows(
    batch: PackedBatch,
    special: SpecialIds,
    *,
    pieces: Sequence[Sequence[Piece]] | None = None,
    names: Sequence[str] | None = None,
) -> Material:
    """The rows of a PackedBatch; with the pieces that it is made of, their roles too.

    Args:
        names: where each source of the batch stands.
    """
    rows = list(_target_rows(batch.ids, batch.targets, None if batch.isolated else _counting(batch.ids)))
    for number, sources in enumerate(batch.sources):
        told = tuple(f"example {source}" if names is None else names[source] for source in sources)
        rows[number] = replace(rows[number], names=told)
        if pieces is not None:
            rows[number] = replace(rows[number], spans=tuple(_spans(pieces[number])))
    findings = within(audit(batch, special).findings, rows)
    return Material(rows=tuple(rows), findings=findings, crossing=not batch.isolated)


def target_rows(ids: object, targets: Targets, special: SpecialIds) -> Material:
    """Rows of inputs beside what they have to predict.

    Raises:
        ArgumentError: shapes differ, or the targets are not those of the next token.
        ArgumentTypeError: the inputs are no Tensor.
    """
    findings = audit({"input_ids": ids, "targets": targets}, special).findings  # refuses what does not fit
    assert isinstance(ids, Tensor)
    rows = _target_rows(ids, targets, None)
    return Material(rows=rows, findings=within(findings, rows))


def lone_target_rows(targets: Targets) -> Material:
    """Rows of Targets without their inputs: a token is known where the position before it is scored."""
    require(targets.offset == 1, "targets", "be those of the next token, at(1)", f"at({targets.offset})")
    known = targets.labels.masked_fill(targets.labels == targets.ignore_index, NOT_GIVEN)
    return Material(rows=_target_rows(known, targets, None), notes=(ALONE,), has_ids=False)


def beside_targets(batch: Mapping[str, Any]) -> bool:
    """Whether a mapping holds inputs beside targets, in place of labels."""
    return batch.get("targets") is not None and batch.get("labels") is None and batch.get("input_ids") is not None


def given_targets(batch: Mapping[str, Any], ignore_index: int) -> Targets:
    """The targets of such a mapping.

    Raises:
        ArgumentTypeError: they are no Tensor and no Targets.
    """
    targets = batch["targets"]
    if isinstance(targets, Targets):
        return targets
    if not isinstance(targets, Tensor):
        raise ArgumentTypeError(f"targets must be a Tensor or Targets, got {type(targets).__name__}")
    return Targets.from_targets(targets, ignore_index=ignore_index)


def _target_rows(ids: Tensor, targets: Targets, position: Tensor | None) -> tuple[TokenRow, ...]:
    """Rows [R, T] or [T]."""
    T = ids.shape[-1]
    flat = [None if column is None else column.reshape(-1, T).cpu() for column in (targets.document, position)]
    document, position = flat
    return tuple(
        row_of(
            row.cpu().numpy(),
            _row(targets, number),
            document=_array(document, number),
            position=_array(position, number),
        )
        for number, row in enumerate(ids.reshape(-1, T))
    )


def _row(targets: Targets, number: int) -> Targets:
    T = targets.shape[-1]
    return replace(
        targets,
        ids=targets.ids.reshape(-1, T)[number],
        reason=targets.reason.reshape(-1, T)[number],
        weight=None if targets.weight is None else targets.weight.reshape(-1, T)[number],
        document=None,
    )


def _array(column: Tensor | None, number: int) -> npt.NDArray[np.int64] | None:
    return None if column is None else column[number].numpy().astype(np.int64)


def _counting(ids: Tensor) -> Tensor:
    """Positions [R, T] of rows that are read as one text."""
    return torch.arange(ids.shape[-1]).expand(ids.shape)


def _spans(pieces: Sequence[Piece]) -> list[Span]:
    """Roles of a row's pieces."""
    spans, begin = [], 0
    for piece in pieces:
        for span in piece.example.spans:
            start, stop = max(span.start, piece.start), min(span.stop, piece.stop)
            if start < stop:
                move = begin - piece.start
                spans.append(Span(start=start + move, stop=stop + move, role=span.role))
        begin += len(piece)
    return spans
