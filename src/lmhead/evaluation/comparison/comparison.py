"""Comparison: two evaluations of the same bytes, and what may be concluded; as JSON, text, Markdown, a page."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, final

from lmhead.evaluation.comparison.comparison_text import comparison_markdown, comparison_text
from lmhead.evaluation.comparison.figure import FIGURES, Figure, FigureName
from lmhead.evaluation.comparison.sentence import FEWEST, sentence
from lmhead.evaluation.comparison.span_comparison import SpanComparison
from lmhead.evaluation.intervals.interval import Interval
from lmhead.shown import shown_json

VERSION: Final = 1

Verdict = Literal["first", "second", "equal", "undecided", "too few"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One model, over the documents that both have."""

    name: str
    value: float  # of the figure: bits per byte, nats per token, or a share
    nll_sum: float  # nats
    tokens: int
    bytes: int | None  # None: not known, and not asked for
    tokenizer: str | None = None

    @property
    def tokens_per_byte(self) -> float | None:
        """Of its tokenizer on these bytes."""
        return self.tokens / self.bytes if self.bytes else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDifference:
    """One source's documents."""

    source: str
    first: float
    second: float
    difference: Interval  # second - first


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentDifference:
    """One document."""

    name: str
    value: float  # second - first, in the figure's unit, of this document alone


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockDifference:
    """Over blocks of a few long texts, where these are too few to be drawn from: of these texts alone."""

    bytes: int  # of text in a block
    blocks: int
    difference: Interval  # second - first, in bits per byte


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Documents that are not compared."""

    why: str
    count: int
    names: tuple[str, ...]  # of the first few


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Second against first: a negative difference of bits is the second's gain. `print(comparison)` shows it."""

    figure_name: FigureName
    first: Side
    second: Side
    difference: Interval  # second - first
    documents: int  # that both have
    second_better: int  # documents, on which the second model is better
    first_better: int
    perplexity_ratio: tuple[float, float | None, float | None] | None  # second / first, and its interval
    no_perplexity: str  # why there is none
    sources: tuple[SourceDifference, ...]
    sorted_differences: tuple[float, ...]  # of documents, in the figure's unit; quantiles where there are many
    extremes: tuple[DocumentDifference, ...]  # where the second gains most, and where it loses most
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()  # that belong to the sentence
    spans: SpanComparison | None = None
    blocks: BlockDifference | None = None  # None: there are documents enough, or not enough of their bytes
    of: int = 1  # comparisons that were made at once
    p_holm: float | None = None  # p, adjusted for them (Holm 1979)

    @property
    def figure(self) -> Figure:
        """In words."""
        return FIGURES[self.figure_name]

    @property
    def relative(self) -> float | None:
        """The difference as a share of the first's value; None where that is 0."""
        return self.difference.value / self.first.value if self.first.value else None

    @property
    def p(self) -> float | None:
        """How probable so large a difference is where there is none; adjusted where several were made."""
        return self.difference.p if self.p_holm is None else self.p_holm

    @property
    def verdict(self) -> Verdict:
        """What may be concluded."""
        if self.first_better == self.second_better == 0:
            return "equal"
        if self.documents < FEWEST:
            return "too few"
        significant = self.p_holm is None or self.p_holm <= 1 - self.difference.level
        if not self.difference.excludes_zero or not significant:
            return "undecided"
        return "second" if (self.difference.value < 0) == self.figure.lower_is_better else "first"

    @property
    def sentence(self) -> str:
        """What may be concluded, in one line."""
        return sentence(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        made = asdict(self)
        made["figure"] = made.pop("figure_name")
        return {
            "comparison": VERSION,
            "sentence": self.sentence,
            "verdict": self.verdict,
            "relative": self.relative,
            **made,
        }

    def json(self) -> str:
        """`to_dict` as text."""
        return shown_json(json.dumps(self.to_dict(), ensure_ascii=False, indent=1, allow_nan=False)) + "\n"

    def __str__(self) -> str:
        return comparison_text(self)

    def markdown(self) -> str:
        """For a model card or an issue."""
        return comparison_markdown(self)

    def html(self) -> str:
        """A section for a page; its style is the asset "comparison/comparison.css"."""
        from lmhead.evaluation.comparison.comparison_html import comparison_html  # jinja2 is for this alone

        return comparison_html(self)
