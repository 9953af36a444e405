"""Run page: the records of one or several runs -> one HTML file: curves, classes, samples, worst tokens, settings."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final

from lmhead.record.record import Record
from lmhead.report.html import html_page
from lmhead.report.run_data import run_data
from lmhead.report.run_record import RunRecord
from lmhead.report.worst_tokens import worst_tokens
from lmhead.shown import shown_line
from lmhead.version import __version__

STYLES: Final = ("base.css", "uplot/uPlot.min.css", "run_page.css", "run_charts.css")
SCRIPTS: Final = (
    "uplot/uPlot.iife.min.js",
    "run_elements.js",
    "run_colours.js",
    "run_axis.js",
    "run_smoothing.js",
    "run_chart.js",
    "run_curves.js",
    "run_headline.js",
    "run_classes.js",
    "run_samples.js",
    "run_worst.js",
    "run_settings.js",
    "run_start.js",
)
_SECTIONS: Final = {  # id: (title, what it is)
    "curves": ("Curves", ""),
    "classes": ("Loss by kind of token", "Held-out loss of each class of tokens, at each evaluation."),
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
    title = names[0] if len(runs) == 1 else f"{len(runs)} runs: {', '.join(names)}"
    data = {
        "runs": [
            {**run_data(run.record, runs=len(runs)), "worst": [] if run.tokens is None else worst_tokens(run.tokens)}
            for run in runs
        ],
        "notes": [run.notes for run in runs],
    }
    sections = "\n".join(_section(name, *words) for name, words in _SECTIONS.items())
    links = "".join(f'<li><a href="#{name}">{words[0]}</a></li>' for name, words in _SECTIONS.items())
    body = (
        f'<header class="page-head"><h1>{escape(title)} <span id="state"></span></h1></header>\n'
        f'<nav class="sections" aria-label="Sections"><ul>{links}</ul></nav>\n'
        f'<main>\n<div id="headline"></div>\n{sections}\n'
        "<noscript><p>This page draws its curves with JavaScript, which is off.</p></noscript>\n</main>\n"
        f'<footer class="page-foot">Made by lmhead {escape(__version__)}. '
        "This file asks nothing of any network.</footer>"
    )
    return html_page(title=title, body=body, styles=STYLES, scripts=SCRIPTS, data={"run": data})


def _section(name: str, title: str, note: str) -> str:
    told = f'<p class="muted">{note}</p>' if note else ""
    return f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{title}</h2>{told}</section>'
