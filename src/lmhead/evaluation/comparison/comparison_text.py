"""A comparison as text of 80 columns, and as Markdown."""

from collections.abc import Iterable, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Final

from lmhead.evaluation.comparison.sentence import amount, sentence
from lmhead.evaluation.intervals.interval import Interval
from lmhead.shown import shown_line

if TYPE_CHECKING:
    from lmhead.evaluation.comparison.comparison import Comparison, Side

WIDTH: Final = 80
_LEAST: Final = 16  # columns of a name
_SOURCES: Final = 12  # that a terminal shows


def comparison_text(made: "Comparison") -> str:
    """For a terminal; nothing in it is obeyed by one."""
    lines = [*wrap(sentence(made), WIDTH), ""]
    lines += _table(side_rows(made))
    for title, rows in sections(made, sources=_SOURCES):
        lines += ["", title, *_table(rows)]
    lines += _wrapped(remarks(made))
    return "\n".join(lines)


def comparison_markdown(made: "Comparison") -> str:
    """For a model card: the sentence, tables, and what has to be said."""
    parts = [f"**{_cell(sentence(made))}**", _markdown_table(side_rows(made))]
    for title, rows in sections(made):
        parts += [f"### {title}", _markdown_table(rows)]
    said = remarks(made)
    if said:
        parts.append("\n".join(f"- {_cell(each)}" for each in said))
    return "\n\n".join(parts) + "\n"


def sections(made: "Comparison", *, sources: int | None = None) -> list[tuple[str, list[list[str]]]]:
    """Tables behind the first: by source, by position, by kind of bytes.

    Args:
        sources: so many at most, those that differ most.
    """
    unit = made.figure.unit
    found = []
    if made.sources:
        most = sorted(made.sources, key=lambda each: -abs(each.difference.value))[:sources]
        rows = [[each.source, each.first, each.second, each.difference] for each in made.sources if each in most]
        which = f"the {len(most)} of {len(made.sources)} that differ most; " if len(most) < len(made.sources) else ""
        found.append((f"By source, {unit} ({which}each interval by itself)", _rows(made, "source", rows)))
    if made.spans:
        for title, places in (("bytes before it", made.spans.positions), ("kind of bytes", made.spans.kinds)):
            rows = [[each.name, each.first, each.second, each.difference] for each in places]
            found.append((f"By {title}, {unit}", _rows(made, title, rows)))
    return found


def remarks(made: "Comparison") -> list[str]:
    """What is to be said beside the tables, one sentence each."""
    said = []
    first, second = shown_line(made.first.name), shown_line(made.second.name)
    if made.perplexity_ratio is not None:
        ratio, low, high = made.perplexity_ratio
        lies = "" if low is None or high is None else f" ({low:.4f} to {high:.4f})"
        said.append(f"Perplexity of {second} / {first}: {ratio:.4f}{lies}.")
    elif made.no_perplexity and made.figure.of_bytes:
        said.append(f"Perplexities are not compared: {made.no_perplexity}.")
    if made.spans:
        s = made.spans
        said.append(
            f"Aligned at bytes: {s.spans:,} spans that end with a token of both; {second} is better on "
            f"{100 * s.second_better / max(1, s.spans):.1f} % of them, {first} on "
            f"{100 * s.first_better / max(1, s.spans):.1f} %."
        )
        if s.unaligned:
            said.append(f"{s.unaligned:,} documents are not aligned: where their tokens end is not known.")
    if made.difference.note and made.verdict == "undecided":
        said.append(f"Careful: {made.difference.note}.")
    if made.verdict in ("first", "second"):
        said.append("It is about these two models: another seed of the same training may differ by more.")
    for left in made.left_out:
        names = ", ".join(map(shown_line, left.names)) + (", ..." if left.count > len(left.names) else "")
        said.append(f"Not compared, as {left.why}: {left.count:,} ({names}).")
    return [*said, *map(shown_line, made.notes)]


def side_rows(made: "Comparison") -> list[list[str]]:
    """The first table: the two models."""
    head = ["model", made.figure.title.lower(), "tokens", "tokens per byte"]
    return [head, _side(made.first), _side(made.second)]


def _side(side: "Side") -> list[str]:
    dense = "not known" if side.tokens_per_byte is None else f"{side.tokens_per_byte:.4f}"
    return [shown_line(side.name), f"{side.value:.4f}", f"{side.tokens:,}", dense]


def _rows(of: "Comparison", title: str, rows: Sequence[Sequence[object]]) -> list[list[str]]:
    names = (_ending(shown_line(side.name), _LEAST) for side in (of.first, of.second))
    made = [[title, *names, "difference", "interval", "documents"]]
    for name, first, second, interval in rows:
        assert isinstance(interval, Interval)
        lies = "none"
        scale = interval.value
        if interval.low is not None and interval.high is not None:
            scale = (interval.high - interval.low) / 2 or scale
            lies = f"{_signed(interval.low, scale)} to {_signed(interval.high, scale)}"
        cells = [f"{first:.4f}", f"{second:.4f}", _signed(interval.value, scale), lies, f"{interval.documents:,}"]
        made.append([shown_line(str(name)), *cells])
    return made


def _signed(value: float, scale: float) -> str:
    said = amount(value, scale)
    return said if said.startswith("-") or not float(said) else f"+{said}"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Names to the left, numbers to the right; names that have no room lose their beginnings, which paths share."""
    named = 0  # the column of names
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    room = WIDTH - sum(widths) - 2 * (len(widths) - 1) + widths[named]
    widths[named] = min(widths[named], max(_LEAST, room))
    return [
        "  ".join(
            _ending(cell, width).ljust(width) if column <= named else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _ending(text: str, width: int) -> str:
    return text if len(text) <= width else f"...{text[3 - width :]}"


def _wrapped(said: Iterable[str]) -> list[str]:
    lines = [line for each in said for line in wrap(each, WIDTH, subsequent_indent="  ")]
    return ["", *lines] if lines else []


def _markdown_table(rows: Sequence[Sequence[str]]) -> str:
    head, *rest = ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *rest])


def _cell(text: str) -> str:
    """Text that Markdown leaves alone."""
    escaped = "".join(f"\\{character}" if character in "\\`*_[]<>|#~" else character for character in text)
    return escaped.replace("&", "&amp;")
