"""Figures that two evaluations are compared by, and the words for them."""

from dataclasses import dataclass
from typing import Final, Literal

FigureName = Literal["bits_per_byte", "perplexity", "accuracy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """How a difference of it is told."""

    name: FigureName
    title: str
    unit: str  # of the difference
    less: str  # as it stands behind the size of a difference
    more: str
    lower_is_better: bool = True
    of_bytes: bool = False  # comparable between tokenizers


FIGURES: Final[dict[str, Figure]] = {
    figure.name: figure
    for figure in (
        Figure(
            name="bits_per_byte",
            title="Bits per byte",
            unit="bits per byte",
            less="bits per byte less",
            more="bits per byte more",
            of_bytes=True,
        ),
        Figure(
            name="perplexity",
            title="Nats per token",
            unit="nats per token",
            less="nats per token less",
            more="nats per token more",
        ),
        Figure(
            name="accuracy",
            title="Accuracy",
            unit="of the tokens",
            less="of the tokens fewer right",
            more="of the tokens more right",
            lower_is_better=False,
        ),
    )
}
