"""Checkpointing: of one process a checkpoint is published at once, of several it is begun, and published later."""

from pathlib import Path
from typing import TYPE_CHECKING, final

import torch

from lmhead.training.checkpoint import Progress, write_checkpoint
from lmhead.training.optimizers.optimizer import Optimizers
from lmhead.training.reporter import Reporter
from lmhead.training.run.run_folder import RunFolder
from lmhead.training.setup import Ready
from lmhead.training.weights.average import WeightAverage
from lmhead.training.weights.published_model import write_model

if TYPE_CHECKING:
    from lmhead.training.checkpoints.rank_checkpoints import RankCheckpoints


@final
class Checkpointing:
    """Saves a run. All ranks make the same calls.

    Args:
        keep: so many checkpoints, and those that are protected.
    """

    def __init__(
        self,
        run: RunFolder,
        ready: Ready,
        optimizers: Optimizers,
        average: WeightAverage | None,
        reporter: Reporter,
        *,
        keep: int,
    ) -> None:
        self._run, self._ready, self._optimizers, self._average = run, ready, optimizers, average
        self._reporter, self._keep = reporter, keep
        self._protected: frozenset[int] = frozenset()
        self.saved: int | None = None  # step of the newest checkpoint
        self._many = None if ready.blueprint is None else _of_ranks(run, ready, optimizers, average)

    def begin(self, progress: Progress, *, protect: frozenset[int]) -> None:
        """Save this step, if that is not done or begun yet. Of several ranks the state is copied, and written beside
        training.

        Raises:
            InputError: the disk is full or cannot be written; earlier checkpoints stay.
        """
        self._protected = protect
        if self.saved == progress.step:
            return
        ready = self._ready
        if self._many is None:
            folder = self._run.publish(
                progress.step,
                lambda draft: write_checkpoint(
                    draft, ready.model, self._optimizers, ready.tokenizer, progress, self._average
                ),
                keep=self._keep,
                protect=protect,
            )
            self._published(progress.step, folder)
        elif self._many.step != progress.step:
            self.settle()
            plain = ready.plain_model(self._average, device=torch.device("cpu"))  # written from there
            self._many.begin(
                progress,
                lambda draft: write_model(draft, plain, ready.tokenizer),
                keep=self._keep,
                protect=protect,
            )

    @property
    def written(self) -> bool:
        """Whether this rank has written its part of what was begun."""
        return self._many is not None and self._many.written()

    def publish(self) -> None:
        """Give what was begun its name: all ranks have written it."""
        if self._many is not None and (step := self._many.step) is not None:
            self._published(step, self._many.publish(keep=self._keep, protect=self._protected))

    def settle(self) -> None:
        """Wait until what was begun is published.

        Raises:
            InputError: as of `begin`.
        """
        if self._many is not None and (step := self._many.step) is not None:
            folder = self._many.wait(keep=self._keep, protect=self._protected)
            assert folder is not None
            self._published(step, folder)

    def _published(self, step: int, folder: Path) -> None:
        self.saved = step
        self._reporter.saved(step, str(folder))


def _of_ranks(run: RunFolder, ready: Ready, optimizers: Optimizers, average: WeightAverage | None) -> "RankCheckpoints":
    from lmhead.ranks.process_ranks import ProcessRanks
    from lmhead.training.checkpoints.rank_checkpoints import RankCheckpoints

    assert isinstance(ready.ranks, ProcessRanks)
    return RankCheckpoints(run, ready.ranks, ready.model, optimizers, average)
