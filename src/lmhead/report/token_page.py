"""Token page: a record of rows of tokens -> one HTML file that shows what is trained, what is not, and why.

`token_view` gives its parts, for a page that shows more than tokens. Everything is drawn in the browser from the record
(assets/token/); of its text the HTML itself holds the title alone.
"""

from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any, Final

from lmhead.record.record import Record
from lmhead.record.vocabulary import as_object
from lmhead.report.html import asset, html_page, html_text, page_foot
from lmhead.report.reason_words import REASON_WORDS
from lmhead.shown import shown_line

STYLES: Final = ("base.css", "token/view.css", "token/chips.css", "token/panel.css")
SCRIPTS: Final = (
    "token/data.js",
    "token/glyphs.js",
    "token/numbers.js",
    "token/colours.js",
    "token/chunks.js",
    "token/flow.js",
    "token/alternatives.js",
    "token/details.js",
    "token/statistics.js",
    "token/charts.js",
    "token/panel.js",
    "token/headline.js",
    "token/findings.js",
    "token/filters.js",
    "token/keys.js",
    "token/start.js",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A part of a page: what `html_page` takes."""

    body: str  # HTML, a section
    styles: tuple[str, ...]
    scripts: tuple[str, ...]
    data: dict[str, Any]


def token_page(record: Record) -> str:
    """The page of a record's rows, as HTML."""
    view = token_view(record)
    title = shown_line(str(record.header.get("title") or "Tokens"))
    made_by = shown_line(str(record.header.get("made_by") or "lmhead"))
    body = (
        f'<header class="page-head"><h1>{html_text(title)}</h1></header>\n<main>\n{view.body}\n</main>\n'
        f"{page_foot(made_by)}"
    )
    return html_page(title=title, body=body, styles=view.styles, scripts=view.scripts, data=view.data)


def token_view(record: Record) -> View:
    """The token view of a record, for any page: a section, "#tokens", whose data stand in two blocks.

    Links into it: "#d3-t128", token 128 of document 3, as the page counts them; "#row2-t128", position 128 of row 2;
    "#row2".
    """
    header = record.header
    lines = [row.line() for row in record.rows]
    alternatives = [{"scores": _taken(line), "against": _taken(line.get("against") or {})} for line in lines]
    data = {
        "rows": lines,
        "vocabulary": as_object(record.vocabulary),
        "findings": record.findings,
        "notes": [*map(str, header.get("notes") or ()), *([record.damage] if record.damage else [])],
        "models": [*map(str, header.get("models") or ())],
        "tokenizers": [
            _named(header[key]) for key in ("tokenizer", "against_tokenizer") if isinstance(header.get(key), dict)
        ],
        "files": [*map(str, header.get("data") or ())],
        "reasons": {str(int(reason)): asdict(words) for reason, words in REASON_WORDS.items()},
    }
    return View(
        body=asset("token/view.html"),
        styles=STYLES,
        scripts=SCRIPTS,
        data={"tokens": data, "token-alternatives": alternatives},
    )


def _taken(columns: dict[str, Any]) -> dict[str, Any] | None:
    """The alternatives, taken out of a line of a row; k for each position in one list, which is read when asked for."""
    ids, logprobs = columns.pop("top_ids", None), columns.pop("top_logprobs", None)
    if not ids or not logprobs:
        return None
    return {"k": len(ids[0]), "ids": list(chain.from_iterable(ids)), "logprobs": list(chain.from_iterable(logprobs))}


def _named(tokenizer: dict[str, Any]) -> dict[str, Any]:
    """What is told of a tokenizer: its name, and how many tokens it has."""
    return {"name": str(tokenizer.get("name") or ""), "vocab_size": tokenizer.get("vocab_size")}
