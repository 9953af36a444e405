"""Stream scores: documents end to end, as a run of texts reads them: each sees those before it."""

from collections.abc import Iterable, Iterator
from dataclasses import fields, replace

import numpy as np
import torch

from lmhead.evaluation.documents.document import EvaluationDocument
from lmhead.evaluation.scores.document_scores import TOKENS, DocumentScores, document_scores
from lmhead.evaluation.scores.windows import Windows
from lmhead.labels.example import Example
from lmhead.models.causal_lm import CausalLM


def stream_scores(
    model: CausalLM,
    documents: Iterable[EvaluationDocument],
    windows: Windows,
    *,
    device: torch.device,
    dtype: torch.dtype,
    tokens: int = TOKENS,
) -> Iterator[DocumentScores]:
    """The scores of each document in their order; all of them are in memory at once.

    With windows in step and the end of each text scored these are those of the run's own evaluation.
    """
    every = list(documents)
    if not every:
        return
    stream = _end_to_end(every)
    windows = replace(windows, in_step=True)
    (whole,) = document_scores(model, [stream], windows, device=device, dtype=dtype, tokens=tokens)
    columns = {field.name: getattr(whole, field.name) for field in fields(whole) if field.name != "document"}
    start = 0
    for document in every:
        part = slice(start, start + len(document))
        yield DocumentScores(document=document, **{name: column[part] for name, column in columns.items()})
        start = part.stop


def _end_to_end(documents: list[EvaluationDocument]) -> EvaluationDocument:
    """One document of them all; the first token of each is not scored here either."""
    examples = [document.example for document in documents]
    scored = np.concatenate([document.scored for document in documents])
    reason = np.concatenate([example.reason for example in examples])
    example = Example(
        ids=np.concatenate([example.ids for example in examples]),
        trained=scored,
        reason=np.where(scored, np.uint8(0), np.maximum(reason, np.uint8(1))),
    )
    first = documents[0]
    return EvaluationDocument(place=first.place, source=first.source, example=example)
