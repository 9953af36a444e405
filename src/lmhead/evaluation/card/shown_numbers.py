"""Numbers of a card as text: counts with commas, four decimals, shares in percent, intervals."""

from typing import Final

from lmhead.evaluation.intervals.interval import Interval

NONE: Final = "-"


def count(value: int) -> str:
    """1,234,567."""
    return f"{value:,}"


def figure(value: float | None) -> str:
    """Four decimals; of 10 and more, two, and of very large numbers four digits.

    Example:
        >>> figure(1.23456), figure(12345.678), figure(None)
        ('1.2346', '12,345.68', '-')
    """
    if value is None:
        return NONE
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.2f}" if abs(value) < 1e7 else f"{value:.4g}"


def share(value: float | None, digits: int = 1) -> str:
    """12.3%."""
    return NONE if value is None else f"{value:.{digits}%}"


def interval(known: Interval | None, *, short: bool = False) -> str:
    """`95%: 1.2 to 1.4, over 40 documents`, short `1.2 to 1.4`; nothing where there is none."""
    if known is None or known.low is None or known.high is None:
        return ""
    if short:
        return f"{figure(known.low)} to {figure(known.high)}"
    return f"{known.level:.0%}: {figure(known.low)} to {figure(known.high)}, over {known.documents:,} documents"


def short_sum(value: int) -> str:
    """12.3 M.

    Example:
        >>> short_sum(124_439_808), short_sum(12)
        ('124 M', '12')
    """
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return str(value)


def time_taken(seconds: float, tokens: int) -> str:
    """12.3 s, 1,234 scored tokens a second."""
    rate = f", {tokens / seconds:,.0f} scored tokens a second" if seconds > 0 else ""
    minutes = f"{seconds:,.1f} s" if seconds < 120 else f"{seconds / 60:,.1f} min"
    return f"{minutes}{rate}"
