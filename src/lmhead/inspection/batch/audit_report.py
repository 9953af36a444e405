"""AuditReport: the findings of one batch, printable and ready for JSON."""

from dataclasses import dataclass
from typing import Any, final

from lmhead.inspection.report import Report


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport(Report):
    """What `lmhead.audit` found, worst first. `print(report)` shows it; `.ok` is false where there is an error."""

    rows: int
    tokens: int  # that are not padding
    scored: int  # labels that a model which shifts them scores

    def _figures(self) -> dict[str, Any]:
        return {"rows": self.rows, "tokens": self.tokens, "scored": self.scored}

    def _head(self) -> list[str]:
        share = f" ({self.scored / self.tokens:.0%})" if self.tokens else ""
        return [f"{self.rows} rows, {self.tokens} tokens, {self.scored} scored{share}: {self.verdict()}"]
