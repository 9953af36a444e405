"""Any causal language model that transformers loads, as what a run's weights begin with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

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
from lmhead.training.config.fine_tuning import PretrainedModel
from lmhead.training.config.train_config import TrainConfig
from lmhead.training.start import Start


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
        described = PretrainedStart.describe(place)
        return PretrainedStart(place=place, files=read_tokenizer(str(place)), described=described)

    @staticmethod
    def describe(place: Path | str, *, refusal: str | None = None) -> PretrainedModel:
        """What is known of the model without its weights.

        Args:
            refusal: why it is no decoder of this library.

        Raises:
            InputError: there is none, or none that transformers loads.
        """
        if isinstance(place, Path) and holds_adapters(str(place)):
            base = shown(base_of(place))
            raise InputError(
                f"{option('init')} must be a model, got the adapters of one in {place}: go on with the run that made them, "
                f"begin anew from {base}, or merge them into it first (docs/training.md)"
            )
        try:
            size = model_size(str(place))
        except InputError as error:
            if refusal is None:
                raise
            raise InputError(f"{refusal}; and as a model of transformers: {error}") from error
        return PretrainedModel.of(size.vocab_size, size.context)

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
        rank = config.lora.rank
        lora = None
        if rank is not None:
            lora = LoraOptions(
                rank=rank, alpha=config.lora.alpha, dropout=config.lora.dropout, targets=config.lora.targets
            )
        model = PretrainedCausalLM.load(
            self.place,
            dtype=torch.float32 if lora is None else dtype,
            device=device,
            lora=lora,
            quantize=config.quantize,
            vocab_size=config.model.vocab_size,
            new_ids=new_ids,
        )
        if config.gradient_checkpointing:
            model.checkpoint_gradients()
        torch.manual_seed(config.seed)  # dropout's draws begin alike however many the loading took
        return model
