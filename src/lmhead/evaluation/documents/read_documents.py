"""read_documents: files, folders, pipes, data sets on the Hub, of any format -> a stream of EvaluationDocuments.

    documents = read_documents(["valid.jsonl"], GivenTokenizer.of("runs/a"))
    for document in documents: ...
    documents.scored, documents.skipped, documents.told

A text is tokenised alone, a long one in windows. Conversations, completions and rows of ids are labelled as `lmhead
train` labels them. Nothing but a document, and a few that are read ahead, is ever in memory.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Final

import numpy as np

from lmhead.data.formats.formats import Samples
from lmhead.data.formats.sample import ChatSample, CompletionSample, Sample, TextSample, TokenSample
from lmhead.data.labelling.chat_config import ChatConfig
from lmhead.data.labelling.label_files import label_samples, workers_worth
from lmhead.data.labelling.label_rows import refused
from lmhead.data.labelling.outcome import Labelled, Refusal
from lmhead.data.labelling.recipe import Recipe
from lmhead.data.labelling.token_rows import token_example
from lmhead.data.rows.progress import Progress, unheard
from lmhead.data.rows.reading import counted
from lmhead.data.rows.row import Place
from lmhead.data.rows.selection import Selection, select
from lmhead.data.tokenizer.plain_text import PlainText
from lmhead.data.tokenizer.text_ends import TextEnds
from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles
from lmhead.errors import ConversationError, InputError
from lmhead.evaluation.documents.document import EvaluationDocument
from lmhead.evaluation.documents.document_options import DocumentOptions
from lmhead.evaluation.documents.documents import Documents
from lmhead.evaluation.documents.prefix import Prefix
from lmhead.evaluation.documents.replaced_bytes import LOST, may_hold_replaced
from lmhead.evaluation.documents.scored_bytes import ScoredBytes, ScoredText
from lmhead.evaluation.documents.sources import source_of
from lmhead.evaluation.documents.text_document import first_unscored, text_document
from lmhead.evaluation.documents.text_tokens import TextTokenizer
from lmhead.given.given_tokenizer import GivenTokenizer
from lmhead.labels.example import Example
from lmhead.labels.targets import Reason
from lmhead.options import Message, option

_READ_AHEAD: Final = 2**18  # characters of texts that are tokenised at once
_MANY: Final = 256  # texts
_Sourced = tuple[Sample, str]  # a sample, and what source it is of
_NO_TEXT: Final = ScoredText(utf8=None, ends=None, lost="without a tokenizer nobody knows what its ids stand for")
_FORMS: Final[dict[type, str]] = {
    ChatSample: "conversations",
    CompletionSample: "completions",
    TextSample: "texts",
    TokenSample: "rows of ids",
}


def read_documents(
    data: Sequence[str] | Selection,
    tokenizer: GivenTokenizer | TokenizerFiles | None,
    chat: ChatConfig | None = None,
    how: DocumentOptions | None = None,
    *,
    trained_here: bool = False,
    vocab_size: int | None = None,
    progress: Progress = unheard,
) -> Documents:
    """The documents of data, which are read while they are iterated over.

    Args:
        data: paths of files and folders, `-`, pipes, hf:NAME:SPLIT; or what was selected of them.
        tokenizer: None: rows of ids alone can be read.
        chat: how rows are labelled; of these `format`, `columns`, `on_error` and `workers` too.
        how: what is read, and what begins and ends a text.
        trained_here: the tokenizer is that of a run of this library.
        vocab_size: of the model: ids must be below it; None: below the tokenizer's.
        progress: hears of the bytes that are read.

    Raises:
        InputError: there is no such data, or the tokenizer is missing, slow, or lacks what the prefix needs. While
            iterating: a row cannot be read or labelled (unless `chat.on_error` is skip), or no token is scored.
        ArgumentError: an option breaks its rule.
    """
    chat, how = chat or ChatConfig(), how or DocumentOptions()
    selection = data if isinstance(data, Selection) else select(how.source(tuple(data), chat.columns), progress)
    known = GivenTokenizer.of(tokenizer) if isinstance(tokenizer, TokenizerFiles) else tokenizer
    files = None if known is None else known.files
    prefix = Prefix() if files is None else Prefix.of(files, how.prefix, trained_here=trained_here)
    reader = _Reader(selection, known, chat, how, prefix, vocab_size, progress)
    every = selection.every_file()
    return Documents(
        reader.documents,
        data=selection.source.paths,
        prefix=prefix,
        size=None if every is None else sum(file.size for file in every),
        limit=how.limit,
    )


class _Reader:
    """Reads the documents of a selection."""

    def __init__(
        self,
        selection: Selection,
        tokenizer: GivenTokenizer | None,
        chat: ChatConfig,
        how: DocumentOptions,
        prefix: Prefix,
        vocab_size: int | None,
        progress: Progress,
    ) -> None:
        self._selection, self._tokenizer, self._chat, self._how = selection, tokenizer, chat, how
        self._prefix, self._vocab_size, self._progress = prefix, vocab_size, progress
        files = self._files = None if tokenizer is None else tokenizer.files
        self._recipe = None if files is None else Recipe.of(files, chat)
        self._bare = 0  # rows of ids without the prefix
        self._own = () if files is None else tuple(PlainText(files.shared_backend()).prefix)

    def documents(self, into: Documents) -> Iterator[EvaluationDocument]:
        """Every document, and what is left out or lost `into` the counts."""
        skip = self._chat.on_error == "skip"

        def leave(place: Place, error: InputError) -> None:
            into.refuse("format", error.message)

        def reached(doing: str, done: int, total: int | None, unit: str) -> None:
            into.read = done
            self._progress(doing, done, total, unit)

        samples = Samples(
            self._selection,
            format=self._chat.format,
            on_error=leave if skip else None,
            progress=reached,
        )
        named = source_of(self._selection)
        self._bare = 0
        sourced = ((sample, named(sample.place)) for sample in samples)
        for kind, group in groupby(sourced, key=lambda each: type(each[0])):
            for document in self._made(kind, group, into):
                self._require_known(document)
                yield document
                into.forms[_FORMS[kind]] += int(document.scored.any())  # it was taken: another one is asked for
        into.lines = (*samples.reading.lines(), *self._as_they_are())

    def _made(self, kind: type[Sample], group: Iterable[_Sourced], into: Documents) -> Iterator[EvaluationDocument]:
        return self._texts(group, into) if kind is TextSample else self._labelled(kind, group, into)

    def _texts(self, group: Iterable[_Sourced], into: Documents) -> Iterator[EvaluationDocument]:
        files = self._required()
        encode = TextTokenizer(files.shared_backend())
        end = TextEnds.of(files).end if self._how.end else None
        for batch in _batches(group):
            texts = [sample.text for sample, _ in batch if isinstance(sample, TextSample)]
            for (sample, source), tokens in zip(batch, encode(texts), strict=True):
                if may_hold_replaced(tokens.utf8, self._how.errors):
                    tokens = replace(tokens, ends=None, lost=LOST)
                if tokens.lost is not None:
                    into.lose(str(sample.place), tokens.lost)
                yield text_document(tokens, place=sample.place, source=source, prefix=self._prefix, end=end)

    def _labelled(self, kind: type[Sample], group: Iterable[_Sourced], into: Documents) -> Iterator[EvaluationDocument]:
        """Rows that are labelled, in their order; `waiting` holds those that workers have in hand."""
        waiting: deque[_Sourced] = deque()

        def handed() -> Iterator[Sample]:
            for each in group:
                waiting.append(each)
                yield each[0]

        bytes_of = None if self._recipe is None else ScoredBytes(self._recipe.tokenizer.shared_backend())
        for labelled in self._rows(kind, handed()):
            sample, source = waiting.popleft()
            if labelled.example is None:
                assert labelled.refusal is not None
                if self._chat.on_error == "stop":
                    raise _stopped(labelled.refusal)
                into.refuse(labelled.refusal.kind, labelled.refusal.message)
                continue
            example = self._begun(labelled.example, sample)
            text = _NO_TEXT if bytes_of is None else bytes_of.of(example, sample)
            if may_hold_replaced(text.utf8, self._how.errors):
                text = ScoredText(utf8=None, ends=None, lost=LOST)
            if text.lost is not None:
                into.lose(str(sample.place), text.lost)
            yield EvaluationDocument(place=sample.place, source=source, example=example, utf8=text.utf8, ends=text.ends)

    def _rows(self, kind: type[Sample], samples: Iterator[Sample]) -> Iterator[Labelled]:
        if kind is TokenSample:
            size = self._size()
            return (_of_ids(sample, size) for sample in samples if isinstance(sample, TokenSample))
        self._required()
        assert self._recipe is not None
        if kind is ChatSample and self._recipe.added_tokens:
            added = ", ".join(self._recipe.added_tokens)
            raise InputError(
                f"{option('template')} must be of tokens that the model knows, got ChatML, the built-in one, for "
                f"{self._recipe.tokenizer.source}, which has no {added}: give the template that it was trained with, "
                "or a model of conversations"
            )
        files = self._selection.every_file()
        workers = self._chat.workers or (1 if files is None else workers_worth([file.path for file in files]))
        return label_samples(samples, self._recipe, workers=workers)

    def _begun(self, example: Example, sample: Sample) -> Example:
        """With the prefix that was asked for: a chat template writes its own, and ids are as somebody made them."""
        before: Sequence[int] = ()
        why = Reason.SCAFFOLD
        if isinstance(sample, CompletionSample):
            before, why = self._own, Reason.PROMPT
        elif isinstance(sample, ChatSample):
            return example
        prefix = self._prefix.ids
        if tuple(example.ids[: len(prefix)].tolist()) == prefix and len(prefix) >= len(before):
            return example
        if isinstance(sample, TokenSample) and self._how.prefix == "auto":
            self._bare += 1
            return example
        ids = np.concatenate([np.array(prefix, np.int32), example.ids[len(before) :]])
        reason = np.concatenate([np.full(len(prefix), int(why), np.uint8), example.reason[len(before) :]])
        return replace(first_unscored(ids, reason), notes=example.notes)

    def _as_they_are(self) -> Iterator[str]:
        if self._bare:
            yield Message(
                f"{counted(self._bare, 'row')} of ids, read as they are: they do not begin with "
                f"{' '.join(self._prefix.names)}; {option('prefix', 'bos')} or eos puts it there"
            )

    def _size(self) -> int:
        """Ids that there are."""
        own = None if self._tokenizer is None else self._tokenizer.size
        return min((size for size in (own, self._vocab_size) if size is not None), default=2**31)

    def _require_known(self, document: EvaluationDocument) -> None:
        """Refuse tokens that the model has no row for: the tokenizer is another's."""
        largest = int(document.example.ids.max(initial=0))
        if self._vocab_size is not None and largest >= self._vocab_size:
            whose = "somebody else's ids" if self._tokenizer is None else f"the tokenizer {self._tokenizer.name}"
            raise InputError(
                f"{document.name}: ids must be in the model's vocabulary, [0, {self._vocab_size:,}), got {largest:,} "
                f"from {whose}: give the tokenizer that the model was trained with"
            )

    def _required(self) -> TokenizerFiles:
        if self._files is None:
            got = "none" if self._tokenizer is None else f"{self._tokenizer.name}, which is written in Python,"
            raise InputError(
                f"{option('tokenizer')} must be given for rows that are no ids, got {got} for "
                f"{', '.join(self._selection.source.paths)}: give a tokenizer.json, the folder of a model or of a run, "
                "or a name on the Hub"
            )
        return self._files


def _batches(group: Iterable[_Sourced]) -> Iterator[list[_Sourced]]:
    """Texts that are tokenised together."""
    batch: list[_Sourced] = []
    size = 0
    for each in group:
        assert isinstance(each[0], TextSample)
        batch.append(each)
        size += len(each[0].text)
        if size >= _READ_AHEAD or len(batch) == _MANY:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _of_ids(sample: TokenSample, size: int) -> Labelled:
    try:
        return Labelled(place=sample.place, example=token_example(sample, size))
    except ConversationError as error:
        return refused(sample.place, ConversationError(f"{sample.place}: {error.message.marked}", kind=error.kind))


def _stopped(refusal: Refusal) -> InputError:
    message = refusal.message.marked.removesuffix(".")
    return InputError(f"{message}; or leave such rows out with {option('on_error', 'skip')}")
