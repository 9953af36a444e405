"""audit_evaluation: whether a model's figure on data depends on what it must not depend on; `lmhead eval --audit`."""

from collections.abc import Sequence
from pathlib import Path

from lmhead.data.labelling.chat_config import ChatConfig
from lmhead.data.rows.progress import Progress, unheard
from lmhead.data.rows.selection import require_files
from lmhead.evaluation.audit.audit_documents import TOKENS, audit_documents
from lmhead.evaluation.audit.evaluation_audit import EvaluationAudit
from lmhead.evaluation.documents.document_options import DocumentOptions
from lmhead.evaluation.prepared_evaluation import PreparedEvaluation, paths_of
from lmhead.given.given_model import given_model


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
    """Does the figure change with batch size, padding side, packing, accumulation, dtype, cache, kernel, device?

        audit = lmhead.audit_evaluation("runs/a", "valid/")
        print(audit)  # which, and by how much
        audit.ok

    Args:
        model, data, tokenizer, window, stride, how, chat, device, step, progress: as `lmhead.evaluate` takes them.
        tokens: of the part of the data that is read, about: documents spread evenly over all.

    Raises:
        InputError: model, tokenizer or data cannot be used, or no token is scored.
        ArgumentError: an option breaks its rule.
    """
    require_files(paths_of(data))
    with given_model(model, device, step=step) as given:
        prepared = PreparedEvaluation(given, data, tokenizer, how or DocumentOptions(), chat or ChatConfig(), progress)
        return audit_documents(
            given.model,
            prepared.documents,
            prepared.windows(window, stride),
            device=given.device,
            name=given.name,
            tokens=tokens,
            progress=progress,
        )
