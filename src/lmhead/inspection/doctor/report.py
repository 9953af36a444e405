"""DoctorReport: what was found, with the figures of the data; printable and ready for JSON."""

import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, final

from lmhead.data.rows.reading import Reading
from lmhead.inspection.doctor.statistics import Statistics
from lmhead.inspection.finding import Finding, counted_rows
from lmhead.inspection.report import Report
from lmhead.shown import shown_line

_INDENT = "    "
_REMEDY = "    -> "


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorReport(Report):
    """What `examine` found, worst first. `print(report)` shows it; `.ok` is false where there is an error."""

    data: tuple[str, ...] = ()  # paths
    formats: dict[str, int] = field(default_factory=dict)  # rows by format
    rows: int = 0  # that were read, broken ones among them
    examined: int = 0  # rows, of those that were read
    labelled: int = 0
    refused: int = 0  # broken, or without a label
    tokenizer: str | None = None
    template: str | None = None  # where the chat template comes from; None: none was looked at
    reading: Reading = field(default_factory=Reading)  # what was taken and left out of the data
    statistics: Statistics | None = None  # None: no row is labelled
    tables: tuple[tuple[str, str], ...] = ()  # (place, token table)

    def _figures(self) -> dict[str, Any]:
        """All but the token tables."""
        return {
            "data": list(self.data),
            "formats": self.formats,
            "rows": self.rows,
            **self.reading.to_dict(),
            "examined": self.examined,
            "labelled": self.labelled,
            "refused": self.refused,
            "tokenizer": self.tokenizer,
            "template": self.template,
            "statistics": None if self.statistics is None else self.statistics.to_dict(),
        }

    def __str__(self) -> str:
        return self.text()

    def text(self, width: int | None = None, spell: Callable[[str], str] = str) -> str:
        """The report as lines of at most `width` characters; None: as long as they come. Token tables are never cut.

        Args:
            spell: writes the options that a Message names; by default they are Python's.
        """
        lines = [spell(line) for line in self._head()]
        if self.statistics is not None:
            lines += ["", *_sums(self.statistics)]
        told = [_wrapped(line, width, _INDENT if line.startswith(" ") else "") for line in lines]
        told += [f"\n{shown_line(place)}\n{table}" for place, table in self.tables]
        told += ["\n" + _finding(finding, width, spell) for finding in self.findings]
        return "\n".join([*told, "", self.verdict()])

    def _head(self) -> list[str]:
        return list(_about(self))


def _about(report: DoctorReport) -> Iterator[str]:
    if report.data or report.rows:
        part = ""
        if report.examined < report.rows - report.refused and report.examined < sum(report.formats.values()):
            part = f"; {report.examined:,} of them examined, spread over all, the same in every run"
        formats = ", ".join(f"{name} {count:,}" for name, count in report.formats.items())
        said = f" ({formats})" if formats else ""
        yield f"{', '.join(report.data) or 'samples'}: {counted_rows(report.rows)}{said}{part}"
        yield from report.reading.lines()
        yield f"labelled {report.labelled:,}, refused {report.refused:,}"
    if report.tokenizer is not None:
        template = "" if report.template is None else f", chat template: {report.template}"
        yield f"tokenizer: {report.tokenizer}{template}"


def _sums(sums: Statistics) -> Iterator[str]:
    yield f"{sums.tokens:,} tokens in {counted_rows(sums.rows)}, {_share(sums.trained, sums.tokens)} learnt"
    width = max(map(len, sums.reasons), default=0)
    for name, count in sums.reasons.items():
        yield f"    {name.replace('_', ' '):<{width}}  {count:>13,}  {_share(count, sums.tokens):>6}"
    yield f"tokens a row: {_listed(sums.lengths)}"
    yield f"learnt a row: {_listed(sums.trained_lengths)}"
    cut = sums.cut
    if cut.rows:
        yield (
            f"cut to {cut.length:,} tokens at the {cut.side}: {counted_rows(cut.rows)} would lose {cut.tokens:,} "
            f"tokens, {cut.trained:,} of them learnt ({_share(cut.trained, sums.trained)} of all); nothing left to "
            f"learn of {counted_rows(cut.answers)}"
        )
    else:
        yield f"no row is longer than {cut.length:,} tokens"
    packing = sums.packing
    yield (
        f"packed into rows of {packing.length:,} tokens: {counted_rows(packing.rows)}, {packing.useful:.1%} useful "
        f"({packing.unpacked:.1%} with a row for each)"
    )


def _listed(lengths: dict[str, int]) -> str:
    return ", ".join(f"{name} {value:,}" for name, value in lengths.items())


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "0.0%"


def _finding(finding: Finding, width: int | None, spell: Callable[[str], str]) -> str:
    lines = [_wrapped(spell(finding.head()), width, _INDENT)]
    if finding.remedy:
        lines.append(_wrapped(f"{_REMEDY}{spell(finding.remedy)}", width, " " * len(_REMEDY)))
    return "\n".join(lines)


def _wrapped(line: str, width: int | None, indent: str) -> str:
    line = shown_line(line)
    if width is None or len(line) <= width:
        return line
    return textwrap.fill(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    )
