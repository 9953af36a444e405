"""A card as text for a terminal: first the figures, then what stands behind them; at most so many columns wide."""

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from lmhead.evaluation.card.card_fields import CardFields
from lmhead.evaluation.card.content import PERPLEXITY_WARNING, Block, behind, figures, headlines, notes, title
from lmhead.shown import shown_line

WIDTH: Final = 80
_LABEL: Final = 18
_MOST_ROWS: Final = 101  # of a table, its head among them
_LONGEST_LABEL: Final = 28
_NARROWEST: Final = 12  # of a column of text


def card_text(card: CardFields, *, width: int = WIDTH, spell: Callable[[str], str] = str) -> str:
    """The card.

    Args:
        spell: writes the options that a Message names; by default they are Python's.
    """
    lines = [*headline_lines(card, width), "", *_wrapped(PERPLEXITY_WARNING, width)]
    for note in notes(card):
        lines += _wrapped(f"note: {spell(note)}", width)
    if card.inspect is not None:
        lines += _wrapped(f"hardest documents, token by token: {card.inspect}", width)
    for block in figures(card):
        lines += ["", block.title, *_block(block, width)]
    lines += ["", "Behind the figures"]
    for block in behind(card):
        lines += ["", block.title, *_block(block, width)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def headline_lines(card: CardFields, width: int = WIDTH) -> list[str]:
    """The model, the data and the figures that come first."""
    lines = [*_wrapped(title(card), width), ""]
    told = [(each.name, each.value, each.beside) for each in headlines(card)]
    value_width = max(len(value) for _, value, _ in told)
    for name, value, beside in told:
        lines += _hanging(f"{name:<{_LABEL}}{value:>{value_width}}  ", beside, width)
    return lines


def _block(block: Block, width: int) -> Iterator[str]:
    if block.columns or any(len(row) != 2 for row in block.rows):
        yield from _table(block, width)
    else:
        label = min(_LONGEST_LABEL, max(_LABEL, *(len(name) for name, _ in block.rows)))
        for name, value in block.rows:
            yield from _hanging(f"  {shown_line(name):<{label}} ", value, width)
    for note in block.notes:
        yield from _wrapped(note, width, "  ")


def _table(block: Block, width: int) -> Iterator[str]:
    rows = [tuple(map(shown_line, row)) for row in ([block.columns] if block.columns else []) + list(block.rows)]
    if not rows:
        return
    widths = {place: max(len(row[place]) for row in rows) for place in range(len(rows[0]))}
    missing = []
    for place in block.spare:
        if _narrowest(widths, block.left) > width:
            del widths[place]
            missing.append(block.columns[place])
    over = sum(widths.values()) + 2 * len(widths) - width
    for place in sorted(set(block.left) & widths.keys(), key=lambda each: -widths[each]):
        narrowed = max(min(_NARROWEST, widths[place]), widths[place] - max(0, over))
        over -= widths[place] - narrowed
        widths[place] = narrowed
    more = len(rows) - _MOST_ROWS
    for row in rows if more <= 1 else rows[:_MOST_ROWS]:
        yield "  " + "  ".join(_cell(row, place, size, block.left) for place, size in widths.items())
    if more > 1:
        yield from _wrapped(f"{more:,} more: the card as JSON, Markdown or a page has all of them.", width, "  ")
    if missing:
        yield from _wrapped(f"No room for: {', '.join(missing)}.", width, "  ")


def _narrowest(widths: Mapping[int, int], left: Sequence[int]) -> int:
    """Columns that a table takes at least."""
    return sum(min(size, _NARROWEST) if place in left else size for place, size in widths.items()) + 2 * len(widths)


def _cell(row: Sequence[str], place: int, size: int, left: Sequence[int]) -> str:
    return _cut(row[place], size).ljust(size) if place in left else row[place].rjust(size)


def _cut(text: str, size: int) -> str:
    """The beginning and the end of what is too long: ends of paths tell them apart."""
    if len(text) <= size:
        return text
    head = (size - 1) // 2
    return f"{text[:head]}…{text[len(text) - (size - 1 - head) :]}"


def _hanging(head: str, text: str, width: int) -> list[str]:
    """`text` behind `head`, its further lines below its first."""
    return textwrap.wrap(
        shown_line(text),
        width,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_on_hyphens=False,
    ) or [head]


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(
        shown_line(text), width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
