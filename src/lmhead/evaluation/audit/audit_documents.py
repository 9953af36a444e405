"""audit_documents: does a figure change with batch size, padding, packing, accumulation, dtype, cache, kernel, device?

On the user's own model and a part of their data. Each probe reads the same rows in another way; a figure may move by
rounding, which is measured on the model (rounding.py), and not by more.
"""

from collections.abc import Callable, Iterable
from typing import Final

import torch

from lmhead.data.rows.progress import Progress, unheard
from lmhead.errors import InputError, require
from lmhead.evaluation.audit.accumulation_probes import accumulation_probes
from lmhead.evaluation.audit.audited_model import AuditedModel
from lmhead.evaluation.audit.audited_rows import MOST, SPARE, AuditedRow, audited_rows, spread_documents
from lmhead.evaluation.audit.evaluation_audit import EvaluationAudit, findings_of
from lmhead.evaluation.audit.kernel_probes import (
    attention_probe,
    batch_probe,
    cache_probe,
    device_probe,
    dtype_probe,
    mean_nll,
    other_device,
    repeat_probe,
)
from lmhead.evaluation.audit.packing_probe import packing_probe
from lmhead.evaluation.audit.padding_probes import padding_probes
from lmhead.evaluation.audit.probe_result import Change, ProbeResult
from lmhead.evaluation.audit.readings import Reader
from lmhead.evaluation.audit.window_probes import window_probes
from lmhead.evaluation.documents.document import EvaluationDocument
from lmhead.evaluation.scores.windows import Windows
from lmhead.inspection.finding import worst_first
from lmhead.models.causal_lm import CausalLM
from lmhead.options import option

TOKENS: Final = 20_000  # of the part of the data that is read


@torch.no_grad()
def audit_documents(
    model: CausalLM,
    documents: Iterable[EvaluationDocument],
    windows: Windows,
    *,
    device: torch.device,
    name: str = "model",
    tokens: int = TOKENS,
    compare_device: torch.device | None = None,
    progress: Progress = unheard,
) -> EvaluationAudit:
    """Read a part of the documents in every way that must give one figure, and say where it does not.

    Takes about 20 passes over the part, and one of a few rows token by token. Deterministic; the model is left as it
    was, in evaluation mode. Weights are read in their own dtype, without autocast.

    Args:
        windows: that the evaluation reads documents in; the largest row is a window.
        device: that the model is on.
        tokens: of the part, about: documents spread evenly over all.
        compare_device: another one to read on; None: the CPU for an accelerator's model, an accelerator for a CPU's,
            where there is one.
        progress: hears how many of the ways to read are done.

    Raises:
        InputError: no token is scored.
        ArgumentError: the window is longer than the model's context, or the context holds no row.
    """
    most = model.max_seq_len
    require(
        windows.window <= most,
        option("window"),
        "be within the model's context",
        windows.window,
        f"take {most} or less",
    )
    length = min(windows.window, most - SPARE)
    require(length >= 2, "model", f"have a context of {SPARE + 2} tokens or more to be audited", most)
    model.eval()
    part, count = spread_documents(documents, tokens=tokens, length=MOST * length)
    rows = audited_rows(part, length=length)
    if not rows:
        raise InputError(f"no token scored in {count:,} documents: there is no figure to audit")
    reader = Reader(model=model, device=device)
    audited = AuditedModel.of(reader, rows)
    again = repeat_probe(audited)
    if again.fault is not None:
        probes = [again, ProbeResult.not_run("all else", "the figure changes by itself")]
    else:
        probes = [again, *_probes(audited, rows, part, windows, compare_device, progress)]
    whole = Change.between(audited.rows, [nll * 0 for nll in audited.alone], audited.alone)
    return EvaluationAudit(
        findings=worst_first(findings_of(tuple(probes))),
        probes=tuple(probes),
        model=name,
        device=device.type,
        weights=_weights(model),
        documents=len(part),
        rows=len(rows),
        of_documents=count,
        tokens=whole.tokens,
        length=length,
        windows=windows,
        nll=mean_nll(audited.alone),
        bits_per_byte=whole.bits_per_byte,
        tolerance=None if again.fault is not None else audited.tolerance,
    )


def _probes(
    audited: AuditedModel,
    rows: list[AuditedRow],
    documents: list[EvaluationDocument],
    windows: Windows,
    compare_device: torch.device | None,
    progress: Progress,
) -> list[ProbeResult]:
    other = compare_device or other_device(audited.reader.device)
    ways: list[Callable[[], ProbeResult | list[ProbeResult] | None]] = [
        lambda: batch_probe(audited),
        lambda: padding_probes(audited),
        lambda: packing_probe(audited),
        lambda: accumulation_probes(audited, rows),
        lambda: cache_probe(audited),
        lambda: attention_probe(audited),
        lambda: device_probe(audited, other),
        lambda: dtype_probe(audited),
        lambda: window_probes(audited.reader, documents, windows, audited.tolerance),
    ]
    found: list[ProbeResult] = []
    for done, way in enumerate(ways):
        progress("reading in other ways", done, len(ways), "ways")
        made = way()
        found += made if isinstance(made, list) else [] if made is None else [made]
    return found


def _weights(model: CausalLM) -> str:
    """The dtypes of its weights."""
    return ", ".join(sorted({str(each.dtype).removeprefix("torch.") for each in model.parameters()}))
