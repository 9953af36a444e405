"""EvaluationAudit: which changes of the reading change the figure, by how much, and what to do about it."""

from dataclasses import dataclass
from typing import Any, Final, final

from lmhead.evaluation.audit.probe_result import Change, ProbeResult
from lmhead.evaluation.scores.windows import Windows
from lmhead.inspection.finding import Finding
from lmhead.inspection.report import Report
from lmhead.shown import shown_line

_NAME: Final = 27  # columns


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationAudit(Report):
    """What `audit_documents` found; printable. `.ok` is false where the figure depends on something it must not."""

    probes: tuple[ProbeResult, ...]
    model: str
    device: str
    weights: str  # dtype of the weights
    documents: int  # that were read
    of_documents: int  # that there are
    rows: int  # that they were read in
    tokens: int  # scored
    length: int  # tokens of a row at most
    windows: Windows  # that the evaluation reads documents in
    nll: float  # nats a token, each row read by itself
    bits_per_byte: float | None
    tolerance: float | None  # nats of one token: what rounding may do; None: the figure is not the same twice

    def _figures(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "device": self.device,
            "weights": self.weights,
            "documents": self.documents,
            "of_documents": self.of_documents,
            "rows": self.rows,
            "tokens": self.tokens,
            "length": self.length,
            "window": self.windows.window,
            "stride": self.windows.stride,
            "nll": self.nll,
            "bits_per_byte": self.bits_per_byte,
            "tolerance": self.tolerance,
            "probes": [probe.to_dict() for probe in self.probes],
        }

    def _head(self) -> list[str]:
        bits = "" if self.bits_per_byte is None else f", {self.bits_per_byte:.6f} bits per byte"
        lines = [
            _cut(f"audit of {shown_line(self.model)} ({self.weights} weights, {self.device})"),
            f"{self.documents:,} of {self.of_documents:,} documents, {self.tokens:,} tokens scored, "
            f"{self.rows:,} rows of at most {self.length:,}",
            f"read one at a time: {self.nll:.6f} nats per token{bits}",
        ]
        if self.tolerance is not None:
            lines += [
                f"rounding may move one token by {self.tolerance:.1e} nats, measured on this model",
                f"windows are against window {self.windows.window}, stride {self.windows.stride}",
            ]
        lines += ["", f"{'':<{_NAME}} {'nats/token':>11} {'bits/byte':>11} {'one token':>11}  verdict"]
        said = "the figure depends on nothing that it must not depend on" if self.ok else "the figure depends on:"
        return [*lines, *map(_line, self.probes), "", said]


def _line(probe: ProbeResult) -> str:
    if probe.change is None:
        return _cut(f"{probe.name:<{_NAME}} {shown_line(f'not run: {probe.note}')}")
    change = probe.change
    bits = "-" if change.bits_per_byte is None else f"{change.bits_per_byte:+.2e}"
    return f"{probe.name:<{_NAME}} {change.nll:>+11.2e} {bits:>11} {change.largest:>11.2e}  {probe.verdict}"


def _cut(line: str) -> str:
    return line if len(line) <= 80 else f"{line[:78]}.."


def findings_of(probes: tuple[ProbeResult, ...]) -> list[Finding]:
    """An error for each thing that the figure must not depend on, and a note for what it depends on by choice."""
    found: dict[str, Finding] = {}
    for probe in probes:
        if probe.fault is not None and probe.change is not None:
            fault = probe.fault
            if fault.code in found:
                continue
            found[fault.code] = Finding(
                code=fault.code,
                severity="error",
                count=probe.change.tokens,
                places=(probe.change.where,) if probe.change.where else (),
                message=f"{probe.name}: {fault.message}; {_amount(probe.change)}",
                remedy=fault.remedy,
            )
        elif probe.verdict == "depends" and probe.change is not None and probe.note:
            found[probe.name] = Finding(
                code="depends",
                severity="info",
                count=probe.change.tokens,
                message=f"{probe.name}: {probe.note}; {_amount(probe.change)}",
            )
    return list(found.values())


def _amount(change: Change) -> str:
    bits = "" if change.bits_per_byte is None else f", {change.bits_per_byte:+.2e} bits per byte"
    return f"the figure moves by {change.nll:+.2e} nats per token{bits}, one token by {change.largest:.2e}"
