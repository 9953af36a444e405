"""Texts -> rows to train on: the split, the tokenizer, the stream of tokens; and what is told of each."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from tokenizers import Tokenizer

from lmhead.batches.text import HeldOutText, TextRows
from lmhead.data.rows.progress import Progress
from lmhead.data.rows.selection import Selection
from lmhead.data.sets.corpus import Corpus, read_corpus
from lmhead.data.sets.documents import Documents
from lmhead.data.sets.held_out_prompt import held_out_prompts
from lmhead.data.tokenizer.run_tokenizer import RunTokenizer
from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles, read_tokenizer
from lmhead.data.tokenizer.train_tokenizer import require_rows, train_tokenizer
from lmhead.data.tokens.lossless import first_loss
from lmhead.data.tokens.text_pieces import pieces
from lmhead.data.tokens.token_cache import tokenised
from lmhead.inspection.doctor.survey_findings import told_of_texts
from lmhead.labels.id_count import id_count
from lmhead.training.config.train_config import TrainConfig
from lmhead.training.prompt import PROMPTS, text_prompt
from lmhead.training.run.run_folder import RunFolder
from lmhead.training.tokenized_data import TokenizedData
from lmhead.training.weights.start import Start

Note = Callable[[str], None]


def text_data(
    config: TrainConfig, selection: Selection, run: RunFolder, start: Start | None, note: Note, progress: Progress
) -> TokenizedData:
    """Documents end to end.

    Raises:
        InputError: the texts or the tokenizer cannot be used.
    """
    corpus = read_corpus(selection, held_out_share=config.data.held_out, progress=progress)
    train, held_out = corpus.train, corpus.held_out
    size = train.bytes + held_out.bytes
    note(
        f"data: {corpus.source}: {len(train) + len(held_out):,} documents, {size / 1e6:.1f} MB; "
        f"{len(held_out):,} held out ({held_out.bytes / 1e6:.2f} MB)"
    )
    for line in corpus.told:
        note(line)
    tokenizer = _tokenizer(config, run, start, corpus, note, progress)
    backend, ends, length = tokenizer.backend, tokenizer.ends, config.model.max_seq_len
    for line in told_of_texts((train, held_out), corpus.unread, backend):
        note(line)
    if start is not None:
        config = start.with_vocabulary(config, id_count(backend))
    begins = held_out_prompts(corpus)
    if config.prompt is None:
        config = replace(config, prompt=begins[0])
    shown = list(dict.fromkeys([config.prompt or "", *begins]))[:PROMPTS]
    cache = None if config.chat.cache is None else Path(config.chat.cache)
    stream = tokenised(backend, train, ends, cache, note, progress)
    rows = TextRows(stream, train.names(), length=length, seed=config.seed)
    stream = tokenised(backend, held_out, ends, cache, note, progress)
    lost = first_loss(backend, held_out, stream, ends)
    scored = HeldOutText(stream, held_out, length=length, lossless=lost is None)
    tokens = len(rows.stream)
    note(f"tokens: {tokens:,} to train on ({train.bytes / tokens:.2f} bytes each), {scored.tokens:,} held out")
    if lost is not None:
        note(
            f"tokenizer: texts do not come back from their tokens, the first held-out one that does not: {lost}; "
            "bits per byte are not claimed"
        )
    prompts = tuple(text_prompt(tokenizer, prompt) for prompt in shown)
    return TokenizedData(config=config, tokenizer=tokenizer, rows=rows, held_out=scored, prompts=prompts)


def _tokenizer(
    config: TrainConfig, run: RunFolder, start: Start | None, corpus: Corpus, note: Note, progress: Progress
) -> RunTokenizer:
    length = config.model.max_seq_len
    if run.tokenizer_file.exists():
        return RunTokenizer.of_text(read_tokenizer(str(run.path)), max_seq_len=length)
    if start is not None:
        return RunTokenizer.of_text(start.files, max_seq_len=length)
    if config.data.tokenizer is not None:
        given = RunTokenizer.of_text(read_tokenizer(config.data.tokenizer), max_seq_len=length)
        require_rows(config.model.vocab_size, given.backend, note)
        return given
    note(f"training a byte-level BPE of {config.model.vocab_size:,} tokens")
    trained = trained_tokenizer(corpus.train, config.model.vocab_size, progress)
    return RunTokenizer.of_text(TokenizerFiles(json=trained.to_str(), source="of the data"), max_seq_len=length)


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
