"""From a config to everything a run needs in memory: tokenizer, data, model, device."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from tokenizers import Tokenizer

from lmhead.data.tokenizer_files import read_tokenizer
from lmhead.errors import require
from lmhead.generation.sampling import sample
from lmhead.generation.vocabulary import token_ids
from lmhead.models.gpt import GPT
from lmhead.training.chat_setup import chat_data
from lmhead.training.config import TrainConfig
from lmhead.training.conversations import labelled_format
from lmhead.training.corpus import Corpus, read_corpus
from lmhead.training.device import choose_device, choose_precision, require_compiler
from lmhead.training.run_folder import RunFolder
from lmhead.training.run_tokenizer import RunTokenizer
from lmhead.training.start import Start, initial_model
from lmhead.training.text_data import HeldOutText, TextRows, text_prompt
from lmhead.training.tokenizer import load_tokenizer, train_tokenizer
from lmhead.training.training_data import HeldOut, Prompt, TokenizedData, TrainingRows

_SAMPLE_TOKENS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What the loop works with."""

    config: TrainConfig  # the given one, with what the data decides
    tokenizer: RunTokenizer
    rows: TrainingRows
    held_out: HeldOut
    prompt: Prompt
    model: GPT
    device: torch.device
    dtype: torch.dtype  # of autocast

    def continue_prompt(self, *, seed: int) -> str:
        """The prompt and some tokens of the model's own, sampled at temperature 0.8."""
        prompt = self.prompt
        tokens = sample(
            self.model,
            prompt.ids,
            max_new_tokens=_SAMPLE_TOKENS,
            temperature=0.8,
            seed=seed,
            stop_ids=prompt.stop_ids,
            vocabulary=token_ids(self.tokenizer.backend),
        )
        return prompt.text(self.tokenizer.backend, list(islice(tokens, _SAMPLE_TOKENS)))


def prepare(
    config: TrainConfig,
    run: RunFolder,
    note: Callable[[str], None],
    progress: Callable[[int], None] | None = None,
) -> Ready:
    """Read the data, train or load the tokenizer, encode or label, and build the model on its device.

    Nothing is written but the list of conversations that are skipped; a resumed run brings its tokenizer, and once it
    has a checkpoint its weights.

    Args:
        progress: called with the number of conversations that are labelled so far.

    Raises:
        InputError: the data or the tokenizer cannot be used; nothing was trained yet.
    """
    device = choose_device(config.device)
    if config.compile:
        require_compiler(device)
    start = None if config.init is None or run.steps() else Start.read(config.init)
    if start is not None:
        start.require_same(config.model)
        note(f"init: {start.folder}")
    if labelled_format(config) is None:
        data = _text_data(config, run, start, note)
    else:
        data = chat_data(config, run, start, note, progress)
    model = initial_model(data.config, start, data.new_ids).to(device)
    return Ready(
        config=data.config,
        tokenizer=data.tokenizer,
        rows=data.rows,
        held_out=data.held_out,
        prompt=data.prompt,
        model=model,
        device=device,
        dtype=choose_precision(config.precision, device),
    )


def _text_data(config: TrainConfig, run: RunFolder, start: Start | None, note: Callable[[str], None]) -> TokenizedData:
    """Documents end to end."""
    corpus = read_corpus(config.data)
    documents = len(corpus.train) + len(corpus.held_out)
    held_out_bytes = sum(len(document.text.encode()) for document in corpus.held_out)
    train_bytes = sum(len(document.text.encode()) for document in corpus.train)
    note(
        f"data: {corpus.source}: {documents:,} documents, {(train_bytes + held_out_bytes) / 1e6:.1f} MB; "
        f"{len(corpus.held_out):,} held out ({held_out_bytes / 1e6:.2f} MB)"
    )
    tokenizer = _text_tokenizer(config, run, start, corpus, note)
    backend, length = tokenizer.backend, config.model.max_seq_len
    if start is not None:
        config = start.with_vocabulary(config, backend.get_vocab_size())
    rows = TextRows(backend, corpus.train, length=length, seed=config.seed)
    held_out = HeldOutText(backend, corpus.held_out, length=length)
    tokens = len(rows.stream)
    note(f"tokens: {tokens:,} to train on ({train_bytes / tokens:.2f} bytes each), {held_out.tokens:,} held out")
    return TokenizedData(
        config=config, tokenizer=tokenizer, rows=rows, held_out=held_out, prompt=text_prompt(backend, config.prompt)
    )


def _text_tokenizer(
    config: TrainConfig, run: RunFolder, start: Start | None, corpus: Corpus, note: Callable[[str], None]
) -> RunTokenizer:
    folder = run.path if run.tokenizer_file.exists() else None if start is None else start.folder
    if folder is not None:
        files = read_tokenizer(str(folder))
        if files.chat_template is None:
            return RunTokenizer.of_text(load_tokenizer(folder))
        return RunTokenizer.of_files(files, max_seq_len=config.model.max_seq_len)
    if config.data.tokenizer is not None:
        return RunTokenizer.of_text(_given_tokenizer(config, Path(config.data.tokenizer)))
    note(f"training a byte-level BPE of {config.model.vocab_size:,} tokens")
    texts = (document.text for document in corpus.train)
    return RunTokenizer.of_text(train_tokenizer(texts, config.model.vocab_size))


def _given_tokenizer(config: TrainConfig, path: Path) -> Tokenizer:
    tokenizer = load_tokenizer(path)
    V = tokenizer.get_vocab_size()
    require(
        config.model.vocab_size == V,
        "model.vocab_size",
        f"be the tokenizer's {V}",
        config.model.vocab_size,
        f"pass --vocab-size {V}",
    )
    return tokenizer
