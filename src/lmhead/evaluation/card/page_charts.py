"""Charts of a card as SVG, drawn here: the page needs no script. Shapes tell what colours tell."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from lmhead.evaluation.card.figures import Calibration
from lmhead.evaluation.card.shown_numbers import count, figure, share

_WIDTH: Final = 220  # of a chart in a row
_HEIGHT: Final = 18
_PAD: Final = 7
_SIDE: Final = 300  # of the reliability diagram's square
_LEFT: Final = 46
_TOP: Final = 8
_BARS: Final = 56


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """A value, and what it lies in."""

    value: float | None
    low: float | None = None
    high: float | None = None


def dots(rows: Sequence[Dot], whole: float | None, unit: str) -> tuple[str, list[str]]:
    """(the head of the column with its scale, an SVG for each row): dots and whiskers; a line where the whole is."""
    known = [each for row in rows for each in (row.value, row.low, row.high) if each is not None]
    known += [] if whole is None else [whole]
    low, high = min(known, default=0.0), max(known, default=1.0)
    scale = f"{unit}, {figure(low)} to {figure(high)}"
    spread = (high - low) or abs(high) or 1.0
    low, high = low - 0.04 * spread, high + 0.04 * spread

    def x(value: float) -> str:
        return f"{_PAD + (_WIDTH - 2 * _PAD) * (value - low) / (high - low):.1f}"

    head = scale + ("" if whole is None else f"; the line: all, {figure(whole)}")
    return head, [_dot(row, whole, x) for row in rows]


def _dot(row: Dot, whole: float | None, x: Callable[[float], str]) -> str:
    parts = [f'<line class="axis" x1="{_PAD}" x2="{_WIDTH - _PAD}" y1="9" y2="9"/>']
    if whole is not None:
        parts.append(f'<line class="whole" x1="{x(whole)}" x2="{x(whole)}" y1="0" y2="{_HEIGHT}"/>')
    if row.low is not None and row.high is not None:
        parts.append(f'<line class="whisker" x1="{x(row.low)}" x2="{x(row.high)}" y1="9" y2="9"/>')
        parts += [f'<line class="whisker" x1="{x(at)}" x2="{x(at)}" y1="5" y2="13"/>' for at in (row.low, row.high)]
    if row.value is not None:
        parts.append(f'<circle class="dot" cx="{x(row.value)}" cy="9" r="4.5"/>')
    return (
        f'<svg class="in-row" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'aria-hidden="true">{"".join(parts)}</svg>'
    )


def reliability_diagram(of: Calibration) -> str:
    """Accuracy over confidence, a dot for each bin with tokens; below it how many tokens each bin has."""
    bins = [each for each in of.bins if each.confidence is not None and each.accuracy is not None]
    tokens = sum(each.tokens for each in bins)
    most = max(each.tokens for each in bins)
    bottom = _TOP + _SIDE + 34
    parts = [_grid(), _frame()]
    for each in bins:
        assert each.confidence is not None
        assert each.accuracy is not None
        x, y = _LEFT + _SIDE * each.confidence, _TOP + _SIDE * (1 - each.accuracy)
        even = _TOP + _SIDE * (1 - each.confidence)
        radius = 3 + 5 * (each.tokens / most) ** 0.5
        told = (
            f"{share(each.low)} to {share(each.high)}: {count(each.tokens)} tokens, sure of {share(each.confidence)}, "
            f"right in {share(each.accuracy)}"
        )
        parts.append(
            f'<g><title>{told}</title><line class="gap" x1="{x:.1f}" x2="{x:.1f}" y1="{even:.1f}" y2="{y:.1f}"/>'
            f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/></g>'
        )
        height = _BARS * each.tokens / most
        left, width = _LEFT + _SIDE * each.low + 1, _SIDE * (each.high - each.low) - 2
        parts.append(
            f'<rect class="bar" x="{left:.1f}" y="{bottom + _BARS - height:.1f}" width="{width:.1f}" '
            f'height="{height:.1f}"><title>{count(each.tokens)} tokens, {share(each.tokens / tokens)}</title></rect>'
        )
    parts.append(_label(_LEFT, bottom + _BARS + 16, f"tokens in each bin, at most {count(most)}", "start"))
    said = (
        f"Reliability diagram: expected calibration error {share(of.error, 2)}; the table below has the numbers. "
        "Dots above the diagonal: right more often than sure."
    )
    width, height = _LEFT + _SIDE + 14, bottom + _BARS + 24
    return (
        f'<figure class="reliability"><svg viewBox="0 0 {width} {height}" role="img" aria-label="{said}">'
        f'{"".join(parts)}</svg><figcaption class="muted">Above the diagonal it is right more often than it is sure, '
        "below it less often. The larger a dot, the more tokens.</figcaption></figure>"
    )


def _frame() -> str:
    right, bottom = _LEFT + _SIDE, _TOP + _SIDE
    return (
        f'<line class="diagonal" x1="{_LEFT}" y1="{bottom}" x2="{right}" y2="{_TOP}"/>'
        + _label(_LEFT + _SIDE / 2, bottom + 30, "probability of the most probable token", "middle")
        + f'<text class="label" transform="translate(12 {_TOP + _SIDE / 2}) rotate(-90)" text-anchor="middle">'
        "how often it was right</text>"
    )


def _grid() -> str:
    made = []
    for tenth in range(0, 11, 2):
        x, y = _LEFT + _SIDE * tenth / 10, _TOP + _SIDE * (1 - tenth / 10)
        made.append(f'<line class="axis" x1="{x}" x2="{x}" y1="{_TOP}" y2="{_TOP + _SIDE}"/>')
        made.append(f'<line class="axis" x1="{_LEFT}" x2="{_LEFT + _SIDE}" y1="{y}" y2="{y}"/>')
        made.append(_label(x, _TOP + _SIDE + 14, f"{tenth / 10:.1f}", "middle"))
        made.append(_label(_LEFT - 6, y + 4, f"{tenth / 10:.1f}", "end"))
    return "".join(made)


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text class="label" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'
