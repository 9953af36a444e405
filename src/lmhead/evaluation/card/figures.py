"""Figures of an evaluation card: nll, bits per byte, accuracy, calibration, quantiles; in all, and by class of tokens.

All are of the same scored tokens. Sums are kept beside means, so that cards can be added up.
"""

from dataclasses import dataclass

from lmhead.evaluation.intervals.interval import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The headline."""

    tokens: int  # scored
    nll_sum: float  # nats
    nll: float  # nats per scored token: nll_sum / tokens
    perplexity: float | None  # exp(nll), of this tokenizer; None: beyond what float64 holds
    bytes: int | None  # of the raw text that is scored; None: some tokens do not say
    bits_per_byte: float | None
    no_bits: str | None  # why there are none
    accuracy: float  # hits / tokens
    hits: int  # scored tokens that were the most probable one
    top: dict[str, float]  # share of the tokens that were among the 5, 10, 100 most probable ones


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervals:
    """How sure the headline is: documents are the unit, drawn anew with replacement."""

    bits_per_byte: Interval | None
    nll: Interval | None
    accuracy: Interval | None
    resamples: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationBin:
    """Tokens at which the most probable one was given a probability in (low, high]."""

    low: float
    high: float
    tokens: int
    confidence: float | None  # the mean of that probability; None: no token
    accuracy: float | None  # how often that token was the true one


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Whether a model is right as often as it is sure: Guo et al. 2017 (arXiv:1706.04599), of the most probable token.

    `error` is the expected calibration error: the mean over tokens of |accuracy - confidence| of their bins.
    """

    error: float
    confidence: float  # the mean probability of the most probable token
    bins: tuple[CalibrationBin, ...]  # of equal width


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiles:
    """The least value that so large a share of the tokens do not exceed."""

    shares: tuple[float, ...]
    values: tuple[float | None, ...]  # None: beyond what is told apart
    largest: float
    resolution: str  # in words


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFigures:
    """Of one source: a file, a data set, or what a column says. The weighted means of all are the headline's."""

    source: str
    sources: int  # that are shown as this one; of very many files a folder's
    documents: int
    tokens: int
    nll_sum: float
    nll: float | None  # None: no token is scored
    hits: int
    accuracy: float | None
    bytes: int | None
    bits_per_byte: float | None
    interval: Interval | None = None  # of the bits per byte; where there are none, of the nats per token


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFigures:
    """Of one class of tokens: a band of positions, or an assistant's turn."""

    name: str
    tokens: int
    nll: float
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Of conversations: answers are runs of scored tokens."""

    answers: int
    exact: int  # of which every token was the most probable one: greedy decoding writes them so
    first_nll: float  # nats: of the first token of each, the mean
