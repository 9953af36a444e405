"""Where a run's weights begin: freshly drawn, or those of a decoder of this library, or of a model of transformers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles, read_tokenizer
from lmhead.errors import InputError, require
from lmhead.models.causal_lm import CausalLM
from lmhead.models.config import GPTConfig
from lmhead.models.gpt import GPT
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.models.transformers.formats.hf_format import OtherModelError, OtherTypeError
from lmhead.models.transformers.formats.pretrained import load_pretrained
from lmhead.models.transformers.formats.weight_files import holds_safetensors
from lmhead.options import option
from lmhead.training.config.train_config import TrainConfig, field_names
from lmhead.training.weights.multi_token_start import decoder_of, modules_of, with_modules
from lmhead.training.weights.pretrained_start import PretrainedStart
from lmhead.training.weights.start import Start, read_from

# Of a model that is there already: how it was drawn has no meaning any more, and these may be changed.
_FREE: Final = ("dropout", "max_seq_len", "vocab_size", "init", "init_std", "embedding_std")
_VOCABULARY: Final = ("model.embed_tokens.weight", "lm_head.weight")


def described(config: TrainConfig) -> TrainConfig:
    """The config with the model at `init`: this library's decoder where that can be it, else a model of transformers.

    Args:
        config: what is asked of it: the decoder has no adapters, say; of those that the model has, what they are.

    Raises:
        InputError: there is no model, or it is damaged, or transformers does not load it either.
    """
    assert config.init is not None

    def read(place: Path | str) -> TrainConfig:
        refusal = None
        if not config.needs_transformers and isinstance(place, Path) and holds_safetensors(place):
            try:
                found = load_pretrained(place)
                return replace(config, model=decoder_of(found).config, mtp=modules_of(found))
            except OtherModelError as error:
                refusal = None if isinstance(error, OtherTypeError) else str(error)
        model, lora = PretrainedStart.describe(place, config.lora, refusal=refusal)
        return replace(config, model=model, lora=lora, mtp=PretrainedStart.modules(place))

    return read_from(config.init, read)


def read_start(config: TrainConfig, checkpoint: Path | None) -> Start | None:
    """What the weights of a run come from; None where they are drawn, or all are in the checkpoint it goes on from.

    Raises:
        InputError: there is no model at `init`, or it is damaged.
    """
    if config.init is None:
        return None
    from_checkpoint = checkpoint is not None and not config.needs_init
    if isinstance(config.model, GPTConfig):
        return None if from_checkpoint else read_from(config.init, DecoderStart.of)
    if checkpoint is not None and from_checkpoint:
        return PretrainedStart.of(checkpoint)
    return read_from(config.init, PretrainedStart.of)


def initial_model(
    config: TrainConfig,
    start: Start | None,
    new_ids: Sequence[int],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> CausalLM:
    """The model before the first step, on its device.

    Args:
        new_ids: of tokens that the model has never seen: each gets the mean of the others in embedding and head.
        dtype: of the products.

    Raises:
        InputError: no modules of multi-token prediction can stand behind it, or it is to be frozen and has new tokens.
        ArgumentError: the modules that it has are others than the config says.
    """
    torch.manual_seed(config.seed)
    if start is not None:
        if config.mtp.frozen and (new_ids or start.vocab_size != config.model.vocab_size):
            raise InputError(
                f"{option('mtp.frozen')} must be off where the tokenizer has tokens that {option('init')} has never "
                "seen: nothing would train them"
            )
        model = start.model(config, new_ids, device=torch.device(device), dtype=dtype)
    else:
        assert isinstance(config.model, GPTConfig)
        model = GPT.from_config(config.model).to(device)
    return with_modules(model, config.mtp, begun=start is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderStart(Start):
    """A decoder of this library that is trained on."""

    place: Path | str
    found: GPT | MultiTokenModel
    files: TokenizerFiles

    @staticmethod
    def of(place: Path | str) -> "DecoderStart":
        """The checkpoint that a folder is.

        Raises:
            InputError: it is no model that this decoder can be.
        """
        return DecoderStart(place=place, found=load_pretrained(place).float(), files=read_tokenizer(str(place)))

    @property
    def has_modules(self) -> bool:
        """Whether modules of multi-token prediction stand behind it."""
        return isinstance(self.found, MultiTokenModel)

    @property
    def vocab_size(self) -> int:
        """Rows that its head has before it is trained on."""
        return self.found.vocab_size

    def require_same(self, config: TrainConfig) -> None:
        """Refuse a config that says otherwise than the weights.

        Raises:
            ArgumentError: a size or an option differs that the weights decide.
        """
        own = decoder_of(self.found).config
        free = _FREE if own.style == "modern" else tuple(name for name in _FREE if name != "max_seq_len")
        for name in field_names(GPTConfig):
            if name not in free:
                value, asked = getattr(own, name), getattr(config.model, name)
                remedy = f"leave {option(f'model.{name}')} out"
                require(asked == value, option(f"model.{name}"), f"be {option('init')}'s {value}", asked, remedy)

    def model(
        self, config: TrainConfig, new_ids: Sequence[int], *, device: torch.device, dtype: torch.dtype
    ) -> CausalLM:
        """The model before the first step, on its device; `new_ids` get the mean of the others in embedding and head.

        Args:
            dtype: of the products; the weights are float32.
        """
        assert isinstance(config.model, GPTConfig)
        model = GPT.from_config(config.model)
        state = decoder_of(self.found).state_dict()
        for name in _VOCABULARY:
            state[name] = _grown(state[name], config.model.vocab_size, new_ids)
        model.load_state_dict(state)
        if not isinstance(self.found, MultiTokenModel) or config.mtp.depth is None or config.mtp.drawn:
            return model.to(device)
        heads = {
            name: _grown(weight, config.model.vocab_size, new_ids) if name.startswith("heads.") else weight
            for name, weight in self.found.mtp.state_dict().items()
        }
        found = self.found
        moved = MultiTokenModel.restored(model, heads, depth=found.depth, kind=found.kind, style=found.style)
        return moved.to(device)


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
