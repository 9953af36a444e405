"""Any causal language model that transformers loads, as what a run's weights begin with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch

from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles, read_tokenizer
from lmhead.errors import InputError
from lmhead.models.causal_lm import CausalLM
from lmhead.models.transformers.lora import base_of, holds_adapters
from lmhead.models.transformers.lora_options import LoraOptions
from lmhead.models.transformers.model_size import model_size
from lmhead.models.transformers.pretrained_causal_lm import PretrainedCausalLM
from lmhead.options import option
from lmhead.shown import shown
from lmhead.training.config.fine_tuning import LoraConfig, PretrainedModel
from lmhead.training.config.train_config import TrainConfig
from lmhead.training.start import Start

_ROW: Final = 1024  # tokens, where the model can read so many


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainedStart(Start):
    """A model that transformers loads; its weights are read when the data are known."""

    place: Path | str
    files: TokenizerFiles
    described: PretrainedModel

    @staticmethod
    def of(place: Path | str) -> "PretrainedStart":
        """The model in a folder, or on the Hub.

        Raises:
            InputError: there is none, or none that transformers loads, or its tokenizer cannot be read.
        """
        described = PretrainedStart.describe(place, LoraConfig())
        return PretrainedStart(place=place, files=read_tokenizer(str(place)), described=described)

    @staticmethod
    def describe(place: Path | str, lora: LoraConfig, *, refusal: str | None = None) -> PretrainedModel:
        """What is known of the model without its weights, and of the adapters that it would get.

        Args:
            refusal: why it is no decoder of this library.

        Raises:
            InputError: there is none, or none that transformers loads.
        """
        if isinstance(place, Path) and holds_adapters(str(place)):
            base = shown(base_of(place))
            raise InputError(
                f"{option('init')} must be a model, got the adapters of one in {place}: go on with the run that made "
                f"them, begin anew from {base}, or merge them into it first (docs/training.md)"
            )
        try:
            size = model_size(str(place))
        except InputError as error:
            if refusal is None:
                raise
            raise InputError(f"{refusal}; and as a model of transformers: {error}") from error
        options = _options(lora)
        return PretrainedModel(
            kind=size.kind,
            vocab_size=size.vocab_size,
            width=size.width,
            max_seq_len=min(_ROW, size.context),
            max_positions=size.context,
            parameters=size.parameters,
            embedding=size.embedding,
            linear=size.quantizable,
            trained=size.parameters if options is None else size.adapters(options),
        )

    @property
    def vocab_size(self) -> int:
        """Rows that its head has before it is trained on."""
        return self.described.vocab_size

    def require_same(self, config: TrainConfig) -> None:
        """Refuse a config that says otherwise than the weights.

        Raises:
            ArgumentError: the rows are longer than what the model can read.
        """
        assert isinstance(config.model, PretrainedModel)
        replace(config.model, max_positions=self.described.max_positions).check()

    def model(
        self, config: TrainConfig, new_ids: Sequence[int], *, device: torch.device, dtype: torch.dtype
    ) -> CausalLM:
        """The model before the first step, on its device; `new_ids` get the mean of the others in embedding and head.

        What is trained is float32, as in a run of this library's decoder; weights beside which adapters are trained are
        of the products' dtype, or of so few bits as is asked.
        """
        lora = _options(config.lora)
        model = PretrainedCausalLM.load(
            self.place,
            dtype=torch.float32 if lora is None else dtype,
            device=device,
            lora=lora,
            quantize=config.quantize,
        )
        model.grow_vocabulary(config.model.vocab_size, new_ids)
        model.source = None  # the files of its tokenizer are the run's own from here on
        if config.gradient_checkpointing:
            model.checkpoint_gradients()
        torch.manual_seed(config.seed)  # dropout's draws begin alike however many the loading took
        return model


def _options(lora: LoraConfig) -> LoraOptions | None:
    """The adapters that are asked for; None where none are."""
    if lora.rank is None:
        return None
    return LoraOptions(rank=lora.rank, alpha=lora.alpha, dropout=lora.dropout, targets=lora.targets)
