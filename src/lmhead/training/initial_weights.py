"""Where a run's weights begin: freshly drawn, or those of another run or of a folder that transformers loads."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles, read_tokenizer
from lmhead.errors import InputError, require
from lmhead.models.config import GPTConfig
from lmhead.models.gpt import GPT
from lmhead.models.transformers.pretrained import load_pretrained
from lmhead.models.transformers.weight_files import holds_weights
from lmhead.options import option
from lmhead.training.config.train_config import TrainConfig, field_names
from lmhead.training.run.checkpoints import verify_model
from lmhead.training.run.run_folder import RunFolder

# Of a model that is there already: how it was drawn has no meaning any more, and these may be changed.
_FREE: Final = ("dropout", "max_seq_len", "vocab_size", "init", "init_std", "embedding_std")
_VOCABULARY: Final = ("model.embed_tokens.weight", "lm_head.weight")


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A model that is trained on."""

    folder: Path  # of the checkpoint
    model: GPT
    files: TokenizerFiles

    @staticmethod
    def read(init: str) -> "Start":
        """The newest checkpoint of a run, or the checkpoint that the folder is.

        Raises:
            InputError: there is none, or it is no model that this decoder can be.
        """
        folder = Path(init).expanduser()
        if not folder.is_dir():
            raise InputError(
                f"{option('init')} must be a run, or a folder with the weights of a model, got {init}: no such folder"
            )
        if holds_weights(folder):
            verify_model(folder)
            return Start._of(folder)
        run = RunFolder.open(folder)
        while True:
            checkpoint = run.checkpoint_for_use(use="init")
            try:
                return Start._of(checkpoint)
            except InputError:
                if checkpoint.exists():  # else it was removed while it was read: there is a newer one
                    raise

    @staticmethod
    def _of(folder: Path) -> "Start":
        return Start(folder=folder, model=load_pretrained(folder).float(), files=read_tokenizer(str(folder)))

    def require_same(self, model: GPTConfig) -> None:
        """Refuse a config that says otherwise than the weights.

        Raises:
            ArgumentError: a size or an option differs that the weights decide.
        """
        own = self.model.config
        free = _FREE if own.style == "modern" else tuple(name for name in _FREE if name != "max_seq_len")
        for name in field_names(GPTConfig):
            if name not in free:
                value = getattr(own, name)
                remedy = f"leave {option(f'model.{name}')} out"
                require(
                    getattr(model, name) == value,
                    option(f"model.{name}"),
                    f"be {option('init')}'s {value}",
                    getattr(model, name),
                    remedy,
                )

    def with_vocabulary(self, config: TrainConfig, size: int) -> TrainConfig:
        """The config with as many rows as the tokenizer has ids, or the model where it has more, or more if it says so.

        Raises:
            ArgumentError: it names fewer.
        """
        own = self.model.config.vocab_size
        grown = max(own, size)
        require(
            config.model.vocab_size == own or config.model.vocab_size >= grown,
            option("model.vocab_size"),
            f"be at least {grown}",
            config.model.vocab_size,
            f"leave {option('model.vocab_size')} out, or pad with more",
        )
        return replace(config, model=replace(config.model, vocab_size=max(grown, config.model.vocab_size)))


def initial_model(config: TrainConfig, start: Start | None, new_ids: Sequence[int]) -> GPT:
    """The model before the first step.

    Args:
        new_ids: of tokens that the model has never seen: each gets the mean of the others in embedding and head.
    """
    torch.manual_seed(config.seed)
    model = GPT.from_config(config.model)
    if start is not None:
        state = start.model.state_dict()
        for name in _VOCABULARY:
            state[name] = _grown(state[name], config.model.vocab_size, new_ids)
        model.load_state_dict(state)
    return model


def _grown(weight: Tensor, vocab_size: int, new_ids: Sequence[int]) -> Tensor:
    """weight [V, D] with further rows; those of `new_ids` are the mean of all that are not."""
    if not new_ids and vocab_size == len(weight):
        return weight
    known = torch.ones(len(weight), dtype=torch.bool)
    known[[id for id in new_ids if id < len(weight)]] = False
    mean = weight[known].mean(0)
    grown = torch.cat([weight, mean.expand(vocab_size - len(weight), -1)])
    grown[list(new_ids)] = mean
    return grown
