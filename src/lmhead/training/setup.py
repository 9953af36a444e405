"""From a config to everything a run needs in memory: tokenizer, data, model, device."""

import hashlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lmhead.batches.contract import HeldOut, TrainingRows
from lmhead.data.rows.progress import Progress, unheard
from lmhead.data.rows.selection import select
from lmhead.data.rows.streams import is_stream
from lmhead.data.sets.conversations import labelled_format
from lmhead.data.sets.standard_library import standard_library
from lmhead.data.tokenizer.run_tokenizer import RunTokenizer
from lmhead.errors import InputError
from lmhead.generation.sampling import sample
from lmhead.generation.vocabulary import token_ids
from lmhead.inspection.isolation.mixed_documents import why_documents_mix
from lmhead.models.causal_lm import CausalLM
from lmhead.models.device import choose_device, choose_precision, require_compiler
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.options import option
from lmhead.ranks.ranks import ALONE, Ranks
from lmhead.training.chat_setup import chat_data
from lmhead.training.config.fine_tuning import PretrainedModel
from lmhead.training.config.train_config import TrainConfig
from lmhead.training.prompt import Prompt
from lmhead.training.run.run_folder import RunFolder
from lmhead.training.text_setup import text_data
from lmhead.training.tokenized_data import TokenizedData
from lmhead.training.weights.average import WeightAverage
from lmhead.training.weights.initial_weights import initial_model, read_start
from lmhead.training.weights.start import Start, found_from_anywhere

if TYPE_CHECKING:
    from lmhead.ranks.sharding import Blueprint

_SAMPLE_TOKENS = 64
_THREE_DOCUMENTS = 6  # tokens of the shortest row that shows whether documents are kept apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What the loop works with."""

    config: TrainConfig  # the given one, with what the data decides
    tokenizer: RunTokenizer
    rows: TrainingRows
    held_out: HeldOut
    prompts: tuple[Prompt, ...]  # at least one, that of the config first
    model: CausalLM  # of several ranks each has its part of the weights
    device: torch.device
    dtype: torch.dtype  # of autocast
    ranks: Ranks = ALONE
    blueprint: "Blueprint | None" = None  # of the model without ranks; None: there is one

    def fingerprint(self) -> str:
        """Equal for equal data, held-out ones included, wherever they lie."""
        both = f"{self.rows.fingerprint()} {self.held_out.fingerprint()}"
        return hashlib.sha256(both.encode()).hexdigest()

    def plain_model(self, average: WeightAverage | None = None, *, device: torch.device | None = None) -> CausalLM:
        """The model with its present weights as one process has it, on rank 0; what the others get nobody can use.

        All ranks call it. It is the model itself where one process trains.

        Args:
            average: that the weights are replaced by.
            device: of a model that is made; None: that of training.
        """
        if self.blueprint is None:
            return self.model
        from lmhead.ranks.sharding import whole_state

        with nullcontext() if average is None else average.in_place():
            state = whole_state(self.model, self.ranks)
        return self.model if state is None else self.blueprint.filled(state, device=device or self.device)

    def continue_prompt(
        self, prompt: Prompt, *, model: CausalLM, seed: int, each: Callable[[], None] = lambda: None
    ) -> str:
        """A prompt and some tokens of the model's own, sampled at temperature 0.8.

        Args:
            model: a `plain_model`.
            each: called behind each token; it may end the sample by raising.
        """
        made = list[int]()
        for token in sample(
            model,
            prompt.ids,
            max_new_tokens=_SAMPLE_TOKENS,
            temperature=0.8,
            seed=seed,
            stop_ids=prompt.stop_ids,
            vocabulary=token_ids(self.tokenizer.backend),
        ):
            each()
            made.append(token)
        return prompt.text(self.tokenizer.backend, made)


