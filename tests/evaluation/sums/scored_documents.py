"""Documents with scores drawn at random: of texts and of conversations, without a model."""

from itertools import pairwise

import numpy as np

from lmhead.data.rows.row import Place
from lmhead.evaluation.documents.document import EvaluationDocument
from lmhead.evaluation.scores.document_scores import DocumentScores
from lmhead.labels.example import Example, MessageSpan
from lmhead.labels.targets import Reason

V = 3000
REASONS = np.array([Reason.USER, Reason.SCAFFOLD, Reason.TRUNCATED], np.uint8)


def drawn(rng, number, *, length=None, chat=None, source=None, weight=False):
    """A document, and what a model made of it."""
    length = int(rng.integers(1, 60)) if length is None else length
    trained = rng.random(length) < 0.7
    reason = np.where(trained, np.uint8(Reason.SCORED), REASONS[rng.integers(0, 3, length)])
    weights = (rng.random(length) < 0.8).astype(np.float32) if weight else None
    chat = bool(rng.integers(0, 2)) if chat is None else chat
    source = f"s{rng.integers(0, 5)}" if source is None else source
    example = Example(
        ids=rng.integers(0, V, length).astype(np.int32),
        trained=trained,
        reason=reason,
        weight=weights,
        spans=spans(rng, length) if chat else (),
    )
    document = EvaluationDocument(
        place=Place(source=source, number=number),
        source=source,
        example=example,
        utf8=b"x" * (int(rng.integers(1, 4 * length)) if trained[1:].any() else 0),  # of what is scored
    )
    return scores(rng, document)


def spans(rng, length):
    """User, assistant, user, ... over all of the tokens."""
    edges = sorted({0, length, *rng.integers(0, length + 1, 5).tolist()})
    roles = ("user", "assistant")
    return tuple(
        MessageSpan(index=index, role=roles[index % 2], start=start, stop=stop)
        for index, (start, stop) in enumerate(pairwise(edges))
    )


def scores(rng, document):
    """What a model made of it."""
    length, scored = len(document), document.scored
    rank = np.where(rng.random(length) < 0.4, 0, rng.integers(1, V, length))
    columns = {
        "nll": np.where(scored, rng.gamma(1.0, 3.0, length), np.nan),
        "entropy": np.where(scored, rng.gamma(2.0, 2.0, length), np.nan).astype(np.float32),
        "confidence": np.where(scored, -rng.gamma(1.0, 1.0, length), np.nan).astype(np.float32),
        "rank": np.where(scored, rank, -1).astype(np.int32),
        "hit": scored & (rank == 0),
    }
    return DocumentScores(document=document, **columns)
