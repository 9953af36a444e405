"""Token classes: an evaluation's loss by position, by how frequent the target is in training, by source and by part.

Bands, of each scored token:

    position    how many tokens of its document stand before the one that predicts it, in factors of four
    frequency   how often the target is to be predicted in all of the training data, in factors of ten
    source      the file, the data set, or what its row names (batches/sources.py), of many the folder
    part        of conversations: what is learnt, and of some of them the prompt, which is not (evaluate.py)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from lmhead.batches.contract import HeldOut, TrainingRows
from lmhead.batches.sources import Sources
from lmhead.evaluation.position_bands import POSITION_EDGES, bands, position_bands
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.ops.problem import TokenStatistics

_COUNTS: Final = tuple(10**power for power in range(8))
_PARTS: Final = ("prompt", "response")
Means = dict[str, tuple[float, int]]  # by class: nats a token, tokens


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenClasses:
    """How tokens of held-out data are told apart: made once for a run, the same for each of its evaluations."""

    frequency: npt.NDArray[np.intp]  # [ids]: the band of each id; beyond them it is 0, never to be predicted
    source: npt.NDArray[np.intp]  # [N]: of each held-out document, its place among `sources`
    sources: Sequence[str]
    parts: bool  # whether there are prompts and responses

    @staticmethod
    def of(rows: TrainingRows, held_out: HeldOut, sources: Sources | None = None) -> "TokenClasses":
        """The classes of a run's data.

        Args:
            sources: of the same; None: they are made here.
        """
        sources = sources or Sources.of(rows, held_out)
        return TokenClasses(
            frequency=np.searchsorted(_COUNTS, rows.target_counts(), side="right"),
            source=sources.held_out,
            sources=sources.names,
            parts=held_out.answers,
        )

    def sums(self) -> "ClassSums":
        """An evaluation's sums, of no token yet."""
        return ClassSums(self)


class ClassSums:
    """Summed nll and counted tokens of each class."""

    def __init__(self, classes: TokenClasses) -> None:
        self._classes = classes
        self._sums: dict[str, npt.NDArray[np.float64]] = {}  # [2, classes]: nats, tokens

    def add(self, batch: PackedBatch, statistics: TokenStatistics) -> None:
        """A batch with the statistics of what it scores, and perhaps of prompts, which are no part of its targets."""
        known = statistics.scored.cpu().numpy()
        nll = statistics.nll.cpu().double().numpy()
        scored = batch.targets.scored.cpu().numpy()
        if self._classes.parts:
            self._add("part", scored[known].astype(np.intp), nll[known])
        at = known & scored
        target = batch.targets.ids.cpu().numpy()[at]
        frequency = self._classes.frequency
        band = frequency[np.minimum(target, len(frequency) - 1)] * (target < len(frequency))
        position = np.searchsorted(POSITION_EDGES, batch.document_positions.cpu().numpy()[at], side="right")
        self._add("position", position, nll[at])
        self._add("frequency", band, nll[at])
        self._add("source", self._classes.source[batch.source.cpu().numpy()[at]], nll[at])

    def means(self) -> dict[str, Means]:
        """Of each kind of class the classes that have tokens, in their order."""
        names: dict[str, Sequence[str]] = {
            "position": position_bands(),
            "frequency": ["never", *bands(_COUNTS, "{:,}-{:,} times", "{:,} times and more")[1:]],
            "source": self._classes.sources,
            "part": _PARTS,
        }
        return {kind: _means(names[kind], self._sums[kind]) for kind in names if kind in self._sums}

    def _add(self, kind: str, number: npt.NDArray[np.intp], nll: npt.NDArray[np.float64]) -> None:
        most = max(len(POSITION_EDGES), len(_COUNTS), len(self._classes.sources)) + 1
        made = np.stack([np.bincount(number, nll, most), np.bincount(number, minlength=most).astype(np.float64)])
        self._sums[kind] = made + self._sums[kind] if kind in self._sums else made


def _means(names: Sequence[str], sums: npt.NDArray[np.float64]) -> Means:
    return {
        name: (float(f"{nll / tokens:.12g}"), int(tokens))
        for name, nll, tokens in zip(names, *sums.tolist(), strict=False)
        if tokens
    }
