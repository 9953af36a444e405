"""Scores of a document as JSON, so that an evaluation goes on where it stopped; and the beginning of long ones."""

import base64
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lmhead.data.rows.row import Place
from lmhead.evaluation.documents.document import EvaluationDocument
from lmhead.evaluation.scores.document_scores import DocumentScores
from lmhead.labels.example import Example, MessageSpan

_OF_EXAMPLE: Final = {"ids": "<i4", "trained": "|b1", "reason": "|u1", "weight": "<f4"}
_OF_SCORES: Final = {"nll": "<f8", "entropy": "<f4", "confidence": "<f4", "rank": "<i4", "hit": "|b1"}


def beginning(scores: DocumentScores, tokens: int) -> DocumentScores:
    """Of so many tokens at most, without the text: what an inspection needs."""
    example = scores.document.example
    columns: dict[str, Any] = {name: getattr(example, name) for name in _OF_EXAMPLE}
    kept: dict[str, Any] = {
        name: None if column is None else column[:tokens].copy() for name, column in columns.items()
    }
    cut = replace(
        example,
        **kept,
        spans=tuple(replace(each, stop=min(each.stop, tokens)) for each in example.spans if each.start < tokens),
        notes=(),
    )
    document = EvaluationDocument(place=scores.document.place, source=scores.document.source, example=cut)
    return DocumentScores(document=document, **{name: getattr(scores, name)[:tokens].copy() for name in _OF_SCORES})


def scores_state(scores: DocumentScores) -> dict[str, Any]:
    """All but the raw text; columns are base64 of little-endian numbers."""
    document, example = scores.document, scores.document.example
    return {
        "place": asdict(document.place),
        "source": document.source,
        "spans": [[each.index, each.role, each.start, each.stop] for each in example.spans],
        "example": {
            name: _packed(getattr(example, name), kind)
            for name, kind in _OF_EXAMPLE.items()
            if getattr(example, name) is not None
        },
        "scores": {name: _packed(getattr(scores, name), kind) for name, kind in _OF_SCORES.items()},
    }


def scores_of(state: Mapping[str, Any]) -> DocumentScores:
    """The scores that `scores_state` was taken of."""
    spans = (MessageSpan(index=index, role=role, start=start, stop=stop) for index, role, start, stop in state["spans"])
    columns: dict[str, Any] = {name: _unpacked(text, _OF_EXAMPLE[name]) for name, text in state["example"].items()}
    document = EvaluationDocument(
        place=Place(**state["place"]),
        source=state["source"],
        example=Example(**columns, spans=tuple(spans)),
    )
    made = {name: _unpacked(text, _OF_SCORES[name]) for name, text in state["scores"].items()}
    return DocumentScores(document=document, **made)


def _packed(column: npt.NDArray[Any], kind: str) -> str:
    return base64.b64encode(column.astype(kind).tobytes()).decode()


def _unpacked(text: str, kind: str) -> npt.NDArray[Any]:
    return np.frombuffer(base64.b64decode(text), kind).astype(np.dtype(kind).newbyteorder("="))
