"""Rows that somebody tokenised, looked at as they are: what lmhead.audit finds in a batch, found in a stream."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from lmhead.data.rows.format_columns import MASKS
from lmhead.data.rows.row import Place
from lmhead.errors import IGNORE_INDEX, ArgumentError, ArgumentTypeError
from lmhead.inspection.batch.audit import audit
from lmhead.inspection.batch.special_ids import SpecialIds
from lmhead.inspection.finding import Finding
from lmhead.labels.collated.batch_documents import BOUND_KEYS, DOCUMENT_KEYS, LENGTH_KEYS

_MOST_ROWS: Final = 512  # looked at together
_MOST_TOKENS: Final = 1 << 20
_READ: Final = ("input_ids", "labels", "attention_mask", "position_ids", *DOCUMENT_KEYS, *BOUND_KEYS, *LENGTH_KEYS)
_TOLD_ELSEWHERE: Final = {"nothing_trained", "row_without_labels"}  # by the refusals
_OF_ALL: Final = {"everything_trained"}  # true where it is true of each part


class TokenAudit:
    """Audits rows a few hundred at a time, and adds up what is found."""

    def __init__(self, vocabulary: SpecialIds) -> None:
        self._vocabulary = vocabulary
        self._waiting: list[tuple[Place, dict[str, Any]]] = []
        self._longest = 0
        self._parts = 0
        self._found: dict[tuple[str, str], Finding] = {}
        self._met_in: dict[str, int] = {}  # code -> parts
        self._ends_learnt = False

    def add(self, place: Place, columns: Mapping[str, Any]) -> None:
        """One row: input_ids, labels or masks, and what else a batch may have."""
        row = _with_labels({name: columns[name] for name in (*_READ, *MASKS) if columns.get(name) is not None})
        longest = max(self._longest, len(row["input_ids"]))
        full = len(self._waiting) >= _MOST_ROWS or longest * (len(self._waiting) + 1) > _MOST_TOKENS
        if self._waiting and (full or row.keys() != self._waiting[0][1].keys()):
            self._look()
        self._waiting.append((place, row))
        self._longest = max(self._longest, len(row["input_ids"]))

    def findings(self) -> Iterator[Finding]:
        """Everything that was found, once all rows are in."""
        if self._waiting:
            self._look()
        for (code, _), finding in self._found.items():
            partly = code in _OF_ALL and self._met_in[code] < self._parts
            if not partly and not (code == "end_not_trained" and self._ends_learnt):
                yield finding

    def _look(self) -> None:
        rows, self._waiting, self._longest = self._waiting, [], 0
        try:
            self._take(rows)
        except (ArgumentError, ArgumentTypeError):  # some row is no row; the reader of the format tells of it
            for row in rows:
                try:
                    self._take([row])
                except (ArgumentError, ArgumentTypeError):
                    continue

    def _take(self, rows: list[tuple[Place, dict[str, Any]]]) -> None:
        batch = {name: [row[name] for _, row in rows] for name in rows[0][1]}
        report = audit(batch, self._vocabulary)
        self._parts += 1
        self._ends_learnt |= any(map(self._learns_end, batch["labels"]))
        for finding in report.findings:
            if finding.code in _TOLD_ELSEWHERE:
                continue
            self._met_in[finding.code] = self._met_in.get(finding.code, 0) + 1
            placed = replace(finding, rows=(), spots=(), places=tuple(str(rows[index][0]) for index in finding.rows))
            key = finding.code, finding.severity
            self._found[key] = self._found[key].joined(placed) if key in self._found else placed

    def _learns_end(self, labels: Any) -> bool:
        return self._vocabulary.eos is not None and bool((np.asarray(labels)[1:] == self._vocabulary.eos).any())


def _with_labels(row: dict[str, Any]) -> dict[str, Any]:
    """The row with masks turned into labels; without either, everything is learnt."""
    masks = [row.pop(name) for name in MASKS if name in row]
    labels = row.get("labels", row["input_ids"])
    for mask in masks:
        if len(mask) == len(labels):
            labels = [label if learnt else IGNORE_INDEX for label, learnt in zip(labels, mask, strict=True)]
    return row | {"labels": labels}
