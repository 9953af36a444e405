"""The sentence: what may be concluded of a comparison, with its interval, and no more than that."""

import math
from typing import TYPE_CHECKING, Final

from lmhead.evaluation.intervals.interval import FEW
from lmhead.shown import shown_line

if TYPE_CHECKING:
    from lmhead.evaluation.comparison.comparison import BlockDifference, Comparison

FEWEST: Final = 6  # documents: of 5, all better, 1 of 32 would be so by chance on each side: more than 5 % on both


def sentence(made: "Comparison") -> str:
    """One line. It speaks of these two models on texts like these: another seed of the same training may differ."""
    said = [made.difference.note] if made.verdict in ("first", "second") and made.difference.note else []
    cautions = "; ".join([*said, *map(shown_line, made.cautions)])
    return _concluded(made) + (f" Careful: {cautions}." if cautions else "")


def _concluded(made: "Comparison") -> str:
    first, second = shown_line(made.first.name), shown_line(made.second.name)
    counted = _documents(made.documents)
    if made.verdict == "equal":
        return f"No difference: {second} and {first} give exactly the same figures on {counted}."
    better = first if made.verdict == "first" else second
    wins, share = _wins(made, better == first), f"on {{}} of {counted}"
    difference = _difference(made, better == first)
    said = ", ".join(part for part in (_interval(made, better == first), counted, "paired") if part)
    if made.verdict == "too few" and made.blocks is not None:
        return _of_blocks(made, made.blocks)
    if made.verdict == "too few":
        return (
            f"Too few documents ({made.documents}) to conclude: {second} has {difference} here; "
            f"{FEWEST} at the least can show a difference, {FEW} or more make it dependable."
        )
    if made.verdict == "undecided":
        return (
            f"No difference may be concluded: {second} has {difference} ({said}){_holm(made)}; "
            f"it is better {share.format(made.second_better)}."
        )
    return f"{better} is better: {difference} ({said}){_relative(made)}{_holm(made)}; {share.format(wins)}."


def _of_blocks(made: "Comparison", blocks: "BlockDifference") -> str:
    """Of the few texts alone."""
    first, second = shown_line(made.first.name), shown_line(made.second.name)
    found = blocks.difference
    of_these = f"{_documents(made.documents)} alone, in {blocks.blocks:,} blocks of {blocks.bytes:,} bytes"
    ends = [abs(end) for end in (found.low, found.high) if end is not None]
    scale = max(ends) if not ends else abs((found.high or 0.0) - (found.low or 0.0)) / 2
    size = amount(abs(found.value), scale)
    if not found.excludes_zero:
        low, high = amount(found.low or 0.0, scale), amount(found.high or 0.0, scale)
        more = "more" if found.value > 0 else "less"
        return (
            f"No difference may be concluded: {second} has {size} bits per byte {more} (95 % interval {low} to {high}, "
            f"of {of_these}, paired)."
        )
    better = second if found.value < 0 else first
    low, high = (amount(end, scale) for end in sorted(ends))
    return (
        f"{better} is better on this text: {size} bits per byte less (95 % interval {low} to {high}, of {of_these}, "
        f"paired); of other texts {_documents(made.documents)} can tell nothing."
    )


def amount(value: float, scale: float) -> str:
    """A value with as many digits as two of `scale` need, 4 behind the point at the least.

    Example:
        >>> amount(0.0123456, 0.002), amount(-0.000001234, 3e-7)
        ('0.0123', '-0.00000123')
    """
    digits = 4 if not scale else max(4, min(12, 1 - math.floor(math.log10(abs(scale)))))
    said = f"{value:.{digits}f}"
    return said.removeprefix("-") if not float(said) else said


def scale_of(made: "Comparison") -> float:
    """By which a difference's digits are chosen: half its interval's width, or itself."""
    interval = made.difference
    if interval.low is None or interval.high is None or interval.high == interval.low:
        return interval.value
    return (interval.high - interval.low) / 2


def _difference(made: "Comparison", of_first: bool) -> str:
    """The size of the difference, and whether it is less or more."""
    value = -made.difference.value if of_first else made.difference.value
    words = made.figure.less if value < 0 else made.figure.more
    return f"{amount(abs(value), scale_of(made))} {words}"


def _interval(made: "Comparison", of_first: bool) -> str:
    """Of the size, so that a difference that may be concluded has an interval of positive numbers."""
    interval = -made.difference if of_first else made.difference
    if interval.value < 0:
        interval = -interval
    if interval.low is None or interval.high is None:
        return ""
    scale = scale_of(made)
    return f"{100 * interval.level:g} % interval {amount(interval.low, scale)} to {amount(interval.high, scale)}"


def _relative(made: "Comparison") -> str:
    """The effect in per cent of the worse one's figure."""
    worse, better = made.first.value, made.second.value
    if made.verdict == "first":
        worse, better = better, worse
    if made.figure.name == "accuracy":
        return f", {100 * worse:.1f} % -> {100 * better:.1f} % right"
    if made.figure.name == "perplexity":
        return f", a perplexity {_percent(-math.expm1(better - worse))} lower"
    return f", {_percent((worse - better) / worse)} fewer bits" if worse else ""


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.001 else f"{100 * share:.2g} %"


def _holm(made: "Comparison") -> str:
    return "" if made.p_holm is None else f", p = {made.p_holm:.2g} after Holm over {made.of} comparisons"


def _wins(made: "Comparison", of_first: bool) -> int:
    return made.first_better if of_first else made.second_better


def _documents(count: int) -> str:
    return f"{count:,} document{'s' * (count != 1)}"
