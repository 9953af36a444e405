"""Packing probe: documents of one row must be read as each is alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np

from lmhead.evaluation.audit.audited_model import AuditedModel
from lmhead.evaluation.audit.audited_rows import AuditedRow
from lmhead.evaluation.audit.probe_result import Change, Fault, ProbeResult
from lmhead.evaluation.audit.readings import Nll, read_packed
from lmhead.models.transformers.patching.probe import RUN_ERRORS
from lmhead.models.transformers.pretrained_causal_lm import PretrainedCausalLM
from lmhead.models.transformers.told_documents import WAYS

_NAME: Final = "3 documents in a row"
_TOGETHER: Final = 3
_PADDING: Final = 2
_LEAK: Final = Fault(
    code="documents_leak",
    message="a document's tokens follow the other documents of its row: they see one another",
    remedy="give attention a mask that knows the documents (docs/data/packing.md), or do not pack: an "
    "evaluation reads each alone",
)
_POSITIONS: Final = Fault(
    code="packed_positions_not_restarted",
    message="documents of a row do not see one another, but are read otherwise than alone: positions do not restart",
    remedy="number the positions of each document from 0, or do not pack: an evaluation reads each alone",
)


def packing_probe(audited: AuditedModel) -> ProbeResult:
    """Three documents in a row, kept apart by `document`, against each alone.

    A model of transformers is told of documents in the way that holds for it, as training finds it.
    """
    room = (audited.reader.model.max_seq_len - _PADDING) // _TOGETHER
    if room < 2 or len(audited.rows) < 2:
        return ProbeResult.not_run(_NAME, "no room for three documents" if room < 2 else "one document")
    main = audited.reader.main
    if not isinstance(main, PretrainedCausalLM):
        return _probe(audited, room)
    found = list[ProbeResult]()
    for way in WAYS:
        with _told_by(main, way):
            try:
                found.append(_probe(audited, room))
            except RUN_ERRORS as error:
                found.append(
                    ProbeResult.not_run(_NAME, f"not with {way} that tell of documents, {type(error).__name__}")
                )
        if found[-1].verdict in ("exact", "rounding"):
            return found[-1]
    return next((each for each in found if each.fault is not None), found[0])


@contextmanager
def _told_by(model: PretrainedCausalLM, way: str) -> Iterator[None]:
    before = model.tells_documents_by
    model.tells_documents_by = way  # type: ignore[assignment]
    try:
        yield
    finally:
        model.tells_documents_by = before


def _probe(audited: AuditedModel, room: int) -> ProbeResult:
    rows = [row.first(room) for row in audited.rows]
    made: Nll = []
    for group in audited.groups(_TOGETHER):
        made += read_packed(audited.reader, rows[group])
    change = Change.between(rows, audited.alone, made)
    fault = _LEAK
    if change.largest > audited.tolerance and not _follow_others(audited, rows, made):
        fault = _POSITIONS
    return ProbeResult.must_not_change(_NAME, change, audited.tolerance, fault)


def _follow_others(audited: AuditedModel, rows: list[AuditedRow], packed: Nll) -> bool:
    """Whether a document's tokens move when the ids of the others in its row are replaced."""
    for group in audited.groups(_TOGETHER):
        for place in range(len(rows[group])):
            made = read_packed(audited.reader, rows[group], other=place, vocabulary=audited.vocab_size)[place]
            moved = float(np.nanmax(np.abs(made - packed[group][place]), initial=0.0))
            if moved > audited.tolerance:
                return True
    return False
