"""AuditReport: the findings of one batch, printable and ready for JSON."""

from dataclasses import dataclass
from typing import Any

from lmhead.inspection.finding import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What `lmhead.audit` found, worst first. `print(report)` shows it; `.ok` is false where there is an error."""

    findings: tuple[Finding, ...]
    rows: int
    tokens: int  # that are not padding
    scored: int  # labels that a model which shifts them scores

    @property
    def ok(self) -> bool:
        """There is no error; there may be warnings."""
        return not self.errors

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that are errors."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that are warnings."""
        return tuple(finding for finding in self.findings if finding.severity == "warning")

    def __contains__(self, code: object) -> bool:
        """Whether a finding has this code."""
        return any(finding.code == code for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "ok": self.ok,
            "rows": self.rows,
            "tokens": self.tokens,
            "scored": self.scored,
            "findings": [finding.to_dict() for finding in self.findings],
        }

    def __str__(self) -> str:
        share = f" ({self.scored / self.tokens:.0%})" if self.tokens else ""
        head = f"{self.rows} rows, {self.tokens} tokens, {self.scored} scored{share}"
        return "\n".join([f"{head}: {_verdict(self)}", *map(str, self.findings)])


def _verdict(report: AuditReport) -> str:
    counts = {"error": len(report.errors), "warning": len(report.warnings)}
    said = [f"{count} {name}{'s' * (count > 1)}" for name, count in counts.items() if count]
    return ", ".join(said) or "nothing wrong found"
