"""Texts -> rows to train on: the split, the tokenizer, the stream of tokens; and what is told of each."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from tokenizers import Tokenizer

from lmhead.data.progress import Progress
from lmhead.data.tokenizer_files import read_tokenizer
from lmhead.errors import require
from lmhead.training.config import TrainConfig
from lmhead.training.corpus import Corpus, read_corpus
from lmhead.training.documents import Documents
from lmhead.training.held_out_prompt import held_out_prompt
from lmhead.training.run_folder import RunFolder
from lmhead.training.run_tokenizer import RunTokenizer
from lmhead.training.start import Start
from lmhead.training.text_data import HeldOutText, TextRows, text_prompt
from lmhead.training.text_pieces import pieces
from lmhead.training.token_cache import tokenised
from lmhead.training.tokenizer import load_tokenizer, train_tokenizer
from lmhead.training.training_data import TokenizedData

Note = Callable[[str], None]


def text_data(
    config: TrainConfig, run: RunFolder, start: Start | None, note: Note, progress: Progress
) -> TokenizedData:
    """Documents end to end.

    Raises:
        InputError: the texts or the tokenizer cannot be used.
    """
    corpus = read_corpus(config.data, progress)
    train, held_out = corpus.train, corpus.held_out
    size = train.bytes + held_out.bytes
    note(
        f"data: {corpus.source}: {len(train) + len(held_out):,} documents, {size / 1e6:.1f} MB; "
        f"{len(held_out):,} held out ({held_out.bytes / 1e6:.2f} MB)"
    )
    for line in corpus.told:
        note(line)
    tokenizer = _tokenizer(config, run, start, corpus, note, progress)
    backend, length = tokenizer.backend, config.model.max_seq_len
    if start is not None:
        config = start.with_vocabulary(config, backend.get_vocab_size())
    if config.prompt is None:
        config = replace(config, prompt=held_out_prompt(corpus))
    cache = None if config.chat.cache is None else Path(config.chat.cache)
    stream = tokenised(backend, train, cache, note, progress)
    rows = TextRows(stream, train.names(), length=length, seed=config.seed)
    scored = HeldOutText(tokenised(backend, held_out, cache, note, progress), held_out, length=length)
    tokens = len(rows.stream)
    note(f"tokens: {tokens:,} to train on ({train.bytes / tokens:.2f} bytes each), {scored.tokens:,} held out")
    prompt = text_prompt(backend, config.prompt or "")
    return TokenizedData(config=config, tokenizer=tokenizer, rows=rows, held_out=scored, prompt=prompt)


def _tokenizer(
    config: TrainConfig, run: RunFolder, start: Start | None, corpus: Corpus, note: Note, progress: Progress
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
    return RunTokenizer.of_text(trained_tokenizer(corpus.train, config.model.vocab_size, progress))


def trained_tokenizer(documents: Documents, vocab_size: int, progress: Progress) -> Tokenizer:
    """A byte-level BPE of the documents; long ones are taken in pieces.

    Raises:
        InputError: the texts hold too few distinct pieces to fill the vocabulary.
    """
    return train_tokenizer(_texts(documents, progress), vocab_size)


def _texts(documents: Documents, progress: Progress) -> Iterator[str]:
    done, total = 0, documents.bytes
    for utf8 in documents.every_utf8():
        yield from pieces(utf8)
        done += len(utf8)
        progress("training the tokenizer", done, total, "bytes")


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
