"""A run is a folder: config.yaml, tokenizer.json, log.jsonl, report.html, checkpoints/step-N/; the chat template too.

Whatever is in it is whole at any moment: files are replaced by rename, a checkpoint is published by rename when it is
complete, and the log's last line may be cut off by a kill (it is dropped on resume). One process at a time writes into
it, by a lock (.lock); reading needs none. The parts are in lmhead/training/run/.
"""

import contextlib
import itertools
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from lmhead.errors import InputError, LmheadError
from lmhead.options import option
from lmhead.shown import shell_word
from lmhead.training.config.train_config import TrainConfig, read_yaml, to_yaml
from lmhead.training.run.checkpoint_sums import is_checkpoint
from lmhead.training.run.checkpoints import Checkpoints, Use
from lmhead.training.run.files import replace_file, told, writing
from lmhead.training.run.lock import LOCK_FILE, RunLock, holder
from lmhead.training.run.log import LOG_FILE, Record, RunLog
from lmhead.training.run.seal import CHECKPOINT_CONFIG, SEAL_FILE, Seal

_BEFORE_THE_FIRST_STEP = (
    "config.yaml",
    SEAL_FILE,
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "chat_template.jinja",
    "skipped.jsonl",
)
_DRAFTS = tuple(f".{name}.tmp" for name in _BEFORE_THE_FIRST_STEP)


