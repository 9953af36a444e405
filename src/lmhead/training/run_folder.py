"""A run is a folder: config.yaml, tokenizer.json, log.jsonl, checkpoints/step-N/; of conversations, the template too.

Whatever is in it is whole at any moment: files are replaced by rename, a checkpoint is published by rename when it is
complete, and the log's last line may be cut off by a kill (it is dropped on resume).
"""

import json
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from lmhead.errors import InputError
from lmhead.training.config import TrainConfig, read_yaml, to_yaml

_BEFORE_THE_FIRST_STEP = (
    "config.yaml",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "skipped.jsonl",
)


class RunFolder:
    """Reads and writes one run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.yaml"
        self.tokenizer_file = path / "tokenizer.json"
        self.log_file = path / "log.jsonl"
        self.checkpoints = path / "checkpoints"
        self._made: list[Path] | None = None  # folders that `create` made, the innermost first; None: an earlier run

    @staticmethod
    def create(path: Path) -> "RunFolder":
        """A new run's empty folder.

        Raises:
            InputError: the folder holds something already, or cannot be made.
        """
        try:
            taken = path.exists() and (not path.is_dir() or any(path.iterdir()))
        except OSError as error:
            raise InputError(f"cannot use the output folder {path}: {error.strerror}") from None
        if taken:
            what = "holds another run" if (path / "config.yaml").exists() else "exists and is not empty"
            raise InputError(
                f"the output folder {path} {what}: pass another --out, or "
                f"--resume {shlex.quote(str(path))} to go on with it"
            )
        run = RunFolder(path)
        try:
            run._made = [folder for folder in (path, *path.parents) if not folder.exists()]
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the output folder {path}: {error.strerror}") from None
        return run

    def abandon(self) -> None:
        """Remove what a run wrote that never came to its first step, and the folders that were made for it."""
        if self._made is None or self.log_file.exists() or self.checkpoints.exists():
            return
        for name in _BEFORE_THE_FIRST_STEP:
            (self.path / name).unlink(missing_ok=True)
        for folder in self._made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    @staticmethod
    def open(path: Path) -> "RunFolder":
        """An existing run.

        Raises:
            InputError: there is none.
        """
        run = RunFolder(path)
        if not run.config_file.is_file():
            raise InputError(f"no run in {path}: it has no config.yaml")
        return run

    def config(self) -> TrainConfig:
        """The run's resolved configuration."""
        return read_yaml(self.config_file)

    def write_config(self, config: TrainConfig) -> None:
        """Replace config.yaml."""
        self._replace(self.config_file, to_yaml(config))

    def write_text(self, name: str, text: str) -> None:
        """Replace a file of the run."""
        self._replace(self.path / name, text)

    def _replace(self, file: Path, text: str) -> None:
        draft = file.with_name(f".{file.name}.tmp")
        try:
            with draft.open("w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            draft.replace(file)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise InputError(f"cannot write {file}: {error.strerror}") from None

    def log(self, record: dict[str, Any]) -> None:
        """Append one record to log.jsonl."""
        try:
            with self.log_file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(record) + "\n")
        except OSError as error:
            raise InputError(
                f"cannot write {self.log_file}: {error.strerror}; pass --resume {shlex.quote(str(self.path))}"
            ) from None

    def records(self) -> list[dict[str, Any]]:
        """Every whole record of the log."""
        if not self.log_file.exists():
            return []
        records = []
        for line in self.log_file.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                break  # cut off by a kill; it is the last one
            if not isinstance(record, dict) or "step" not in record:
                raise InputError(f"{self.log_file} has a line that no run wrote: {line[:80]}")
            records.append(record)
        return records

    def rewind_log(self, step: int) -> None:
        """Drop what was logged after `step` updates: a resumed run logs it again."""
        kept = [
            record
            for record in self.records()
            if record["step"] < step or (record["step"] == step and "loss" in record)  # the rest came after the save
        ]
        self._replace(self.log_file, "".join(json.dumps(record) + "\n" for record in kept))

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, rising."""
        if not self.checkpoints.is_dir():
            return []
        names = [path.name for path in self.checkpoints.iterdir()]
        return sorted(int(name[5:]) for name in names if name.startswith("step-") and name[5:].isdigit())

    def checkpoint(self, step: int) -> Path:
        """The folder of a checkpoint."""
        return self.checkpoints / f"step-{step}"

    def latest(self) -> Path:
        """The newest complete checkpoint.

        Raises:
            InputError: none was completed.
        """
        steps = self.steps()
        if not steps:
            raise InputError(f"{self.path} has no complete checkpoint yet: let it train for longer")
        return self.checkpoint(steps[-1])

    def publish(
        self, step: int, write: Callable[[Path], None], *, keep: int, protect: frozenset[int] = frozenset()
    ) -> Path:
        """Let `write` fill a fresh folder, then give it its name; then remove all but the newest `keep` and `protect`.

        Raises:
            InputError: the disk is full or cannot be written; the checkpoints that were there stay.
        """
        final = self.checkpoint(step)
        if final.exists():
            return final
        draft = self.checkpoints / f".draft-step-{step}"
        try:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            write(draft)
            for file in draft.iterdir():
                with file.open("rb") as stream:
                    os.fsync(stream.fileno())
            draft.rename(final)
        except BaseException as error:
            shutil.rmtree(draft, ignore_errors=True)
            if not isinstance(error, OSError | SafetensorError | RuntimeError):
                raise
            last = (
                f"the last good checkpoint is {self.checkpoint(self.steps()[-1])}" if self.steps() else "none was saved"
            )
            reason = " ".join(str(getattr(error, "strerror", None) or error).split())
            raise InputError(
                f"cannot save {final}: {reason}; {last}: free some space and pass "
                f"--resume {shlex.quote(str(self.path))}"
            ) from error
        for old in set(self.steps()[:-keep]) - protect:
            shutil.rmtree(self.checkpoint(old), ignore_errors=True)
        return final
