"""A card as a page: one HTML file without a script: tiles, tables with dots and whiskers in their rows, calibration."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from lmhead.evaluation.card.card_fields import CardFields
from lmhead.evaluation.card.content import PERPLEXITY_WARNING, Block, behind, figures, headlines, notes, title
from lmhead.evaluation.card.page_charts import Dot, dots, reliability_diagram
from lmhead.report.html import html_page, html_text, page_foot
from lmhead.shown import shown_line
from lmhead.version import __version__

_STYLES: Final = ("base.css", "run/page.css", "evaluation/card.css")


def card_page(card: CardFields) -> str:
    """The page."""
    named = [(f"part-{number}", block) for number, block in enumerate(figures(card))]
    conditions = [(f"behind-{number}", block) for number, block in enumerate(behind(card))]
    links = "".join(f'<li><a href="#{key}">{_text(block.title)}</a></li>' for key, block in named)
    told = [f'<div class="banner"><p>{_text(note)}</p></div>' for note in notes(card)]
    body = "\n".join(
        (
            f'<header class="page-head"><h1>{_text(title(card))}</h1></header>',
            f'<nav class="sections" aria-label="Sections"><ul>{links}<li><a href="#behind">Behind the figures</a></li>'
            "</ul></nav>",
            "<main>",
            *told,
            _tiles(card),
            f'<p class="muted told">{_text(PERPLEXITY_WARNING)}</p>',
            *(_section(key, block, _chart(card, block), _links(card, block)) for key, block in named),
            '<section id="behind" aria-labelledby="behind-title"><h2 id="behind-title">Behind the figures</h2>',
            '<div class="settings">',
            *(_pairs(block) for _, block in conditions),
            "</div></section>",
            "</main>",
            page_foot(f"lmhead {__version__}"),
        )
    )
    return html_page(title=shown_line(title(card)), body=body, styles=_STYLES, scripts=(), data={})


def _text(text: str) -> str:
    return html_text(shown_line(text))


def _tiles(card: CardFields) -> str:
    told = (
        f"<div><dt>{_text(each.name)}</dt><dd><b>{_text(each.value)}</b>"
        + (f"<small>{_text(each.beside)}</small>" if each.beside else "")
        + "</dd></div>"
        for each in headlines(card)
    )
    return f'<dl class="tiles">{"".join(told)}</dl>'


def _section(key: str, block: Block, chart: "_Chart | None", links: Sequence[str | None]) -> str:
    said = "".join(f'<p class="muted told">{_text(note)}</p>' for note in block.notes)
    drawn = "" if chart is None else chart.above
    table = _table(block, None if chart is None else chart.column, links) if block.rows else ""
    return (
        f'<section id="{key}" aria-labelledby="{key}-title"><h2 id="{key}-title">{_text(block.title)}</h2>'
        f'{said}<div class="beside">{drawn}{table}</div></section>'
    )


def _table(block: Block, column: tuple[str, Sequence[str]] | None, links: Sequence[str | None]) -> str:
    head = "".join(
        f'<th scope="col"{_number(place, block)}>{_text(name)}</th>' for place, name in enumerate(block.columns)
    )
    if column is not None:
        head += f'<th scope="col" class="drawn">{_text(column[0])}</th>'
    rows = []
    for number, row in enumerate(block.rows):
        cells = [_cell(place, text, block, links[number] if links else None) for place, text in enumerate(row)]
        if column is not None:
            cells.append(f'<td class="drawn">{column[1][number]}</td>')
        rows.append(f"<tr>{''.join(cells)}</tr>")
    thead = f"<thead><tr>{head}</tr></thead>" if block.columns else ""
    return f'<div class="scrolled" tabindex="0"><table>{thead}<tbody>{"".join(rows)}</tbody></table></div>'


def _cell(place: int, text: str, block: Block, link: str | None) -> str:
    if place == 0:
        inner = _text(text) if link is None else f'<a href="{html_text(link)}">{_text(text)}</a>'
        return f'<th scope="row"{_number(place, block)}>{inner}</th>'
    return f"<td{_number(place, block)}>{_text(text)}</td>"


def _number(place: int, block: Block) -> str:
    return "" if place in block.left else ' class="number"'


def _pairs(block: Block) -> str:
    rows = "".join(f'<tr><th scope="row">{_text(name)}</th><td>{_text(value)}</td></tr>' for name, value in block.rows)
    return (
        f'<div class="settings-group"><h4>{_text(block.title)}</h4>'
        f'<table class="pairs"><tbody>{rows}</tbody></table></div>'
    )


class _Chart:
    """What is drawn of a block: above its table, or in a column of it: (its head, a cell for each row)."""

    def __init__(self, *, above: str = "", column: tuple[str, Sequence[str]] | None = None) -> None:
        self.above, self.column = above, column


def _chart(card: CardFields, block: Block) -> _Chart | None:
    if block.key == "calibration":
        return _Chart(above=reliability_diagram(card.calibration))
    if block.key == "sources" and len(card.sources) > 1:
        bits = all(each.bits_per_byte is not None for each in card.sources)
        made = [
            Dot(
                value=each.bits_per_byte if bits else each.nll,
                low=None if each.interval is None or not bits else each.interval.low,
                high=None if each.interval is None or not bits else each.interval.high,
            )
            for each in card.sources
        ]
        whole = card.figures.bits_per_byte if bits else card.figures.nll
        return _Chart(column=dots(made, whole, "bits per byte" if bits else "nats per token"))
    classes = {"turns": card.turns, "positions": card.positions}.get(block.key, ())
    if len(classes) > 1:
        return _Chart(column=dots([Dot(value=each.nll) for each in classes], card.figures.nll, "nats per token"))
    return None


def _links(card: CardFields, block: Block) -> list[str | None]:
    """Of the hardest documents: where the page of tokens has them."""
    if block.key != "worst" or card.inspect is None:
        return []
    page = quote(card.inspect)
    return [None if each.row is None else f"{page}#row{each.row}-t0" for each in card.worst]
