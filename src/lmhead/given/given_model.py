"""Any model that people have, as an inspection needs it: a CausalLM, its name, and the tokenizer that lies beside it.

A run, a checkpoint, a folder or a name on the Hub is read; one of lmhead's is taken as it is; one of transformers is
patched while it is looked at, and left as it was.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from lmhead.data.labelling.chat_config import ChatConfig
from lmhead.data.tokenizer.tokenizer_files import read_tokenizer
from lmhead.errors import ArgumentTypeError, InputError, require
from lmhead.given.given_tokenizer import GivenTokenizer
from lmhead.models.causal_lm import CausalLM
from lmhead.models.transformers.first_reading import require_model
from lmhead.models.transformers.patching.patch import is_patched, unpatch
from lmhead.models.transformers.pretrained_causal_lm import PretrainedCausalLM
from lmhead.options import option
from lmhead.training.config.train_config import TrainConfig
from lmhead.training.run.checkpoints import step_of
from lmhead.training.weights.trained_model import config_of_run, from_checkpoint, read_trained_model

_OF_LABELS: Final = ("template_arguments", "date", "train_on", "train_reasoning", "assistant_header", "dropped_text")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GivenModel:
    """A model in evaluation mode."""

    model: CausalLM
    name: str
    tokenizer: GivenTokenizer | None = None  # that lies beside its weights
    chat: ChatConfig | None = None  # how its run labelled what it was trained on
    run: Path | None = None  # the folder of the run whose checkpoint it is
    step: int | None = None  # of that run

    @property
    def device(self) -> torch.device:
        """That it is on."""
        return next(self.model.parameters()).device

    def require_fitting(self, tokenizer: GivenTokenizer) -> None:
        """Refuse a tokenizer that is not this model's.

        Raises:
            InputError: it has more ids than the model, or other tokens than the one beside the model.
        """
        own = self.tokenizer
        if tokenizer.size > self.model.vocab_size or (own is not None and not own.same_tokens(tokenizer)):
            beside = f" and a tokenizer of {own.size:,} beside it" if own is not None else ""
            raise InputError(
                f"tokenizer must be the model's, got {tokenizer.name} with {tokenizer.size:,} ids for {self.name}, "
                f"which has a vocabulary of {self.model.vocab_size:,}{beside}: give the tokenizer that the model was "
                "trained with"
            )


@contextmanager
def given_model(model: object, device: str = "auto", *, step: int | None = None) -> Iterator[GivenModel]:
    """A model for as long as it is looked at.

    Args:
        device: of one that is read here.
        step: which checkpoint of a run; None: the newest.

    Raises:
        ArgumentTypeError: it is no model.
        InputError, ArgumentError: it cannot be read, or not be used, and why.
    """
    if isinstance(model, str | Path):
        yield from_checkpoint(Path(model), step, lambda checkpoint: _read(checkpoint, str(model), device))
        return
    if not isinstance(model, nn.Module):
        raise ArgumentTypeError(
            f"model must be a model, or the folder of one, got {type(model).__name__}: give an lmhead.GPT, a model of "
            "transformers, or the path of a run"
        )
    require(step is None, option("step"), "be left out for a model in memory", step)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        if isinstance(model, CausalLM):
            yield GivenModel(model=model, name=_name_of(model))
        else:
            with _wrapped(model) as wrapped:
                yield GivenModel(model=wrapped, name=_name_of(model))
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def _wrapped(model: Any) -> Iterator[PretrainedCausalLM]:
    """A model of transformers as one of lmhead's, patched until it is let go."""
    require_model(model)
    base = model.get_base_model() if hasattr(model, "peft_config") else model
    patched = is_patched(base)
    try:
        yield PretrainedCausalLM(model)
    finally:
        if not patched and is_patched(base):
            unpatch(base)


def _read(checkpoint: Path, name: str, device: str) -> GivenModel:
    model = read_trained_model(checkpoint, device)
    try:
        tokenizer = GivenTokenizer.of(read_tokenizer(str(checkpoint)))
    except InputError:  # weights alone: it has to be given
        tokenizer = None
    config = config_of_run(checkpoint)
    if config is None:
        return GivenModel(model=model, name=name, tokenizer=tokenizer)
    place = checkpoint.resolve()
    return GivenModel(
        model=model,
        name=name,
        tokenizer=tokenizer,
        chat=_labelled_as(config),
        run=place.parent.parent,
        step=step_of(place),
    )


def _labelled_as(config: TrainConfig) -> ChatConfig:
    """What the run learnt of conversations; the template lies with the tokenizer, and the data are others."""
    return ChatConfig(**{name: getattr(config.chat, name) for name in _OF_LABELS})


def _name_of(model: nn.Module) -> str:
    inner = model.model if isinstance(model, PretrainedCausalLM) else model
    named = getattr(getattr(inner, "config", None), "name_or_path", "") or getattr(inner, "name_or_path", "")
    return str(named or type(inner).__name__)
