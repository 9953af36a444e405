"""audit_evaluation: a model and data -> what of the reading its figure depends on; `lmhead eval --audit` as a function."""

from collections.abc import Sequence
from pathlib import Path

from lmhead.data.labelling.chat_config import ChatConfig
from lmhead.data.rows.progress import Progress, unheard
from lmhead.data.rows.selection import select
from lmhead.errors import InputError
from lmhead.evaluation.audit.audit_documents import TOKENS, audit_documents
from lmhead.evaluation.audit.evaluation_audit import EvaluationAudit
from lmhead.evaluation.documents.document_options import DocumentOptions
from lmhead.evaluation.documents.documents import Documents
from lmhead.evaluation.documents.held_out_documents import held_out_documents
from lmhead.evaluation.documents.read_documents import read_documents
from lmhead.evaluation.scores.windows import Windows
from lmhead.given.given_model import GivenModel, given_model
from lmhead.given.given_tokenizer import GivenTokenizer
from lmhead.given.labelled_as import labelled_as

_LONGEST = 4096  # tokens of a window, where nobody says


def audit_evaluation(
    model: object,
    data: str | Path | Sequence[str | Path] = (),
    *,
    tokenizer: object = None,
    window: int | None = None,
    stride: int | None = None,
    how: DocumentOptions | None = None,
    chat: ChatConfig | None = None,
    device: str = "auto",
    step: int | None = None,
    tokens: int = TOKENS,
    progress: Progress = unheard,
) -> EvaluationAudit:
    """Does a model's figure depend on batch size, padding, packing, accumulation, dtype, cache, kernel or device?

        print(lmhead.audit_evaluation("runs/a", "valid/"))

    Args:
        model, data, tokenizer, window, stride, how, chat, device, step, progress: as of `evaluate`.
        tokens: of the part of the data that is read, about, spread over all of it.

    Raises:
        InputError: model, tokenizer or data cannot be used, do not fit one another, or no token is scored.
        ArgumentError: an option breaks its rule, or the model's context holds no row.
    """
    with given_model(model, device, step=step) as given:
        paths = [str(data)] if isinstance(data, str | Path) else [str(path) for path in data]
        documents = _documents(given, paths, tokenizer, how or DocumentOptions(), chat or ChatConfig(), progress)
        chosen = min(given.model.max_seq_len, _LONGEST) if window is None else window
        windows = Windows(window=chosen, stride=max(1, chosen // 2) if stride is None else stride)
        return audit_documents(
            given.model, documents, windows, device=given.device, name=given.name, tokens=tokens, progress=progress
        )


def _documents(
    given: GivenModel,
    paths: list[str],
    tokenizer: object,
    how: DocumentOptions,
    chat: ChatConfig,
    progress: Progress,
) -> Documents:
    own = given.tokenizer
    if tokenizer is not None:
        own = GivenTokenizer.of(tokenizer)
        given.require_fitting(own)
    if not paths:
        if given.run is None:
            raise InputError(f"data must be given for {given.name}, which is no run: lmhead eval MODEL DATA --audit")
        return held_out_documents(given.run, how, progress=progress)
    chat, _ = labelled_as(chat, given)
    selection = select(how.source(tuple(paths), chat.columns), progress)
    return read_documents(
        selection, own, chat, how, trained_here=given.run is not None, vocab_size=given.model.vocab_size
    )
