"""held_out_documents: what a run never trained on, split from its own data exactly as the run split them.

The data are read and tokenised anew, those that were trained on too: by the fingerprint of both it is known that
nothing has changed since, so that nothing that is scored was learnt.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from lmhead.batches.chat import ChatRows, HeldOutChat, SeparateChatRows, example_of
from lmhead.data.labelling.outcome import Labelled
from lmhead.data.labelling.recipe import Recipe
from lmhead.data.rows.progress import Progress, unheard
from lmhead.data.rows.row import Place
from lmhead.data.rows.selection import Selection, select
from lmhead.data.rows.streams import is_stream
from lmhead.data.rows.text_file import Errors
from lmhead.data.sets.conversations import labelled_format, read_conversations
from lmhead.data.sets.corpus import read_corpus
from lmhead.data.sets.documents import Documents as Texts
from lmhead.data.sets.message_texts import some_texts
from lmhead.data.sets.standard_library import standard_library
from lmhead.data.tokenizer.run_tokenizer import RunTokenizer
from lmhead.data.tokenizer.text_ends import TextEnds
from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles, read_tokenizer
from lmhead.data.tokens.lossless import first_text_lost
from lmhead.data.tokens.token_cache import tokenised
from lmhead.errors import InputError
from lmhead.evaluation.documents.document import EvaluationDocument
from lmhead.evaluation.documents.document_options import DocumentOptions
from lmhead.evaluation.documents.documents import Documents
from lmhead.evaluation.documents.prefix import Prefix
from lmhead.evaluation.documents.replaced_bytes import LOST, may_hold_replaced
from lmhead.evaluation.documents.scored_bytes import ScoredBytes, ScoredText
from lmhead.evaluation.documents.sources import source_of
from lmhead.evaluation.documents.text_document import text_document
from lmhead.evaluation.documents.text_tokens import TextTokenizer
from lmhead.shown import shown_line
from lmhead.training.config.train_config import TrainConfig
from lmhead.training.run.run_folder import RunFolder

_MANY: Final = 256  # texts that are tokenised at once


def held_out_documents(run: Path, how: DocumentOptions | None = None, *, progress: Progress = unheard) -> Documents:
    """The documents or conversations that a run held out, in the order in which it has them.

    Conversations are labelled, and cut to the run's length, as the run did.

    Args:
        run: its folder.
        how: what begins and ends a text; which files are read, the run's config says.
        progress: hears of reading, tokenising and labelling.

    Raises:
        InputError: there is no such run, or its data are gone, came from standard input, or are not what they were.
    """
    folder, how = RunFolder.open(run), how or DocumentOptions()
    config = folder.config()
    if how.source_key is not None:
        config = replace(config, data=replace(config.data, source_key=how.source_key))
    selection = _selection(run, config, progress)
    files = read_tokenizer(str(run))
    format = labelled_format(selection, config.chat.format)
    found: _Texts | _Conversations
    if format is None:
        found = _texts(config, selection, files, progress)
    else:
        found = _conversations(config, selection, files, progress)
    _require_same(folder, found)
    prefix = Prefix.of(files, how.prefix, trained_here=True)
    named = source_of(selection)
    return Documents(
        lambda into: found.documents(into, prefix, how, named),
        data=selection.source.paths,
        prefix=prefix,
        limit=how.limit,
        notes=(f"held out by {shown_line(str(run))}: {len(found):,} {found.what}", *found.odd),
    )


def data_of(config: TrainConfig, progress: Progress = unheard) -> Selection:
    """The files that a run was given.

    Raises:
        InputError: they are gone.
    """
    source = config.data.source(config.chat.columns)
    return select(source, progress) if source.paths else standard_library()


def _selection(run: Path, config: TrainConfig, progress: Progress) -> Selection:
    remedy = "give data that were held out as files"
    for path in config.data.paths:
        if is_stream(path):
            raise InputError(
                f"the data of {run} must lie in files to be read again, got {shown_line(path)}, of which nothing is "
                f"kept: {remedy}"
            )
    try:
        return data_of(config, progress)
    except InputError as error:
        raise InputError(f"the data of {run} must be where they were, got {error.message.marked}: {remedy}") from None


def _require_same(folder: RunFolder, found: "_Texts | _Conversations") -> None:
    """Refuse data that are not those of the run."""
    seal = folder.seal()
    known = None if seal is None else seal.fingerprint
    if known is None:
        raise InputError(
            f"{folder.path} must tell the fingerprint of its data, got none in its seal: give data that were held out "
            "as files"
        )
    if known != found.fingerprint:
        raise InputError(
            f"the data of {folder.path} must be what the run split, got others in their place (fingerprint "
            f"{found.fingerprint[:12]}, not {known[:12]}): bring back the files as they were, or give data that were "
            "held out as files"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Texts:
    """Held-out texts."""

    files: TokenizerFiles
    texts: Texts
    fingerprint: str
    errors: Errors
    odd: tuple[str, ...]
    what = "texts"

    def __len__(self) -> int:
        return len(self.texts)

    def documents(
        self, into: Documents, prefix: Prefix, how: DocumentOptions, named: Callable[[Place], str]
    ) -> Iterator[EvaluationDocument]:
        encode = TextTokenizer(self.files.shared_backend())
        end = TextEnds.of(self.files).end if how.end else None
        places = list(self.texts.places())
        for start in range(0, len(places), _MANY):
            batch = places[start : start + _MANY]
            made = encode([str(self.texts.utf8(start + each), "utf-8") for each in range(len(batch))])
            for place, tokens in zip(batch, made, strict=True):
                if may_hold_replaced(tokens.utf8, self.errors):
                    tokens = replace(tokens, ends=None, lost=LOST)
                if tokens.lost is not None:
                    into.lose(str(place), tokens.lost)
                yield text_document(tokens, place=place, source=named(place), prefix=prefix, end=end)
                into.forms["texts"] += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Conversations:
    """Held-out conversations."""

    recipe: Recipe
    rows: Sequence[Labelled]
    fingerprint: str
    errors: Errors
    lost: str | None
    odd: tuple[str, ...]
    what = "conversations"

    def __len__(self) -> int:
        return len(self.rows)

    def documents(
        self, into: Documents, prefix: Prefix, how: DocumentOptions, named: Callable[[Place], str]
    ) -> Iterator[EvaluationDocument]:
        bytes_of = ScoredBytes(self.recipe.tokenizer.shared_backend())
        for row in self.rows:
            example = example_of(row)
            text = bytes_of.of_ids(example)
            lost = LOST if may_hold_replaced(text.utf8, self.errors) else self.lost
            if lost is not None:
                text = ScoredText(utf8=None, ends=None, lost=lost)
            if text.lost is not None:
                into.lose(str(row.place), text.lost)
            yield EvaluationDocument(
                place=row.place, source=named(row.place), example=example, utf8=text.utf8, ends=text.ends
            )
            into.forms["conversations"] += 1


def _texts(config: TrainConfig, selection: Selection, files: TokenizerFiles, progress: Progress) -> _Texts:
    corpus = read_corpus(selection, held_out_share=config.data.held_out, progress=progress)
    tokenizer = RunTokenizer.of_text(files, max_seq_len=config.model.max_seq_len)
    cache = None if config.chat.cache is None else Path(config.chat.cache)

    def fingerprint(texts: Texts) -> str:
        return tokenised(tokenizer.backend, texts, tokenizer.ends, cache, _unsaid, progress).fingerprint()

    both = fingerprint(corpus.train), fingerprint(corpus.held_out)
    odd = tuple(line for line in corpus.told if line.startswith("held out"))
    return _Texts(files=files, texts=corpus.held_out, fingerprint=_joined(*both), errors=config.data.errors, odd=odd)


def _conversations(
    config: TrainConfig, selection: Selection, files: TokenizerFiles, progress: Progress
) -> _Conversations:
    length = config.model.max_seq_len
    chat = replace(config.chat, template=None)  # it lies with the tokenizer
    recipe = Recipe.of(files, chat, max_length=length)
    found = read_conversations(
        selection,
        recipe,
        held_out_share=config.data.held_out,
        note=_unsaid,
        progress=progress,
        list_refused=_unsaid,
    )
    backend = recipe.tokenizer.backend()
    rows = (ChatRows if config.pack else SeparateChatRows)(found.train, length=length, seed=config.seed, pad_id=0)
    apart = HeldOutChat(found.held_out, backend, length=length, lossless=False)
    refused = len(found.refused)
    return _Conversations(
        recipe=recipe,
        rows=found.held_out,
        fingerprint=_joined(rows.fingerprint(), apart.fingerprint()),
        errors=config.data.errors,
        lost=first_text_lost(backend, some_texts(selection, format=config.chat.format)),
        odd=(f"{refused:,} conversations were skipped, as in training",) if refused else (),
    )


def _joined(train: str, held_out: str) -> str:
    """As a run that is ready joins them."""
    return hashlib.sha256(f"{train} {held_out}".encode()).hexdigest()


def _unsaid(line: str) -> None:
    """The run told it."""
