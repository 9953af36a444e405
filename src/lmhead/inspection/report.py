"""Report: findings, worst first, for people and for programs. What every look at data, batches and models comes to."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from lmhead.inspection.finding import Finding, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Report(ABC):
    """What was found; printable. `.ok` is false where there is an error, and `"code" in report` where there is that."""

    findings: tuple[Finding, ...]  # worst first

    @property
    def ok(self) -> bool:
        """There is no error; there may be warnings."""
        return not self.errors

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that are errors."""
        return self._of("error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that are warnings."""
        return self._of("warning")

    def __contains__(self, code: object) -> bool:
        """Whether a finding has this code."""
        return any(finding.code == code for finding in self.findings)

    def __getitem__(self, code: str) -> Finding:
        """The first finding of that code."""
        for finding in self.findings:
            if finding.code == code:
                return finding
        raise KeyError(code)

    def verdict(self) -> str:
        """1 error, 2 warnings; or that nothing wrong was found."""
        counts = {"error": len(self.errors), "warning": len(self.warnings)}
        said = [f"{count} {name}{'s' * (count > 1)}" for name, count in counts.items() if count]
        return ", ".join(said) or "nothing wrong found"

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {"ok": self.ok, **self._figures(), "findings": [finding.to_dict() for finding in self.findings]}

    def __str__(self) -> str:
        return "\n".join([*self._head(), *map(str, self.findings)])

    @abstractmethod
    def _figures(self) -> dict[str, Any]:
        """What there is beside the findings, for JSON."""

    @abstractmethod
    def _head(self) -> list[str]:
        """The lines before the findings."""

    def _of(self, severity: Severity) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == severity)
