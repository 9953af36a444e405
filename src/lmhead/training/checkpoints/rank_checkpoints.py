"""Asynchronous checkpoints of many ranks: each copies its part and writes it beside training, then one publishes all.

    step-N/model.safetensors, config.json, ...   as of one process: rank 0 writes the whole model
    step-N/ranks/__R_0.distcp, .metadata         what is trained, optimisers' states, average, masters, by DCP
    step-N/ranks/random-R-of-W.safetensors       random state of each rank
    step-N/ranks/state.json                      step, tokens, seconds, fingerprints

Nothing of it has its name before all ranks have written and summed their files: SHA256SUMS, then a rename.
"""

import json
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, final

import torch.distributed as dist
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystem, FileSystemWriter
from torch.distributed.checkpoint.state_dict_saver import async_save

from lmhead.errors import InputError
from lmhead.ranks.own_part import reshard
from lmhead.ranks.process_ranks import ProcessRanks
from lmhead.training.checkpoint import Progress
from lmhead.training.checkpoints.random_states import random_file, random_state, write_random_state
from lmhead.training.checkpoints.rank_files import INDEX, STATE_FILE, first_failure
from lmhead.training.checkpoints.state_tensors import state_tensors
from lmhead.training.optimizers.optimizer import Optimizers
from lmhead.training.run.checkpoint_sums import files_of, sums_of
from lmhead.training.run.checkpoints import RANKS_FOLDER
from lmhead.training.run.files import told
from lmhead.training.run.run_folder import RunFolder
from lmhead.training.weights.average import WeightAverage
from lmhead.training.weights.trained_state import frozen_fingerprint

_LOOK_AGAIN: Final = 0.05  # seconds


@dataclass(frozen=True, slots=True)
class _Saving:
    """A checkpoint that is being written."""

    step: int
    written: Future[dict[str, str]]  # the sums of this rank's files


@final
class _Files(FileSystem):
    def mkdir(self, path: str | os.PathLike[str]) -> None:
        """One folder: of a run that was removed or moved away meanwhile none is made again."""
        Path(path).mkdir(exist_ok=True)


