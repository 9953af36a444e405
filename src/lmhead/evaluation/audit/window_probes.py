"""Window probes: how much a figure depends on the window and stride that documents are read in. No fault: a choice."""

import math
from collections.abc import Sequence

import numpy as np

from lmhead.evaluation.audit.probe_result import Change, ProbeResult
from lmhead.evaluation.audit.readings import Nll, Reader
from lmhead.evaluation.documents.document import EvaluationDocument
from lmhead.evaluation.scores.document_scores import document_scores
from lmhead.evaluation.scores.windows import Windows


def window_probes(
    reader: Reader, documents: Sequence[EvaluationDocument], windows: Windows, tolerance: float
) -> list[ProbeResult]:
    """Other strides and half the window against the given ones, over whole documents."""
    scored = [document for document in documents if document.scored.any()]
    longest = max(len(document) - 1 for document in scored)
    name = f"window {windows.window}, stride {windows.stride}"
    if longest <= windows.window // 2:
        return [ProbeResult.not_run(name, f"no document is longer than {longest} tokens: it is read at once")]
    before = _nll(reader, scored, windows)
    others = [Windows(window=windows.window, stride=stride) for stride in _strides(windows, longest)]
    half = windows.window // 2
    if half:
        others.append(Windows(window=half, stride=min(max(1, half // 2), windows.stride)))
    return [_probe(scored, other, before, _nll(reader, scored, other), tolerance) for other in others]


def _strides(windows: Windows, longest: int) -> list[int]:
    """Those that are not the given one: as long as the window, and an eighth of it; none where all is read at once."""
    if longest <= windows.window:
        return []
    return [each for each in (windows.window, max(1, windows.window // 8)) if each != windows.stride]


def _probe(
    documents: Sequence[EvaluationDocument], other: Windows, before: Nll, made: Nll, tolerance: float
) -> ProbeResult:
    differences = [second - first for first, second in zip(before, made, strict=True)]
    joined = np.concatenate(differences)
    known = ~np.isnan(joined)
    tokens, moved = int(known.sum()), float(joined[known].sum())
    sizes = [document.bytes for document in documents]
    size = sum(each or 0 for each in sizes) if None not in sizes else 0
    worst = max(range(len(documents)), key=lambda number: float(np.nanmax(np.abs(differences[number]), initial=0.0)))
    largest = float(np.nanmax(np.abs(differences[worst]), initial=0.0))
    change = Change(
        tokens=tokens,
        nll=moved / tokens,
        bits_per_byte=moved / math.log(2) / size if size else None,
        largest=largest,
        where=documents[worst].name,
    )
    return ProbeResult.may_change(f"window {other.window}, stride {other.stride}", change, tolerance)


def _nll(reader: Reader, documents: Sequence[EvaluationDocument], windows: Windows) -> Nll:
    made = document_scores(reader.model, documents, windows, device=reader.device, dtype=reader.dtype)
    return [scores.nll for scores in made]
