"""Sources of a run's data: the names that its log tells losses by, and which one each document is of.

A source is a file, a data set, or what rows name in a column (Place.origin). Up to 32 are told one by one; of more
the log tells groups (source_groups.py), whose sums are exact too. Training and held-out data have the same names.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmhead.batches.contract import DocumentTable, HeldOut, TrainingRows
from lmhead.batches.source_groups import MOST_LOGGED, source_groups


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sources:
    """Made once for a run."""

    names: tuple[str, ...]
    train: npt.NDArray[np.intp]  # [N], of each training document: its place among the names
    held_out: npt.NDArray[np.intp]  # [N], of each held-out document

    @staticmethod
    def of(rows: TrainingRows, held_out: HeldOut) -> "Sources":
        """Those of a run's data, training sources first."""
        tables = (rows.table(), held_out.table())
        groups = grouped(*tables)
        number = {name: place for place, name in enumerate(dict.fromkeys(groups.values()))}
        train, held = (
            np.array([number[groups[source]] for source in table.sources], np.intp)[table.source] for table in tables
        )
        return Sources(names=tuple(number), train=train, held_out=held)


def grouped(*tables: DocumentTable) -> dict[str, str]:
    """The name that each source has in a log, by the tokens of its documents in all the tables."""
    tokens: Counter[str] = Counter()
    for table in tables:
        sums = np.bincount(table.source, table.tokens, len(table.sources)).astype(np.int64).tolist()
        tokens.update(dict(zip(table.sources, sums, strict=True)))
    return source_groups(tokens, most=MOST_LOGGED)
