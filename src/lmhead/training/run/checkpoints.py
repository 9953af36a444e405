"""checkpoints/step-N: published whole, checked before they are believed; what is no checkpoint is passed over."""

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, final

from safetensors import SafetensorError

from lmhead.errors import InputError
from lmhead.options import option
from lmhead.shown import shell_word
from lmhead.training.run.checkpoint_sums import SUMS_FILE, DamagedError, files_of, sums_of, verify, write_sums
from lmhead.training.run.files import free_name, sync_folder, told, writing

TRAINING_FILE: Final = "training.pt"  # what resuming needs, of one process
RANKS_FOLDER: Final = "ranks"  # what it needs of many
_NAME: Final = re.compile(r"step-(0|[1-9][0-9]{0,17})")
_DRAFT, _OLD = ".draft-", ".old-"

Use = Literal["resume", "sample", "init"]


def verify_model(folder: Path) -> None:
    """Compare with their sums what sampling and `init` read of a checkpoint, or of any folder that has sums.

    Raises:
        DamagedError: a file is not what was written; the message names it.
    """
    verify(folder, without=(TRAINING_FILE, RANKS_FOLDER))


def step_of(folder: Path) -> int | None:
    """The step of a checkpoint's folder; None where it is named otherwise."""
    name = _NAME.fullmatch(folder.name)
    return None if name is None else int(name[1])


