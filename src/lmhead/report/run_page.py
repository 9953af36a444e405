"""Run page: the records of one or several runs -> one HTML file: curves, classes, samples, worst tokens, settings."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from lmhead.record.record import Record
from lmhead.report.html import html_page, html_text, page_foot
from lmhead.report.run_data import run_data
from lmhead.report.run_record import RunRecord
from lmhead.report.token_page import View, token_view
from lmhead.report.worst_tokens import worst_tokens
from lmhead.shown import shown_line
from lmhead.version import __version__

STYLES: Final = ("base.css", "uplot/uPlot.min.css", "run/page.css", "run/charts.css")
SCRIPTS: Final = (
    "uplot/uPlot.iife.min.js",
    "run/elements.js",
    "run/colours.js",
    "run/axis.js",
    "run/smoothing.js",
    "run/chart.js",
    "run/curves.js",
    "run/headline.js",
    "run/classes.js",
    "run/samples.js",
    "run/worst.js",
    "run/settings.js",
    "run/start.js",
)
_SECTIONS: Final = {  # id: (title, what it is)
    "curves": ("Curves", ""),
    "classes": (
        "Loss by kind of token",
        "Held-out loss of each class of tokens, at each evaluation; of several sources the training loss, too.",
    ),
    "samples": ("Samples along the run", ""),
    "worst": ("Worst held-out tokens", ""),
    "config": ("Config", "Every field as it was resolved."),
    "data": ("Data", ""),
    "environment": ("Environment", ""),
}


@dataclass(slots=True, kw_only=True)
class Run:
    """One run as a page shows it."""

    record: RunRecord
    tokens: Record | None = None  # rows of its worst held-out tokens
    notes: list[str] = field(default_factory=list)  # to be told on top


def run_page(runs: Sequence[Run]) -> str:
    """The report of runs, as HTML. The rows of tokens of one run alone can be looked at; of several their worst."""
    names = [shown_line(run.record.name) for run in runs]
    title = shown_line(names[0] if len(runs) == 1 else f"{len(runs)} runs: {', '.join(names)}")
    data = {
        "runs": [
            {**run_data(run.record, runs=len(runs)), "worst": [] if run.tokens is None else worst_tokens(run.tokens)}
            for run in runs
        ],
        "notes": [run.notes for run in runs],
    }
    sections = "\n".join(_section(name, *words) for name, words in _SECTIONS.items())
    tokens = _tokens(runs)
    links = "".join(
        f'<li><a href="#{name}">{title}</a></li>'
        for name, title in [
            *((name, words[0]) for name, words in _SECTIONS.items()),
            *([("tokens", "Tokens")] if tokens else []),
        ]
    )
    body = (
        f'<header class="page-head"><h1>{html_text(title)} <span id="state"></span></h1></header>\n'
        f'<nav class="sections" aria-label="Sections"><ul>{links}</ul></nav>\n'
        f'<main>\n<div id="headline"></div>\n{sections}\n{tokens.body if tokens else ""}\n'
        "<noscript><p>This page draws its curves with JavaScript, which is off.</p></noscript>\n</main>\n"
        f"{page_foot(f'lmhead {__version__}')}"
    )
    return html_page(
        title=title,
        body=body,
        styles=[*STYLES, *(name for name in (tokens.styles if tokens else ()) if name not in STYLES)],
        scripts=[*(tokens.scripts if tokens else ()), *SCRIPTS],
        data={"run": data, **(tokens.data if tokens else {})},
    )


def _tokens(runs: Sequence[Run]) -> View | None:
    """The token view of the rows of one run, where it has any."""
    record = runs[0].tokens if len(runs) == 1 else None
    return token_view(record) if record is not None and record.rows else None


def _section(name: str, title: str, note: str) -> str:
    told = f'<p class="muted">{note}</p>' if note else ""
    return f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{title}</h2>{told}</section>'
