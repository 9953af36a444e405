"""The source of each row of a Trainer's evaluation: a column of the data set, carried past the collator and the model.

Trainer drops the columns that the model's forward does not name, and collators make tensors of all they get. So the
column is kept, taken out of the rows before they are collated, and put beside what the collator makes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lmhead.errors import ArgumentError
from lmhead.options import option
from lmhead.shown import shown_value


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceCollator:
    """A collator whose batches have, under the column's name, the source of each row [B]."""

    collator: Callable[[Sequence[Any]], dict[str, Any]]
    source_key: str

    def __call__(self, features: Sequence[Any]) -> dict[str, Any]:
        """One batch.

        Raises:
            ArgumentError: a row has no such column, or what it holds is no name.
        """
        names = [_name(feature, self.source_key) for feature in features]
        rest = [{name: value for name, value in row.items() if name != self.source_key} for row in features]
        return {**self.collator(rest), self.source_key: names}


@contextmanager
def kept_source_column(trainer: Any, source_key: str | None) -> Iterator[None]:
    """Loaders that are made meanwhile by a Trainer have the column in their batches."""
    if source_key is None:
        yield
        return
    trainer._set_signature_columns_if_needed()
    collator, columns = trainer.data_collator, trainer._signature_columns
    trainer.data_collator = SourceCollator(collator=collator, source_key=source_key)
    trainer._signature_columns = [*columns, source_key]
    try:
        yield
    finally:
        trainer.data_collator, trainer._signature_columns = collator, columns


def _name(feature: Any, key: str) -> str:
    there = feature if isinstance(feature, Mapping) else {}
    if key not in there:
        got = f"rows with {', '.join(map(str, there))}" if there else f"rows of {type(feature).__name__}"
        raise ArgumentError(
            f"{option('source_key')} must name a column of the data set that is evaluated, got {shown_value(key)} for "
            f"{got}: add it, dataset.add_column({key!r}, names)"
        )
    value = there[key]
    if not isinstance(value, str | int) or value == "":
        raise ArgumentError(f"{key} must be a text or a whole number, one a row, got {shown_value(value)}")
    return str(value)