class RunFolder:
    """Reads and writes one run's folder. As a context manager it lets its lock go at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.yaml"
        self.tokenizer_file = path / "tokenizer.json"
        self.log_file = path / LOG_FILE
        self.checkpoints = path / "checkpoints"
        self.lock = RunLock(path)
        self._log, self._checkpoints = RunLog(self.log_file), Checkpoints(path)
        self._seal: Seal | None = None  # what the next checkpoint holds
        self._made: list[Path] | None = None  # folders that `create` made, the innermost first; None: an earlier run

    @property
    def name(self) -> str:
        """Of the folder."""
        return self.path.resolve().name

    @staticmethod
    def create(path: Path) -> "RunFolder":
        """A new run's empty folder, locked.

        Raises:
            InputError: the folder holds something already, another process trains into it, or it cannot be made.
        """
        try:
            made = _missing(path)
            _require_free(path)
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the output folder {path}: {told(error)}") from None
        return RunFolder._claimed(path, made)

    @staticmethod
    def create_in(parent: Path) -> "RunFolder":
        """A new run's folder in `parent`, locked, named after the time; of several at one time each has its own.

        Raises:
            InputError: it cannot be made.
        """
        stamp = time.strftime("%Y%m%d-%H%M%S")
        for number in itertools.count(1):
            path = parent / (stamp if number == 1 else f"{stamp}-{number}")
            try:
                made = _missing(path)
                path.mkdir(parents=True)
            except FileExistsError:
                if path.is_dir():
                    continue
                raise InputError(f"cannot make the output folder {path}: {parent} is no folder") from None
            except OSError as error:
                raise InputError(f"cannot make the output folder {path}: {told(error)}") from None
            return RunFolder._claimed(path, made)
        raise AssertionError  # there are more numbers than folders

    @staticmethod
    def _claimed(path: Path, made: list[Path]) -> "RunFolder":
        run = RunFolder(path)
        run._made = made
        try:
            run.lock.acquire()
        except InputError:
            _remove_empty(made)
            raise
        try:
            _require_free(path)  # another process may have come, and gone, in between
        except InputError:
            run.lock.release()
            raise
        for name in (*_BEFORE_THE_FIRST_STEP, *_DRAFTS):  # of a start that was killed
            with writing(path / name):
                (path / name).unlink(missing_ok=True)
        return run

    @staticmethod
    def open(path: Path) -> "RunFolder":
        """An existing run, not locked.

        Raises:
            InputError: there is none.
        """
        run = RunFolder(path)
        if is_checkpoint(path) and not run.config_file.is_file():
            owner, step = shell_word(str(path.parent.parent)), path.name.removeprefix("step-")
            raise InputError(f"{path} is a checkpoint: give its run, {owner}, and {option('step', int(step))}")
        if not run.config_file.is_file() and run.seal() is None:
            raise InputError(f"no run in {path}: it has no config.yaml")
        return run

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.lock.release()

    def abandon(self) -> None:
        """Remove what a run wrote that never came to its first step, and the folders that were made for it."""
        if self._made is None or self.log_file.exists() or self.checkpoints.exists():
            return
        for name in (*_BEFORE_THE_FIRST_STEP, LOCK_FILE):  # the lock last, while it is held
            with contextlib.suppress(OSError):
                (self.path / name).unlink(missing_ok=True)
        self.lock.release()
        _remove_empty(self._made)

    def config(self) -> TrainConfig:
        """The run's resolved configuration.

        Raises:
            InputError: config.yaml is missing or damaged; how to mend it is said.
        """
        try:
            if self.config_file.is_file() and not self.config_file.read_bytes().strip():
                raise InputError(f"{self.config_file} is empty")
            return read_yaml(self.config_file)
        except OSError as error:
            raise InputError(f"cannot read {self.config_file}: {error.strerror}") from None
        except LmheadError as error:
            raise InputError(f"{error.message.marked}{self._mending()}") from None

    def _mending(self) -> str:
        """How config.yaml becomes again what was sealed."""
        for file in self._seal_files():
            if Seal.read(file) is not None:
                return (
                    f": its sealed copy is whole, so put that back: "
                    f"cp {shell_word(str(file))} {shell_word(str(self.config_file))}"
                )
        return ""

    def _seal_files(self) -> list[Path]:
        """Where the config is sealed, the latest first."""
        steps = reversed(self._checkpoints.steps())
        return [self.path / SEAL_FILE, *(self.checkpoint(step) / CHECKPOINT_CONFIG for step in steps)]

    def seal(self) -> Seal | None:
        """What the run was started with, or goes on with since it was made longer; None where nothing says it."""
        return next((seal for file in self._seal_files() if (seal := Seal.read(file)) is not None), None)

    def sealed_config(self, checkpoint: Path | None) -> TrainConfig:
        """config.yaml's content, after it was compared with what is sealed: in RUN/.sealed.yaml and in a checkpoint.

        Raises:
            InputError: it is damaged, or fields differ that decide the run's numbers; they are named, with both values.
        """
        config = self.config()
        own = Seal.read(self.path / SEAL_FILE)
        then = None if checkpoint is None else Seal.read(checkpoint / CHECKPOINT_CONFIG)
        config = config if own is None else own.current(config)
        broken = [] if own is None else own.broken_by(config, steps=True)
        if not broken and then is not None:  # the checkpoint of a timed run, or of one made longer, has other steps
            broken = then.broken_by(config, steps=own is None and then.config.steps is not None)
        if broken:
            raise InputError(
                f"{self.config_file} must stay as it was sealed when the run began, got {'; '.join(broken)}"
                f"{self._mending()}; "
                f"or start a new run: lmhead train --config {shell_word(str(self.config_file))} --out ANOTHER"
                + (
                    f"; {option('steps')} with {option('resume')} makes a run longer"
                    if any("steps: " in each for each in broken)
                    else ""
                )
            )
        return config

    def write_config(self, config: TrainConfig, *, fingerprint: str | None = None) -> None:
        """Replace config.yaml, and seal it: here, and in every checkpoint from now on.

        Args:
            fingerprint: of the training data; None: as it was sealed before.
        """
        self._require_here()
        self._seal = Seal.after(self._seal or Seal.read(self.path / SEAL_FILE), config, fingerprint)
        self._seal.write(self.path / SEAL_FILE)
        replace_file(self.config_file, to_yaml(config))

    def write_text(self, name: str, text: str) -> None:
        """Replace a file of the run."""
        self._require_here()
        replace_file(self.path / name, text)

    def log(self, *records: Record) -> None:
        """Append records to log.jsonl."""
        self._require_here()
        self._log.append(*records, then=self._then())

    def head(self, header: Record, *, step: int) -> None:
        """Add a header to log.jsonl, where the newest there says something else."""
        self._require_here()
        self._log.head(header, step=step, then=self._then())

    def records(self) -> list[Record]:
        """Every whole record of the log.

        Raises:
            InputError: a line of it is no record.
        """
        return self._log.records()

    def readable_records(self) -> list[Record]:
        """Every record of the log that can be read, however it is damaged."""
        return self._log.salvage()[0]

    def go_back_to(self, step: int) -> list[str]:
        """Make the folder that of a run which has taken `step` steps: later checkpoints are set aside, the log is cut.

        Returns what has to be told of that, a sentence each.
        """
        strays = [f"{stray} is no complete checkpoint: passed over" for stray in self._checkpoints.strays()]
        note = self._log.rewind(step)
        return [*strays, *self._checkpoints.set_aside_after(step), *([] if note is None else [note])]

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, rising."""
        return self._checkpoints.steps()

    def checkpoint(self, step: int) -> Path:
        """The folder of a checkpoint."""
        return self._checkpoints.at(step)

    def latest(self) -> Path:
        """The newest complete checkpoint, unchecked.

        Raises:
            InputError: none was completed.
        """
        return self._checkpoints.latest()

    def checkpoint_for_use(self, step: int | None = None, *, use: Use = "sample") -> Path:
        """The checkpoint of a step, by default the newest, after its files were compared with their sums.

        Raises:
            InputError: there is none, or it is damaged: the message names the file and the newest good checkpoint.
        """
        return self._checkpoints.for_use(step, use)

    def publish(
        self, step: int, write: Callable[[Path], None], *, keep: int, protect: frozenset[int] = frozenset()
    ) -> Path:
        """Let `write` fill a fresh folder, then give it its name; then remove all but the newest `keep` and `protect`.

        Raises:
            InputError: the disk is full or cannot be written; the checkpoints that were there stay.
        """
        draft = self.begin(step)
        if draft is None:
            return self.checkpoint(step)
        with self.saving(step):
            write(draft)
        return self.finish(step, keep=keep, protect=protect)

    def begin(self, step: int) -> Path | None:
        """A fresh folder with the sealed config, to be filled and then given its name by `finish`.

        None where the checkpoint of that step is there already.

        Raises:
            InputError: the disk is full or cannot be written.
        """
        self._require_here()
        self._log.sync()
        draft = self._checkpoints.begin(step)
        if draft is not None and self._seal is not None:
            with self.saving(step):
                self._seal.write(draft / CHECKPOINT_CONFIG)
        return draft

    def saving(self, step: int) -> AbstractContextManager[None]:
        """Whatever fails in here removes what was written of that checkpoint, and is told as an InputError."""
        return self._checkpoints.saving(step)

    def finish(
        self, step: int, *, keep: int, protect: frozenset[int] = frozenset(), sums: Mapping[str, str] | None = None
    ) -> Path:
        """Publish what `begin` began; then remove all but the newest `keep` and `protect`.

        Args:
            sums: SHA-256 of each of its files, where they are known.

        Raises:
            InputError: the disk is full or cannot be written; the checkpoints that were there stay.
        """
        self._require_here()
        return self._checkpoints.finish(step, keep=keep, protect=protect, sums=sums)

    def _then(self) -> str:
        return f", then go on with: {self._resume()}"

    def _resume(self) -> str:
        return f"lmhead train --resume {shell_word(str(self.path))}"

    def _require_here(self) -> None:
        """Refuse to write where this run no longer is."""
        if not self.path.is_dir():
            raise InputError(
                f"{self.path} must stay where it is while it is trained, got no such folder: it was removed or "
                f"renamed; bring it back and go on from its last checkpoint with: {self._resume()}"
            )
        if self.lock.lost():
            raise InputError(
                f"{self.path} must stay where it is while it is trained, got another run of that name: go on with this "
                "one where it is now, with lmhead train --resume"
            )


def _missing(path: Path) -> list[Path]:
    return [folder for folder in (path, *path.parents) if not folder.exists()]


def _require_free(path: Path) -> None:
    """Refuse a folder that is somebody's. What a run left that was killed before its config was written is nobody's."""
    if not path.exists():
        return
    names = {entry.name for entry in path.iterdir()} if path.is_dir() else None
    if names is not None and LOCK_FILE in names:
        names -= {LOCK_FILE} | (set() if "config.yaml" in names else {*_BEFORE_THE_FIRST_STEP, *_DRAFTS})
    if names is None or names:
        trained_by = holder(path)
        if trained_by is not None and names is not None:
            what = f"is being trained by {trained_by}"
        elif names is not None and "config.yaml" in names:
            what = "holds another run"
        else:
            what = "exists and is not empty" if names is not None else "is a file"
        remedy = "" if names is None else f", or {option('resume', str(path))} to go on with it"
        raise InputError(f"the output folder {path} {what}: give another {option('out')}{remedy}")


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):  # somebody else's is in it by now
            folder.rmdir()
