"""Any causal language model that transformers loads, as what a run's weights begin with."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final

import torch

from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles, read_tokenizer
from lmhead.errors import ArgumentError, InputError, require
from lmhead.models.causal_lm import CausalLM
from lmhead.models.transformers.lora import base_of, holds_adapters, saved_options, saved_vocabulary
from lmhead.models.transformers.lora_options import LoraOptions
from lmhead.models.transformers.model_size import model_size
from lmhead.models.transformers.multi_token.saved_modules import declared_modules
from lmhead.models.transformers.pretrained_causal_lm import PretrainedCausalLM
from lmhead.models.transformers.read_causal_lm import config_of, located
from lmhead.options import option
from lmhead.training.config.fine_tuning import LoraConfig, PretrainedModel
from lmhead.training.config.multi_token_config import MultiTokenConfig
from lmhead.training.config.train_config import TrainConfig
from lmhead.training.weights.start import Start

_ROW: Final = 1024  # tokens, where the model can read so many


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainedStart(Start):
    """A model that transformers loads; its weights are read when the data are known."""

    place: Path | str
    files: TokenizerFiles
    described: PretrainedModel
    lora: LoraConfig  # the adapters that it has; of a model alone no rank
    mtp: MultiTokenConfig  # the modules of multi-token prediction that it has

    @staticmethod
    def of(place: Path | str) -> "PretrainedStart":
        """The model in a folder, or on the Hub, or the one that the adapters in a folder name, with these.

        Raises:
            InputError: there is none, or none that transformers loads, or its tokenizer cannot be read.
        """
        described, lora = PretrainedStart.describe(place, LoraConfig())
        mtp = PretrainedStart.modules(place)
        return PretrainedStart(place=place, files=read_tokenizer(str(place)), described=described, lora=lora, mtp=mtp)

    @staticmethod
    def describe(
        place: Path | str, lora: LoraConfig, *, refusal: str | None = None
    ) -> tuple[PretrainedModel, LoraConfig]:
        """What is known of the model without its weights, and the adapters that it has, or would get.

        Args:
            lora: the adapters that are asked for.
            refusal: why it is no decoder of this library.

        Raises:
            InputError: there is none, or none that transformers loads.
        """
        adapters = Path(place) if holds_adapters(str(place)) else None
        if adapters is not None:
            lora = _config(saved_options(adapters))
        try:
            size = model_size(str(place) if adapters is None else base_of(adapters), _options(lora))
        except InputError as error:
            if refusal is None:
                raise
            raise InputError(f"{refusal}; and as a model of transformers: {error}") from error
        rows = size.vocab_size
        if adapters is not None:
            rows = max(rows, saved_vocabulary(adapters) or 0)
        described = PretrainedModel(
            kind=size.kind,
            vocab_size=rows,
            width=size.width,
            max_seq_len=min(_ROW, size.context),
            max_positions=size.context,
            parameters=size.parameters,
            embedding=size.embedding,
            linear=size.linear,
            layer=size.layer,
            trained=size.trained,
        )
        return described, lora

    @staticmethod
    def modules(place: Path | str) -> MultiTokenConfig:
        """The modules of multi-token prediction that lie beside the model, or beside the adapters.

        Raises:
            InputError: they are declared and not there, or there and not declared.
        """
        base = base_of(Path(place)) if holds_adapters(str(place)) else str(place)
        declared = declared_modules(str(place), config_of(located(base)).get_text_config(decoder=True))
        if declared is None:
            return MultiTokenConfig()
        return MultiTokenConfig(depth=declared.depth, kind=declared.kind, family=declared.style.family, drawn=False)

    @property
    def has_modules(self) -> bool:
        """Whether modules of multi-token prediction stand behind it."""
        return self.mtp.any

    @property
    def vocab_size(self) -> int:
        """Rows that its head has before it is trained on."""
        return self.described.vocab_size

    def require_same(self, config: TrainConfig) -> None:
        """Refuse a config that says otherwise than the weights.

        Raises:
            ArgumentError: the rows are longer than what the model can read, or its adapters are others.
        """
        assert isinstance(config.model, PretrainedModel)
        if self.lora.rank is not None:
            for item in fields(LoraConfig):
                own, asked = getattr(self.lora, item.name), getattr(config.lora, item.name)
                rule, remedy = f"be that of {option('init')}'s adapters, {own}", "leave it out"
                require(own == asked, option(f"lora.{item.name}"), rule, asked, remedy)
        replace(config.model, max_positions=self.described.max_positions).check()

    def model(
        self, config: TrainConfig, new_ids: Sequence[int], *, device: torch.device, dtype: torch.dtype
    ) -> CausalLM:
        """The model before the first step, on its device; `new_ids` get the mean of the others in embedding and head.

        What is trained is float32, as in a run of this library's decoder; weights beside which adapters are trained are
        of the products' dtype, or of so few bits as is asked. An embedding and a head with new tokens are of that dtype
        too, as what they feed is, and the optimiser keeps them in float32 (master_weights.py).
        """
        lora = _options(config.lora)
        try:
            model = PretrainedCausalLM.load(
                self.place,
                dtype=torch.float32 if lora is None else dtype,
                device=device,
                lora=lora if self.lora.rank is None else None,
                quantize=config.quantize,
            )
        except ArgumentError as error:  # PEFT takes layers too that give more than one tensor, as some routers
            if lora is None or lora.targets:
                raise
            remedy = f"; or choose the layers that get adapters, {option('lora.targets')}"
            raise ArgumentError(f"{error.message.marked}{remedy}") from error
        model.grow_vocabulary(config.model.vocab_size, new_ids)
        whole: CausalLM = model
        if self.mtp.any and config.mtp.any and not config.mtp.drawn:
            kept = self.mtp.kind != "parallel" or model.vocab_size == self.vocab_size
            rule, remedy = f"be on where {option('init')}'s heads lack rows for new tokens", "draw new ones"
            require(kept, option("mtp.drawn"), rule, False, remedy)
            whole = model.with_saved_modules()
        model.source = None  # the files of its tokenizer are the run's own from here on
        if config.gradient_checkpointing:
            model.checkpoint_gradients()
        torch.manual_seed(config.seed)  # dropout's draws begin alike however many the loading took
        return whole


def _options(lora: LoraConfig) -> LoraOptions | None:
    """The adapters that are asked for; None where none are."""
    if lora.rank is None:
        return None
    return LoraOptions(rank=lora.rank, alpha=lora.alpha, dropout=lora.dropout, targets=lora.targets)


def _config(options: LoraOptions) -> LoraConfig:
    return LoraConfig(rank=options.rank, alpha=options.alpha, dropout=options.dropout, targets=options.targets)
