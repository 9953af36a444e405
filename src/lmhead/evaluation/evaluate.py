"""evaluate: a model and data -> the evaluation card and the sums of each document; `lmhead eval` as a function."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

import torch

from lmhead.data.labelling.chat_config import ChatConfig
from lmhead.data.rows.progress import Progress, unheard
from lmhead.data.rows.selection import require_files
from lmhead.errors import InputError, require, require_choice, require_kind
from lmhead.evaluation.against_base import against_base
from lmhead.evaluation.card.conditions import (
    DataConditions,
    ModelConditions,
    PrefixConditions,
    ReadingConditions,
    Section,
    TokenizerConditions,
)
from lmhead.evaluation.card.evaluation_card import EvaluationCard
from lmhead.evaluation.card.found_conditions import making, model_conditions, tokenizer_conditions
from lmhead.evaluation.card.worst_rows import PAGE_FILE, worst_entries, write_worst
from lmhead.evaluation.documents.document import EvaluationDocument
from lmhead.evaluation.documents.document_options import DocumentOptions
from lmhead.evaluation.documents.documents import Documents
from lmhead.evaluation.documents.trained_on import TrainedOn
from lmhead.evaluation.evaluation_result import EvaluationResult
from lmhead.evaluation.folder.evaluation_folder import EvaluationFolder, Unfinished
from lmhead.evaluation.prepared_evaluation import PreparedEvaluation, paths_of
from lmhead.evaluation.scores.byte_losses import ByteLosses
from lmhead.evaluation.scores.document_scores import TOKENS, DocumentScores, document_scores
from lmhead.evaluation.scores.stream_scores import stream_scores
from lmhead.evaluation.scores.windows import Windows
from lmhead.evaluation.sums.document_sums import DocumentSums
from lmhead.evaluation.sums.evaluation_totals import EvaluationTotals
from lmhead.evaluation.sums.worst_documents import WorstDocuments
from lmhead.given.given_model import GivenModel, given_model
from lmhead.given.given_tokenizer import GivenTokenizer
from lmhead.given.same_tokenizer import require_same_tokenizer
from lmhead.models.device import choose_precision
from lmhead.options import option
from lmhead.version import __version__

Context = Literal["document", "stream"]
_SAVED_EVERY: Final = 30.0  # seconds


def evaluate(
    model: object,
    data: str | Path | Sequence[str | Path] = (),
    *,
    tokenizer: object = None,
    window: int | None = None,
    stride: int | None = None,
    context: Context = "document",
    how: DocumentOptions | None = None,
    chat: ChatConfig | None = None,
    precision: str = "float32",
    device: str = "auto",
    step: int | None = None,
    tokens: int = TOKENS,
    base: object = None,
    out: str | Path | None = None,
    progress: Progress = unheard,
    command: str | None = None,
) -> EvaluationResult:
    """A model's figures on data, with every number behind them.

        found = lmhead.evaluate("runs/a", "valid/")
        print(found)                       # the card, for a terminal
        found.card.figures.bits_per_byte

    Args:
        model: the path of a run, of a checkpoint or of a model's folder, a name on the Hub, an lmhead.GPT, or a model
            of transformers, which is left as it was.
        data: paths as `lmhead train` takes them; none: what the run held out of its own data.
        tokenizer: of transformers or tokenizers, or a path; None: the one beside the model.
        window: tokens that are read at a time; None: the model's context, 4,096 at most.
        stride: tokens that each next window of a longer document ends further on; None: half a window.
        context: "document": each document is read alone; "stream": end to end, as a run of texts reads its own.
        how: what is read of data, and what begins and ends a text.
        chat: how rows are labelled; None, or where an option has its default: as the model's run labelled.
        precision: of the products: float32 (what the weights are in), bfloat16, or auto.
        device: of a model that is read from a path.
        step: which checkpoint of a run; None: the newest.
        tokens: of a batch at most, padding included, but one window there is.
        base: another model of the same tokenizer, to which KL and agreement are told: the full one of a quantised one.
        out: a folder that an interrupted evaluation goes on in; None: nothing is written.
        progress: hears how far reading and scoring are.
        command: as it was typed, for the card.

    Raises:
        InputError: model, tokenizer or data cannot be used, do not fit one another, or no token is scored.
        ArgumentError: an option breaks its rule.
        ArgumentTypeError: an argument is of the wrong kind.
    """
    require_choice(option("context"), context, ("document", "stream"))
    require_kind(option("batch"), tokens, int)
    require(tokens >= 1, option("batch"), "be >= 1 token", tokens)
    require_files(paths_of(data))
    with ExitStack() as stack:
        given = stack.enter_context(given_model(model, device, step=step))
        other = None if base is None else stack.enter_context(given_model(base, str(given.device)))
        how = how or DocumentOptions()
        if context == "stream":
            how = replace(how, end=True)  # what ends a text stands between two of them
        prepared = PreparedEvaluation(given, data, tokenizer, how, chat or ChatConfig(), progress)
        windows = prepared.windows(window, stride)
        work = _Work(prepared, context, other, choose_precision(precision, given.device), progress)
        folder = None if out is None else EvaluationFolder(Path(out), work.settings(windows))
        if folder is not None and folder.finished:
            return EvaluationResult.read(folder.path)
        return work.result(windows, tokens, folder, command=command)


@dataclass(slots=True)
class _Sums:
    """What is kept of the documents so far."""

    totals: EvaluationTotals
    worst: WorstDocuments
    documents: list[DocumentSums]
    seconds: float = 0.0  # of earlier calls
    whole: bool = True  # no document is in one of them and not in the others

    def add(self, scores: DocumentScores, folder: EvaluationFolder | None) -> None:
        self.whole = False  # until all is done: Ctrl-C may come at any moment
        of_it = DocumentSums.of(scores)
        self.totals.add(scores)
        self.worst.add(scores, of_it)
        if folder is not None:
            folder.add(of_it, ByteLosses.of(scores))
        self.documents.append(of_it)
        self.whole = True

    def state(self) -> dict[str, Any]:
        self.whole = False  # what waits is summed
        made = {"totals": self.totals.state(), "worst": self.worst.state()}
        self.whole = True
        return made


class _Work:
    """One model on one set of documents."""

    def __init__(
        self,
        prepared: PreparedEvaluation,
        context: Context,
        base: GivenModel | None,
        dtype: torch.dtype,
        progress: Progress,
    ) -> None:
        if base is not None:
            require(context == "document", option("context"), "be document beside a base", context)
            require_same_tokenizer(base, prepared.given)
        self._prepared, self._context, self._base, self._progress = prepared, context, base, progress
        self._given, self._documents, self._own = prepared.given, prepared.documents, prepared.tokenizer
        self._tokenizer = _tokenizer(prepared.tokenizer)
        self._dtype = dtype

    @cached_property
    def _model(self) -> ModelConditions:
        """With a sum over all weights, which takes seconds of large ones."""
        return model_conditions(self._given, self._dtype, step=self._given.step)

    def settings(self, windows: Windows) -> dict[str, Any]:
        """Everything that the sums depend on."""
        chat = {
            name: getattr(self._prepared.chat, name)
            for name in self._prepared.chat.__slots__
            if name not in ("cache", "workers")
        }
        files = None if self._prepared.selection is None else self._prepared.selection.every_file()
        stamps = None if files is None else [_stamp(file.path) for file in files]
        return {
            "model": self._model.weights_sha256,
            "dtype": [self._model.weights_dtype, self._model.dtype],
            "tokenizer": self._tokenizer.sha256,
            "data": [*self._documents.data]
            if self._prepared.selection is not None
            else f"held out by {self._given.name}",
            "files": stamps,
            "window": windows.window,
            "stride": windows.stride,
            "context": self._context,
            "documents": {name: getattr(self._prepared.how, name) for name in self._prepared.how.__slots__},
            "base": None if self._base is None else model_conditions(self._base, self._dtype).weights_sha256,
            "chat": chat,
            "version": __version__,
        }

    def result(
        self,
        windows: Windows,
        tokens: int,
        folder: EvaluationFolder | None,
        *,
        command: str | None,
    ) -> EvaluationResult:
        """Score what is not scored yet, and make the card."""
        begun = time.monotonic()
        sums = self._scored(windows, tokens, folder, begun)
        seconds = sums.seconds + time.monotonic() - begun
        given, found = self._given, self._documents
        card = EvaluationCard.of(
            sums.totals,
            model=self._model,
            tokenizer=self._tokenizer,
            data=DataConditions(
                paths=tuple(found.data),
                forms=dict(found.forms.most_common()),
                fingerprint=found.fingerprint,
                refused=dict(found.refused.most_common()),
                lost=found.lost,
                limit=self._prepared.how.limit if found.limited else None,
                trained_on=self._of_training(),
            ),
            reading=ReadingConditions(
                context=self._context,
                window=windows.window,
                stride=windows.stride,
                prefix=PrefixConditions(
                    policy=self._prepared.how.prefix,
                    ids=found.prefix.ids,
                    tokens=found.prefix.names,
                    told=found.prefix.told(),
                ),
                end_scored=self._prepared.how.end,
            ),
            making=making(given.device, seconds=seconds, command=command),
            notes=tuple(filter(None, (*self._prepared.notes, *map(str, found.told), self._of_training()))),
        )
        card = card.with_intervals(sums.documents)
        if self._base is not None:
            card = card.with_(sections=(*card.sections, self._of_base(windows, tokens)))
        worst = sums.worst.documents()
        if folder is None:
            card = card.with_(worst=worst_entries(worst, shown=False))
        else:
            entries = write_worst(folder.path, worst, given, self._own, title=f"{given.name}: the worst documents")
            card = card.with_(worst=entries, inspect=PAGE_FILE if entries else None)
        made = EvaluationResult(card=card, documents=tuple(sums.documents), worst=sums.worst)
        if folder is not None:
            made.write(folder.path)
            folder.finish()
        return made

    def _of_base(self, windows: Windows, tokens: int) -> Section:
        assert self._base is not None
        passing = _Passing(self._documents, None)
        size, doing = self._documents.size, f"reading with {self._base.name}"

        def reached(documents: int) -> None:
            self._progress(doing, passing.reached(documents), size, "bytes")

        return against_base(
            self._base, self._given, passing, windows, dtype=self._dtype, tokens=tokens, reached=reached
        )

    def _of_training(self) -> str | None:
        return None if self._prepared.trained is None else self._prepared.trained.line()

    def _scored(self, windows: Windows, tokens: int, folder: EvaluationFolder | None, begun: float) -> _Sums:
        whole = self._context == "stream"  # each sees those before it: there is nothing to go on from
        before = None if folder is None else folder.begin(anew=whole)
        sums = _begun(before, folder, windows)
        done = len(sums.documents)
        passing = _Passing(self._documents, self._prepared.trained)
        scores = self._scores(islice(passing, done, None), windows, tokens)
        saved = time.monotonic()
        try:
            for each in scores:
                sums.add(each, folder)
                self._progress("scoring", passing.reached(len(sums.documents)), self._documents.size, "bytes")
                if folder is not None and not whole and time.monotonic() - saved >= _SAVED_EVERY:
                    _save(folder, sums, begun)
                    saved = time.monotonic()
        finally:  # Ctrl-C too
            if folder is not None and sums.whole:
                _save(folder, sums, begun)
        return sums

    def _scores(
        self, documents: Iterator[EvaluationDocument], windows: Windows, tokens: int
    ) -> Iterator[DocumentScores]:
        scored = document_scores if self._context == "document" else stream_scores
        return scored(
            self._given.model, documents, windows, device=self._given.device, dtype=self._dtype, tokens=tokens
        )


class _Passing:
    """Documents on their way, and how far the reading of the files was at each."""

    def __init__(self, documents: Documents, trained: TrainedOn | None) -> None:
        self._documents, self._trained = documents, trained
        self._read: list[int] = []

    def __iter__(self) -> Iterator[EvaluationDocument]:
        for document in self._documents:
            self._read.append(self._documents.read)
            if self._trained is not None:
                self._trained.see(document.place)
            yield document

    def reached(self, documents: int) -> int:
        """Bytes of the files up to so many documents."""
        return self._read[documents - 1]


def _begun(before: Unfinished | None, folder: EvaluationFolder | None, windows: Windows) -> _Sums:
    if before is None:
        return _Sums(totals=EvaluationTotals(windows), worst=WorstDocuments(), documents=[])
    assert folder is not None
    return _Sums(
        totals=EvaluationTotals.from_state(before.totals["totals"]),
        worst=WorstDocuments.from_state(before.totals["worst"]),
        documents=folder.documents(),
        seconds=before.seconds,
    )


def _save(folder: EvaluationFolder, sums: _Sums, begun: float) -> None:
    seconds = sums.seconds + time.monotonic() - begun
    folder.save(sums.state(), documents=len(sums.documents), seconds=seconds)


def _stamp(file: Path) -> list[Any]:
    status = file.stat()
    return [file.name, status.st_size, status.st_mtime_ns]


def _tokenizer(tokenizer: GivenTokenizer | None) -> TokenizerConditions:
    if tokenizer is None:
        raise InputError(f"{option('tokenizer')} must be given for a model without one beside it: its figures name it")
    return tokenizer_conditions(tokenizer)
