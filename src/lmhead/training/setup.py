"""From a config to everything a run needs in memory: tokenizer, tokens, model, device."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from tokenizers import Tokenizer

from lmhead.errors import require
from lmhead.generation.sampling import sample
from lmhead.labels.packing import TokenStream, WrappedRows
from lmhead.models.gpt import GPT
from lmhead.training.config import TrainConfig
from lmhead.training.corpus import Corpus, read_corpus
from lmhead.training.device import choose_device, choose_precision, require_compiler
from lmhead.training.run_folder import RunFolder
from lmhead.training.tokenizer import encode_documents, end_of_text, load_tokenizer, train_tokenizer

_SAMPLE_TOKENS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What the loop works with."""

    corpus: Corpus
    names: list[str]  # of the training documents, by number
    tokenizer: Tokenizer
    end_id: int  # the token that opens and closes a document
    train: TokenStream
    held_out: TokenStream
    held_out_bytes: int  # raw UTF-8
    rows: WrappedRows
    model: GPT
    device: torch.device
    dtype: torch.dtype  # of autocast

    def continue_prompt(self, prompt: str, *, seed: int) -> str:
        """The prompt and some tokens of the model's own, sampled at temperature 0.8."""
        ids = [self.end_id, *self.tokenizer.encode(prompt, add_special_tokens=False).ids]
        tokens = sample(
            self.model, ids, max_new_tokens=_SAMPLE_TOKENS, temperature=0.8, seed=seed, stop_ids=(self.end_id,)
        )
        return str(self.tokenizer.decode([*ids[1:], *islice(tokens, _SAMPLE_TOKENS)]))


def prepare(config: TrainConfig, run: RunFolder, note: Callable[[str], None]) -> Ready:
    """Read the text, train or load the tokenizer, encode, and build the model on its device.

    Nothing is written; `run` gives its tokenizer.json where it has one (a resumed run).

    Raises:
        InputError: the text or the tokenizer cannot be used; nothing was trained yet.
    """
    device = choose_device(config.device)
    if config.compile:
        require_compiler(device)
    corpus = read_corpus(config.data)
    documents = len(corpus.train) + len(corpus.held_out)
    held_out_bytes = sum(len(document.text.encode()) for document in corpus.held_out)
    train_bytes = sum(len(document.text.encode()) for document in corpus.train)
    note(
        f"data: {corpus.source}: {documents:,} documents, {(train_bytes + held_out_bytes) / 1e6:.1f} MB; "
        f"{len(corpus.held_out):,} held out ({held_out_bytes / 1e6:.2f} MB)"
    )
    tokenizer = _tokenizer(config, run, corpus, note)
    train = TokenStream.of(encode_documents(tokenizer, [document.text for document in corpus.train]))
    held_out = TokenStream.of(encode_documents(tokenizer, [document.text for document in corpus.held_out]))
    note(f"tokens: {len(train):,} to train on ({train_bytes / len(train):.2f} bytes each), {len(held_out):,} held out")
    rows = WrappedRows(train, length=config.model.max_seq_len, seed=config.seed)
    torch.manual_seed(config.seed)
    model = GPT.from_config(config.model).to(device)
    return Ready(
        corpus=corpus,
        names=[document.name for document in corpus.train],
        tokenizer=tokenizer,
        end_id=end_of_text(tokenizer),
        train=train,
        held_out=held_out,
        held_out_bytes=held_out_bytes,
        rows=rows,
        model=model,
        device=device,
        dtype=choose_precision(config.precision, device),
    )


def _tokenizer(config: TrainConfig, run: RunFolder, corpus: Corpus, note: Callable[[str], None]) -> Tokenizer:
    if run.tokenizer_file.exists():
        return load_tokenizer(run.tokenizer_file)
    if config.data.tokenizer is not None:
        tokenizer = load_tokenizer(Path(config.data.tokenizer))
        V = tokenizer.get_vocab_size()
        require(
            config.model.vocab_size == V,
            "model.vocab_size",
            f"be the tokenizer's {V}",
            config.model.vocab_size,
            f"pass --vocab-size {V}",
        )
    else:
        note(f"training a byte-level BPE of {config.model.vocab_size:,} tokens")
        tokenizer = train_tokenizer((document.text for document in corpus.train), config.model.vocab_size)
    return tokenizer