@final
class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, run: Path) -> None:
        self.run, self.folder = run, run / "checkpoints"

    def at(self, step: int) -> Path:
        """The folder of a checkpoint."""
        return self.folder / f"step-{step}"

    def steps(self) -> list[int]:
        """Steps of the checkpoints that were completed, rising; whether they are still whole is not looked at."""
        return [step for step, complete in self._found() if complete]

    def strays(self) -> list[Path]:
        """Folders named as checkpoints that never were complete ones."""
        return [self.at(step) for step, complete in self._found() if not complete]

    def _found(self) -> list[tuple[int, bool]]:
        if not self.folder.is_dir():
            return []
        try:
            names = [name for entry in self.folder.iterdir() if (name := _NAME.fullmatch(entry.name))]
        except OSError as error:
            raise InputError(f"cannot read {self.folder}: {error.strerror}") from None
        return [(step, self._complete(step)) for step in sorted(int(name[1]) for name in names)]

    def _complete(self, step: int) -> bool:
        return any((self.at(step) / name).exists() for name in (SUMS_FILE, TRAINING_FILE, RANKS_FOLDER))

    def latest(self) -> Path:
        """The newest complete checkpoint.

        Raises:
            InputError: none was completed.
        """
        steps = self.steps()
        if not steps:
            strays = ", ".join(stray.name for stray in self.strays())
            raise InputError(
                f"{self.run} has no complete checkpoint yet"
                + (f" ({strays}: incomplete)" if strays else "")
                + ": let it train for longer"
            )
        return self.at(steps[-1])

    def for_use(self, step: int | None, use: Use) -> Path:
        """The checkpoint of a step, by default the newest, every file of it that is used read and found as written.

        Raises:
            InputError: there is none, or it is damaged: the message names the file, the newest good checkpoint, and how
                that is taken.
        """
        if step is not None and step not in self.steps():
            incomplete = " (an incomplete folder of that name is there)" if self.at(step) in self.strays() else ""
            listed = ", ".join(map(str, self.steps())) or "none"
            raise InputError(f"{self.run} has no checkpoint of step {step}{incomplete}, it has {listed}")
        folder = self.latest() if step is None else self.at(step)
        try:
            self._verify(folder, use)
        except DamagedError as error:
            if not folder.exists():  # pruned while it was read: there is a newer one
                return self.for_use(step, use)
            raise InputError(f"{error.message.marked}; {self._way_on(folder, use)}") from None
        return folder

    def _verify(self, folder: Path, use: Use) -> None:
        if use == "resume":
            verify(folder)
        else:
            verify_model(folder)

    def _way_on(self, damaged: Path, use: Use) -> str:
        for step in reversed(self.steps()):
            if self.at(step) == damaged:
                continue
            try:
                self._verify(self.at(step), use)
            except DamagedError:
                continue
            return f"the newest good checkpoint is that of step {step}: {self._command(step, use)}"
        config = shell_word(str(self.run / "config.yaml"))
        return f"no other checkpoint is whole: train anew with lmhead train --config {config} --out ANOTHER"

    def _command(self, step: int, use: Use) -> str:
        run = shell_word(str(self.run))
        if use == "resume":
            return (
                f"go on from it with lmhead train --resume {run} --step {step} (the steps after {step} are taken again)"
            )
        if use == "init":
            return f"begin with it by {option('init', str(self.at(step)))}"
        return f"take it with lmhead sample {run} --step {step}"

    def set_aside_after(self, step: int) -> list[str]:
        """Rename every checkpoint later than `step`, for its steps are taken again; a sentence about each.

        Raises:
            InputError: the disk refuses.
        """
        notes = []
        for later in [later for later in self.steps() if later > step]:
            aside = free_name(self.folder / f"aside-step-{later}")
            with writing(aside):
                self.at(later).rename(aside)
            notes.append(f"checkpoint of step {later:,}: set aside as {aside}, nothing uses it any more")
        return notes

    def begin(self, step: int) -> Path | None:
        """A fresh folder, hidden, to be filled for `finish`; None where the checkpoint of that step is there already.

        What an earlier save left half done is removed: of one run, one checkpoint at a time is being saved.

        Raises:
            InputError: the disk is full or cannot be written.
        """
        if self._complete(step):
            return None
        with self.saving(step):
            self.folder.mkdir(exist_ok=True)
            self._sweep()
            self._draft(step).mkdir()
        return self._draft(step)

    def finish(
        self, step: int, *, keep: int, protect: frozenset[int] = frozenset(), sums: Mapping[str, str] | None = None
    ) -> Path:
        """Give the folder that `begin` made its name, once it is filled; then remove the old ones.

        The newest `keep` stay, and the steps of `protect`.

        Args:
            sums: of each of its files, by its name, where they are known.

        Raises:
            InputError: the disk is full or cannot be written; the checkpoints that were there stay.
        """
        draft, final = self._draft(step), self.at(step)
        with self.saving(step):
            known = sums_of(draft, files_of(draft)) if sums is None else sums
            if missing := sorted(set(known) - set(files_of(draft))):
                raise InputError(f"{missing[0]} of another host is not seen here: take a folder that all hosts share")
            write_sums(draft, known)
            for folder in (path for path in (draft, *draft.rglob("*")) if path.is_dir()):
                sync_folder(folder)
            self._make_way(final)
            draft.rename(final)
            sync_folder(self.folder)
        for old in self.steps()[:-keep]:
            if old not in protect:
                self._remove(old)
        return final

    @contextmanager
    def saving(self, step: int) -> Iterator[None]:
        """Whatever fails in here removes what was written of that checkpoint.

        Raises:
            InputError: the disk is full or cannot be written; the checkpoints that were there stay.
        """
        try:
            yield
        except BaseException as error:
            shutil.rmtree(self._draft(step), ignore_errors=True)
            if not isinstance(error, OSError | SafetensorError | RuntimeError | InputError):
                raise
            steps = self.steps()
            last = f"the last good checkpoint is {self.at(steps[-1])}" if steps else "none was saved"
            raise InputError(
                f"cannot save {self.at(step)}: {told(error)}; {last}; "
                f"after that: lmhead train --resume {shell_word(str(self.run))}"
            ) from error

    def _draft(self, step: int) -> Path:
        return self.folder / f"{_DRAFT}step-{step}"

    def _make_way(self, final: Path) -> None:
        """Move away what has a checkpoint's name and is none."""
        if os.path.lexists(final):
            final.rename(free_name(final.with_name(f"stray-{final.name}")))

    def _remove(self, step: int) -> None:
        """Whoever reads it finds it whole, or gone."""
        old = free_name(self.folder / f"{_OLD}step-{step}")
        try:
            self.at(step).rename(old)
        except OSError:
            return  # it stays, and costs space only
        shutil.rmtree(old, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what a kill left half written or half removed."""
        for entry in self.folder.iterdir():
            if entry.name.startswith((_DRAFT, _OLD)):
                shutil.rmtree(entry, ignore_errors=True)
