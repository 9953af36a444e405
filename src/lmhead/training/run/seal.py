"""The seal: the config that a run was started with, kept apart from config.yaml, which anybody can edit.

It lies in RUN/.sealed.yaml, and as it was in each checkpoint, train_config.yaml. Both are config.yaml's text behind a
line or two of comments, so that copying one back to config.yaml mends that.
"""

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from lmhead.errors import LmheadError
from lmhead.training.config.differences import differences
from lmhead.training.config.train_config import TrainConfig, config_of, to_yaml
from lmhead.training.run.files import replace_file

SEAL_FILE: Final = ".sealed.yaml"
CHECKPOINT_CONFIG: Final = "train_config.yaml"
_FIRST_LINE: Final = re.compile(r"# sealed by lmhead train; sha256 of the lines below: ([0-9a-f]{64})\n")
_DATA: Final = re.compile(r"# fingerprint of the data: (\S+)\n", re.MULTILINE)
_BEFORE: Final = re.compile(r"# steps before: ([0-9]+|null)\n", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """What a run was started with, or goes on with."""

    config: TrainConfig
    fingerprint: str | None = None  # of the training data
    steps_before: str | None = None  # "null" or a number, where `steps` was just changed: config.yaml may still have it

    def write(self, file: Path) -> None:
        """Seal it.

        Raises:
            InputError: the disk refuses.
        """
        text = to_yaml(self.config)
        if self.steps_before is not None:
            text = f"# steps before: {self.steps_before}\n{text}"
        if self.fingerprint is not None:
            text = f"# fingerprint of the data: {self.fingerprint}\n{text}"
        replace_file(file, f"# sealed by lmhead train; sha256 of the lines below: {_sum(text)}\n{text}")

    @staticmethod
    def read(file: Path) -> "Seal | None":
        """The seal in a file; None where there is none, or it is damaged: a broken seal says nothing."""
        try:
            text = file.read_bytes().decode("utf-8")
        except (OSError, UnicodeDecodeError):
            return None
        first = _FIRST_LINE.match(text)
        if first is None or _sum(text[first.end() :]) != first[1]:
            return None
        data, before = _DATA.search(text), _BEFORE.search(text)
        try:
            config = config_of(text, source=str(file))
        except LmheadError:  # whole, but of another version of lmhead
            return None
        return Seal(
            config=config,
            fingerprint=None if data is None else data[1],
            steps_before=None if before is None else before[1],
        )

    @staticmethod
    def after(earlier: "Seal | None", config: TrainConfig, fingerprint: str | None) -> "Seal":
        """The seal that takes the place of an earlier one, and of its fingerprint where none is given."""
        if earlier is None:
            return Seal(config=config, fingerprint=fingerprint)
        changed = earlier.config.steps != config.steps
        return Seal(
            config=config,
            fingerprint=fingerprint or earlier.fingerprint,
            steps_before=_written(earlier.config.steps) if changed else None,
        )

    def current(self, config: TrainConfig) -> TrainConfig:
        """config.yaml's content, with the sealed steps where a kill came between writing the two."""
        if self.steps_before is not None and self.steps_before == _written(config.steps):
            return replace(config, steps=self.config.steps)
        return config

    def broken_by(self, config: TrainConfig, *, steps: bool) -> list[str]:
        """ "name: sealed -> now" of each field that differs from the seal and decides the run's numbers.

        Args:
            steps: whether the number of steps is one; a timed run, and one that is made longer, sets it later.
        """
        return [each for each in differences(self.config, config) if steps or not each.startswith("steps: ")]


def _written(steps: int | None) -> str:
    return "null" if steps is None else str(steps)


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
