"""A comparison as a section of a page: the sentence, tables, and the sorted differences of documents as a picture.

Every text goes through jinja2's autoescape; colours are classes, as the page's Content-Security-Policy wants it.
"""

import math
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, StrictUndefined

from lmhead.evaluation.comparison.comparison_text import remarks, sections, side_rows
from lmhead.evaluation.comparison.sentence import amount, scale_of, sentence
from lmhead.report.html import asset, html_page, page_foot
from lmhead.shown import shown_line

if TYPE_CHECKING:
    from lmhead.evaluation.comparison.comparison import Comparison

STYLES: Final = ("base.css", "comparison/comparison.css")
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 280, 84, 748, 12, 244
_BEYOND: Final = 4.0  # times the 90 % quantile: what is farther out is drawn at the edge


def comparison_html(made: "Comparison") -> str:
    """The section; its style is the asset "comparison/comparison.css"."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    rows = [("", side_rows(made), 1), *((title, rows, 1) for title, rows in sections(made))]
    return environment.from_string(asset("comparison/comparison.html")).render(
        title=f"{shown_line(made.second.name)} against {shown_line(made.first.name)}",
        sentence=sentence(made),
        tables=[{"title": title, "head": head, "rows": rest, "names": names} for title, (head, *rest), names in rows],
        remarks=remarks(made),
        picture=_picture(made),
    )


def comparison_page(made: "Comparison") -> str:
    """The section as a page of its own."""
    body = f"<main>\n{comparison_html(made)}\n</main>\n{page_foot('lmhead')}"
    title = f"{shown_line(made.second.name)} against {shown_line(made.first.name)}"
    return html_page(title=title, body=body, styles=STYLES, scripts=(), data={})


def _picture(made: "Comparison") -> dict[str, Any] | None:
    """Bars from 0 to each document's difference, the interval as a band; None: all is 0, or there is one document."""
    values = made.sorted_differences
    if len(values) < 2 or not any(values):
        return None
    edge = _edge(made)
    outside = sum(abs(value) > edge for value in values)

    def y(value: float) -> float:
        middle = (_TOP + _BOTTOM) / 2
        return round(middle - max(-1.0, min(1.0, value / edge)) * (_BOTTOM - _TOP) / 2, 2)

    each = (_RIGHT - _LEFT) / len(values)
    lower = made.figure.lower_is_better
    bars = [
        {
            "x": round(_LEFT + place * each, 2),
            "width": round(max(0.5, each * (0.8 if each > 4 else 1.0)), 2),
            "y": min(y(value), y(0)),
            "height": round(abs(y(value) - y(0)), 2),
            "side": "second" if (value < 0) == lower else "first",
        }
        for place, value in enumerate(values)
    ]
    low, high = made.difference.low, made.difference.high
    band = None if low is None or high is None else {"y": y(high), "height": max(1.0, round(y(low) - y(high), 2))}
    farther = f" What is farther than {edge:.3g} from 0 is drawn at the edge ({outside} of {len(values)})."
    shown = "one bar each" if len(values) == made.documents else f"{len(values)} quantiles"
    return {
        "width": _WIDTH,
        "height": _HEIGHT,
        "left": _LEFT,
        "right": _RIGHT,
        "zero": y(0),
        "value": y(made.difference.value),
        "bars": bars,
        "band": band,
        "ticks": [{"y": y(value), "text": _signed(value)} for value in _ticks(edge)],
        "axis": f"{made.documents:,} documents by their difference, second less first, in {made.figure.unit}",
        "caption": f"{made.documents:,} documents, {shown}; the dashed line is the difference of all, "
        f"{amount(made.difference.value, scale_of(made))} {made.figure.unit}.{farther if outside else ''}",
        "label": f"Differences of {made.documents:,} documents, sorted. {sentence(made)}",
    }


def _edge(made: "Comparison") -> float:
    """The largest difference that is drawn to scale."""
    sizes = sorted(map(abs, made.sorted_differences))
    common = sizes[int(0.9 * (len(sizes) - 1))]
    ends = [abs(end) for end in (made.difference.low, made.difference.high) if end is not None]
    return max(min(sizes[-1], _BEYOND * common or sizes[-1]), abs(made.difference.value), *ends)


def _ticks(edge: float) -> list[float]:
    """Round values, 0 in the middle."""
    power = 10.0 ** math.floor(math.log10(edge))
    step = max(power * part for part in (0.2, 0.5, 1) if power * part <= edge / 1.8)
    count = math.floor(edge / step)
    return [step * place for place in range(-count, count + 1)]


def _signed(value: float) -> str:
    return f"{value:+.3g}" if value else "0"
