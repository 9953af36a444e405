"""Start: a model that training goes on from, whatever kind it is; and the place that `init` names."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

import torch

from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles
from lmhead.errors import InputError, require
from lmhead.models.causal_lm import CausalLM
from lmhead.models.transformers.formats.weight_files import holds_weights
from lmhead.options import option
from lmhead.training.config.train_config import TrainConfig
from lmhead.training.run.checkpoint_sums import is_checkpoint
from lmhead.training.run.checkpoints import verify_model
from lmhead.training.run.run_folder import RunFolder

_HUB_NAME: Final = re.compile(r"([A-Za-z0-9][\w.-]*)/[\w.-]+")
Read = TypeVar("Read")


class Start(ABC):
    """A model that training goes on from."""

    place: Path | str  # a folder, or a name on the Hub
    files: TokenizerFiles

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """Rows that its head has before it is trained on."""

    @property
    def has_modules(self) -> bool:
        """Whether modules of multi-token prediction stand behind it."""
        return False

    @abstractmethod
    def require_same(self, config: TrainConfig) -> None:
        """Refuse a config that says otherwise than the weights.

        Raises:
            ArgumentError: a size or an option differs that the weights decide.
        """

    @abstractmethod
    def model(
        self, config: TrainConfig, new_ids: Sequence[int], *, device: torch.device, dtype: torch.dtype
    ) -> CausalLM:
        """The model before the first step, on its device.

        Args:
            new_ids: of tokens that it has never seen: each gets the mean of the others in embedding and head.
            dtype: of the products.
        """

    def with_vocabulary(self, config: TrainConfig, size: int) -> TrainConfig:
        """The config with as many rows as the tokenizer has ids, or the model where it has more, or more if it says so.

        Raises:
            ArgumentError: it names fewer.
        """
        own, asked = self.vocab_size, config.model.vocab_size
        grown = max(own, size)
        require(
            asked == own or asked >= grown,
            option("model.vocab_size"),
            f"be at least {grown}",
            asked,
            f"leave {option('model.vocab_size')} out, or pad with more",
        )
        return replace(config, model=replace(config.model, vocab_size=max(grown, asked)))


def read_from(init: str, read: Callable[[Path | str], Read]) -> Read:
    """What `read` makes of the place that `init` names: a model's folder, a run's newest checkpoint, a name on the Hub.

    The newest checkpoint may be removed while it is read: then there is a newer one.

    Raises:
        InputError: there is no model.
    """
    folder = Path(init).expanduser()
    if not folder.is_dir():
        if is_hub_name(init):
            return read(init)
        raise InputError(
            f"{option('init')} must be a run, a folder with the weights of a model, or its name on the Hub "
            f"(OWNER/NAME), got {init}: no such folder"
        )
    if holds_weights(folder):
        verify_model(folder)
        return read(folder)
    run = RunFolder(folder)
    if not (run.config_file.is_file() or run.seal() or run.steps() or is_checkpoint(folder)):
        described = (folder / "config.json").is_file()
        raise InputError(
            f"{option('init')} must be a run, or a folder with the weights of a model, got {init}, which has "
            f"{'a config.json and no weights' if described else 'neither a config.yaml nor weights'}: "
            + ("fetch or save it anew, whole" if described else "give another folder")
        )
    run = RunFolder.open(folder)
    while True:
        checkpoint = run.checkpoint_for_use(use="init")
        try:
            return read(checkpoint)
        except InputError:
            if checkpoint.exists():
                raise


def found_from_anywhere(init: str) -> str:
    """The place that `init` names, whatever the working directory is later; a name on the Hub stays what it is."""
    return init if is_hub_name(init) else str(Path(init).expanduser().absolute())


def is_hub_name(name: str) -> bool:
    """Whether OWNER/NAME is one on the Hub: it is no path, and there is no folder OWNER that NAME may be missing in."""
    found = _HUB_NAME.fullmatch(name)
    return found is not None and not Path(name).exists() and not Path(found[1]).exists()