@final
class RankCheckpoints:
    """Saves a run of many ranks; what is collective says so, and is called by all of them in one order.

        checkpoints.begin(progress, export)           collective, soon done
        ...                                           training goes on
        checkpoints.written()                         each rank's own: to be joined by all in what they sum each step
        checkpoints.publish(keep=2)                   collective, when all have written

    Args:
        run: written to by rank 0 alone.
        model: sharded, with its optimisers and its average.
    """

    def __init__(
        self,
        run: RunFolder,
        ranks: ProcessRanks,
        model: nn.Module,
        optimizers: Optimizers,
        average: WeightAverage | None,
    ) -> None:
        self._run, self._ranks = run, ranks
        self._model, self._optimizers, self._average = model, optimizers, average
        limit = timedelta(seconds=ranks.timeout)
        self._group = dist.new_group(backend="gloo", timeout=limit)  # of its own: training has collectives meanwhile
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._frozen: list[str | None] = []  # the fingerprint, once it is known
        self._saving: _Saving | None = None

    @property
    def step(self) -> int | None:
        """Of the checkpoint that is being written; None where none is."""
        return None if self._saving is None else self._saving.step

    def begin(
        self, progress: Progress, export: Callable[[Path], None], *, keep: int, protect: frozenset[int] = frozenset()
    ) -> None:
        """Copy the state of this step, and begin to write it. Collective. An earlier one is published before.

        Args:
            export: on rank 0, fills a folder with the model for anybody; called beside training, with nothing of it.
            keep: of an earlier one, as in `publish`.

        Raises:
            InputError: on all ranks: the disk is full or cannot be written.
        """
        self.wait(keep=keep, protect=protect)
        draft = self._ranks.agreed(lambda: self._run.begin(progress.step))
        if draft is None:
            return
        self._require_shared(progress.step, draft)
        reshard(self._model)
        tensors = state_tensors(self._model, self._optimizers, self._average)
        if not self._frozen:
            self._frozen.append(frozen_fingerprint(self._model))
        state = _state(progress, self._frozen[0], self._average, self._ranks)
        random = random_state(next(self._model.parameters()).device)
        writer = FileSystemWriter(draft / RANKS_FOLDER)
        writer.fs = _Files()
        saved = async_save(tensors, storage_writer=writer, process_group=self._group)
        assert isinstance(saved, Future)
        written = self._thread.submit(self._write, draft, saved, random, state, export)
        self._saving = _Saving(progress.step, written)

    def written(self) -> bool:
        """Whether this rank's part is on the disk and summed, or has failed; False where nothing is being written."""
        return self._saving is not None and self._saving.written.done()

    def publish(self, *, keep: int, protect: frozenset[int] = frozenset()) -> Path:
        """Give the checkpoint its name once all ranks have written; remove all but the newest `keep` and `protect`.

        Collective.

        Raises:
            InputError: on all ranks, where one could not write; nothing of it is left, and the older ones stay.
        """
        assert self._saving is not None
        saving, self._saving = self._saving, None
        gathered = self._ranks.gathered(_outcome(saving.written, self._ranks.rank))

        def publish() -> Path:
            assert gathered is not None
            with self._run.saving(saving.step):
                if failed := [said for said in gathered if isinstance(said, str)]:
                    raise InputError(failed[0])
            sums = {name: value for said in gathered if isinstance(said, dict) for name, value in said.items()}
            return self._run.finish(saving.step, keep=keep, protect=protect, sums=sums)

        return self._ranks.agreed(publish)

    def wait(self, *, keep: int, protect: frozenset[int] = frozenset()) -> Path | None:
        """Publish what is being written, when all have written it; its folder, None where nothing is. Collective.

        Raises:
            InputError: as of `publish`.
        """
        if self._saving is None:
            return None
        while self._ranks.summed([float(self.written())])[0] < self._ranks.size:  # none waits long in one collective
            self._ranks.beat()
            wait([self._saving.written], _LOOK_AGAIN)
        return self.publish(keep=keep, protect=protect)

    def _require_shared(self, step: int, draft: Path) -> None:
        seen = self._ranks.everyone(draft.is_dir())
        if not all(seen):

            def refuse() -> None:
                with self._run.saving(step):
                    raise InputError(
                        f"rank {seen.index(False)} does not see {draft}: take a folder that all hosts share"
                    )

            self._ranks.agreed(refuse)

    def _write(
        self, draft: Path, saved: Future[Any], random: dict[str, Tensor], state: str, export: Callable[[Path], None]
    ) -> dict[str, str]:
        """Write what DCP does not; the sums of all files that this rank has written."""
        folder = draft / RANKS_FOLDER
        try:
            if self._ranks.first:
                draft.stat()  # as of `_Files`: whoever writes a model makes all folders on the way
                export(draft)
        finally:
            wait([saved])  # nothing is written any more once this has ended
        saved.result()
        write_random_state(folder, random, self._ranks)
        if self._ranks.first:
            (folder / STATE_FILE).write_text(state, encoding="utf-8")
        return sums_of(draft, [name for name in files_of(draft) if self._is_own(name)])

    def _is_own(self, name: str) -> bool:
        folder, _, file = name.rpartition("/")
        if folder != RANKS_FOLDER:
            return self._ranks.first
        once = self._ranks.first and file in (INDEX, STATE_FILE)
        return once or file == random_file(self._ranks.rank, self._ranks.size) or file.startswith(self._prefix)

    @property
    def _prefix(self) -> str:
        """Of the files that DCP writes on this rank."""
        return f"__{self._ranks.rank}_"


def _state(progress: Progress, frozen: str | None, average: WeightAverage | None, ranks: ProcessRanks) -> str:
    mean = None if average is None else {key: average.state_dict()[key] for key in ("count", "since")}
    known = {**asdict(progress), "frozen": frozen, "average": mean, "ranks": ranks.size, "mesh": str(ranks.plan)}
    return json.dumps(known, indent=2) + "\n"


def _outcome(written: Future[dict[str, str]], rank: int) -> dict[str, str] | str:
    """The sums of the files that this rank has written, or what went wrong on it."""
    error = written.exception()
    if error is None:
        return written.result()
    if isinstance(error, CheckpointException):
        rank, error = first_failure(error)
    expected = isinstance(error, OSError | SafetensorError | RuntimeError | InputError)
    return f"rank {rank}: {'' if expected else f'{type(error).__name__}: '}{told(error)}"
