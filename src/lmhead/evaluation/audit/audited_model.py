"""AuditedModel: a model, rows, how it reads them one at a time, and how far rounding may move that."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import torch

from lmhead.evaluation.audit.audited_rows import AuditedRow
from lmhead.evaluation.audit.probe_result import Change
from lmhead.evaluation.audit.readings import Nll, Reader, read_alone, read_together
from lmhead.evaluation.audit.rounding import tolerance

BATCH: Final = 8  # rows that are read at once


@dataclass(frozen=True, kw_only=True, eq=False)
class AuditedModel:
    """What probes are asked of."""

    reader: Reader
    rows: list[AuditedRow]  # the longest first
    alone: Nll  # each row read by itself
    vocab_size: int

    @staticmethod
    def of(reader: Reader, rows: Sequence[AuditedRow]) -> "AuditedModel":
        """Read each row by itself; rows of about one length stand together from then on."""
        ordered = sorted(rows, key=lambda row: -len(row))
        return AuditedModel(
            reader=reader, rows=ordered, alone=read_alone(reader, ordered), vocab_size=reader.model.vocab_size
        )

    @cached_property
    def tolerance(self) -> float:
        """Nats that one token may move by rounding."""
        return tolerance(self.reader, self.rows, self.alone)

    def groups(self, size: int = BATCH) -> Iterator[slice]:
        """Rows that are read at once."""
        for start in range(0, len(self.rows), size):
            yield slice(start, start + size)

    @cached_property
    def together(self) -> Change:
        """Rows at once, without padding, against each by itself."""
        made = self.read(lambda rows: read_together(self.reader, rows))
        return Change.between(self.rows, self.alone, made)

    @cached_property
    def at_once(self) -> int:
        """How many rows other probes read at once: one, where that alone changes the figure."""
        return 1 if self.together.largest > self.tolerance else BATCH

    def read(self, read: Callable[[list[AuditedRow]], Nll], *, size: int = BATCH) -> Nll:
        """Another reading of the rows, some at a time."""
        made: Nll = []
        for group in self.groups(size):
            made += read(self.rows[group])
        return made

    def in_dtype(self, dtype: torch.dtype) -> "AuditedModel":
        """The same rows read by themselves in another dtype of autocast."""
        reader = replace(self.reader, dtype=dtype)
        return replace(self, reader=reader, alone=read_alone(reader, self.rows))