def prepare(
    config: TrainConfig,
    run: RunFolder,
    note: Callable[[str], None],
    progress: Progress = unheard,
    *,
    checkpoint: Path | None = None,
    ranks: Ranks = ALONE,
) -> Ready:
    """Read the data, train or load the tokenizer, encode or label, and build the model on its device.

    Nothing is written but the list of conversations that are skipped; a resumed run brings its tokenizer, and once it
    has a checkpoint its weights.

    Args:
        progress: hears of reading, of training a tokenizer, of tokenising and of labelling.
        checkpoint: that a resumed run goes on from, whose weights are put into the model later.
        ranks: rank 0 reads the data for all.

    Raises:
        InputError: the data or the tokenizer cannot be used; nothing was trained yet.
    """
    device = ranks.device or choose_device(config.device)
    if config.compile:
        require_compiler(device)
    dtype = choose_precision(config.precision, device)
    start = read_start(config, checkpoint)
    if start is not None:
        start.require_same(config)
        note(f"init: {start.place}")
        if start.has_modules and config.mtp.depth is None:
            note("init: its modules of multi-token prediction are left out")
    data = ranks.shared(lambda: _data(config, run, start, note, progress))
    alone = ranks.size == 1  # else it is made on the CPU, and sharding moves a block at a time
    place = device if alone else torch.device("cpu")
    model = initial_model(data.config, start, data.new_ids, device=place, dtype=dtype)
    if data.rows.take(0, 1).isolated:
        _require_isolation(model, data.config)
    known = data.config
    if isinstance(known.model, PretrainedModel):  # adapters of a model with new tokens train its vocabulary, too
        main = model.main if isinstance(model, MultiTokenModel) else model
        trained = sum(parameter.numel() for parameter in main.parameters() if parameter.requires_grad)
        known = replace(known, model=replace(known.model, trained=trained))
    if start is not None and known.needs_init:  # a run that goes on later has another newest checkpoint
        known = replace(known, init=found_from_anywhere(str(start.place)))
    blueprint = None
    if ranks.size > 1:
        from lmhead.ranks.sharding import Blueprint, shard  # half a second that one process need not take

        blueprint = Blueprint.of(model)
        shard(model, ranks, dtype=dtype, compile=config.compile)
        torch.manual_seed(config.seed + ranks.rank)  # of dropout, another for other rows
    return Ready(
        config=_found_from_anywhere(known),
        tokenizer=data.tokenizer,
        rows=data.rows,
        held_out=data.held_out,
        prompts=data.prompts,
        model=model,
        device=device,
        dtype=dtype,
        ranks=ranks,
        blueprint=blueprint,
    )


def _data(
    config: TrainConfig, run: RunFolder, start: Start | None, note: Callable[[str], None], progress: Progress
) -> TokenizedData:
    """Texts or conversations, as the data say themselves."""
    streams = [path for path in config.data.paths if is_stream(path)]
    if streams and run.tokenizer_file.exists():
        note(
            f"data: {', '.join(streams)}: what was read of it before is not kept, and must come once more as it was; "
            "the fingerprint tells"
        )
    source = config.data.source(config.chat.columns)
    selection = select(source, progress) if source.paths else standard_library()
    format = labelled_format(selection, config.chat.format)
    if format is None:
        return text_data(config, selection, run, start, note, progress)
    return chat_data(config, selection, format, run, start, note, progress)


def _require_isolation(model: CausalLM, config: TrainConfig) -> None:
    """Refuse a model that mixes the conversations of a row; it may be one that this library did not make.

    Raises:
        InputError: it does, or it cannot be told to keep them apart.
    """
    if isinstance(config.model, PretrainedModel):
        main = model.main if isinstance(model, MultiTokenModel) else model
        why = why_documents_mix(main, length=max(config.model.max_seq_len, _THREE_DOCUMENTS))
        if why is not None:
            raise InputError(f"{why}; give each conversation a row of its own: {option('pack', False)}")


def _found_from_anywhere(config: TrainConfig) -> TrainConfig:
    """The config with paths that a run needs when it goes on, whatever the working directory is then."""
    cache = None if config.chat.cache is None else str(Path.cwd() / config.chat.cache)
    return replace(config, data=config.data.with_absolute_paths(), chat=replace(config.chat, cache=cache))
