"""Divergence lines: what is told of KL(base || model) in a terminal of 80 columns and in Markdown."""

import math
from collections.abc import Mapping
from typing import Final

from lmhead.evaluation.divergence.divergence_totals import QUANTILES, DivergenceTotals
from lmhead.shown import shown_line

HEAD: Final = "KL(base || model), nats per token"
Interval = tuple[float, float]
_NAME: Final = 28  # columns
_BASE: Final = 36  # characters of its name


def divergence_rows(
    totals: DivergenceTotals, intervals: Mapping[str, Interval] | None = None
) -> list[tuple[str, str, str]]:
    """(name, value, 95 % interval or "") of each statistic, named as llama.cpp's perplexity tool prints them.

    Args:
        intervals: of `mean_kld`, `same_top_p`, `mean_delta_p`, `rms_delta_p`, `ln_ppl_ratio`, those that there are.
    """
    known = intervals or {}
    base, model = totals.mean_nll

    def row(name: str, value: str, key: str = "", *, percent: bool = False) -> tuple[str, str, str]:
        ends = known.get(key)
        if ends is None:
            return name, value, ""
        return name, value, f"[{', '.join(_percent(end) if percent else _nats(end) for end in ends)}]"

    quantiles = [
        row("Median KLD" if name == "median" else f"{name} KLD", _nats(totals.quantile_kld(share)))
        for name, share in QUANTILES.items()
    ]
    return [
        row("Mean KLD", _nats(totals.mean_kld), "mean_kld"),
        *quantiles,
        row("Maximum KLD", _nats(totals.largest_kld)),
        row("Same top p", _percent(totals.same_top_share), "same_top_p", percent=True),
        row("Mean Δp", _percent(totals.mean_delta_p), "mean_delta_p", percent=True),
        row("RMS Δp", _percent(totals.rms_delta_p), "rms_delta_p", percent=True),
        row("Minimum Δp", _percent(totals.least_delta_p)),
        row("Maximum Δp", _percent(totals.largest_delta_p)),
        row("Mean PPL(base)", _perplexity(base)),
        row("Mean PPL(model)", _perplexity(model)),
        row("Mean ln(PPL(model)/PPL(base))", _nats(model - base), "ln_ppl_ratio"),
    ]


def divergence_lines(
    totals: DivergenceTotals, *, base: str, intervals: Mapping[str, Interval] | None = None
) -> list[str]:
    """Lines for a terminal, at most 80 columns each.

    Args:
        base: its name.
    """
    if not totals.tokens:
        return [f"{HEAD}: no token scored"]
    named = shown_line(base)
    named = named if len(named) <= _BASE else f"..{named[2 - _BASE :]}"
    lines = [f"{HEAD}; base: {named}"]
    for name, value, interval in divergence_rows(totals, intervals):
        lines.append(f"  {name:<{_NAME + 1}} {value:>12}  {interval}".rstrip())
    return lines


def divergence_markdown(
    totals: DivergenceTotals, *, base: str, intervals: Mapping[str, Interval] | None = None
) -> list[str]:
    """The same as a table of Markdown."""
    named = shown_line(base).replace("`", "'").replace("|", "\\|")
    lines = [
        f"{HEAD.replace('||', '∥')}; base: `{named}`",
        "",
        "| statistic | value | 95 % interval |",
        "|---|---:|---|",
    ]
    return lines + [" | ".join(("", *row, "")).strip() for row in divergence_rows(totals, intervals)]


def _nats(value: float) -> str:
    return f"{value:.6f}" if value == 0 or abs(value) >= 1e-4 or not math.isfinite(value) else f"{value:.2e}"


def _percent(share: float) -> str:
    return f"{share:.3%}".replace("%", " %")


def _perplexity(nll: float) -> str:
    return f"{math.exp(nll):,.4f}" if nll < 700 else "inf"
