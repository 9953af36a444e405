"""A plain text as an EvaluationDocument: its prefix, its tokens, its end where that is scored."""

import numpy as np

from lmhead.data.rows.row import Place
from lmhead.evaluation.documents.document import EvaluationDocument
from lmhead.evaluation.documents.prefix import Prefix
from lmhead.evaluation.documents.text_tokens import TextTokens
from lmhead.labels.example import Example
from lmhead.labels.targets import Reason


def text_document(
    tokens: TextTokens, *, place: Place, source: str, prefix: Prefix, end: int | None
) -> EvaluationDocument:
    """The document. Without a prefix the first token is not scored, and its bytes do not count.

    Args:
        end: the id that ends a text, to be scored; None: it is not.
    """
    behind = [] if end is None else [end]
    ids = np.concatenate([np.array(prefix.ids, np.int32), tokens.ids, np.array(behind, np.int32)])
    reason = np.full(len(ids), int(Reason.SCORED), np.uint8)
    reason[: len(prefix.ids)] = int(Reason.SCAFFOLD)
    utf8, ends = None, None
    if tokens.ends is not None:
        skipped = 0 if prefix.ids or not len(tokens.ends) else int(tokens.ends[0])
        utf8 = tokens.utf8[skipped:]
        inner = tokens.ends - skipped
        ends = np.concatenate([np.zeros(len(prefix.ids), np.int64), inner, np.full(len(behind), len(utf8), np.int64)])
    return EvaluationDocument(place=place, source=source, example=first_unscored(ids, reason), utf8=utf8, ends=ends)


def first_unscored(
    ids: "np.ndarray[tuple[int], np.dtype[np.int32]]", reason: "np.ndarray[tuple[int], np.dtype[np.uint8]]"
) -> Example:
    """An Example whose first token, which nothing predicts, says so."""
    if len(reason) and reason[0] == int(Reason.SCORED):
        reason[0] = int(Reason.DOCUMENT_BOUNDARY)
    return Example(ids=ids, trained=reason == int(Reason.SCORED), reason=reason)
