"""CardFields: what is on an evaluation card; what shows one reads them."""

from dataclasses import dataclass

from lmhead.evaluation.card.conditions import (
    Counts,
    DataConditions,
    Making,
    ModelConditions,
    ReadingConditions,
    Section,
    TokenizerConditions,
    WorstEntry,
)
from lmhead.evaluation.card.figures import (
    Answers,
    Calibration,
    ClassFigures,
    Figures,
    Intervals,
    Quantiles,
    SourceFigures,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFields:
    """Figures, and all that stands behind them. EvaluationCard is one."""

    figures: Figures
    intervals: Intervals | None = None
    calibration: Calibration
    ranks: Quantiles  # how many tokens were more probable; 0: none was
    entropy: Quantiles  # nats, of the distribution that each token was drawn from
    nll: Quantiles  # nats, of the tokens
    sources: tuple[SourceFigures, ...]
    positions: tuple[ClassFigures, ...]  # by how many tokens of the document stand before the predicting one
    turns: tuple[ClassFigures, ...] = ()  # by the assistant's turns; of conversations
    answers: Answers | None = None  # of conversations
    counts: Counts
    model: ModelConditions
    tokenizer: TokenizerConditions
    data: DataConditions
    reading: ReadingConditions
    making: Making
    worst: tuple[WorstEntry, ...] = ()
    sections: tuple[Section, ...] = ()
    notes: tuple[str, ...] = ()  # what has to be said on top
    inspect: str | None = None  # the page of the worst documents, relative to the card's
