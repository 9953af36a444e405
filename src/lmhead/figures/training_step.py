"""The learning loop in five steps, with the numbers of a real model: ids, prediction, comparison, loss, update."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from lmhead.errors import ArgumentTypeError, NonFiniteError, require, require_kind
from lmhead.figures.canvas import BOX_HEIGHT, Canvas, box_width, canvas
from lmhead.figures.chart_axes import real_number
from lmhead.figures.described_figure import DescribedFigure, described
from lmhead.figures.description import listed, sentences, spoken
from lmhead.figures.grid import token_list
from lmhead.figures.theme import Theme, ThemeName, theme_named
from lmhead.labels.targets import Targets
from lmhead.losses.cross_entropy import cross_entropy
from lmhead.models.causal_lm import CausalLM

MOST_TOKENS: Final = 8
_STEP: Final = 0.95  # inches, from one step to the next
_LEFT: Final = 2.75  # of what a step shows
_STEPS: Final = (
    ("take the ids", "a row of text, as numbers"),
    ("predict the next", "its best guess at each position"),
    ("compare", "with the token that came"),
    ("compute the loss", "-log p of that token, nats"),
    ("update", "weights move; the loss then"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """What a model makes of a row, before an update and after it; one entry for each of T - 1 predictions."""

    guesses: list[int]
    guess_probabilities: list[float]
    losses: list[float]  # nats
    losses_after: list[float]

    @property
    def means(self) -> tuple[float, float]:
        """The mean loss before and after, nats."""
        return sum(self.losses) / len(self.losses), sum(self.losses_after) / len(self.losses_after)


def learning_loop(
    model: CausalLM,
    ids: Tensor,
    *,
    tokens: Sequence[str],
    learning_rate: float = 0.1,
    theme: ThemeName = "light",
) -> DescribedFigure:
    """One turn of the learning loop in its five steps, with a real model's numbers. The model stays as it is.

    Args:
        model: what is to learn; a copy of it takes one step of gradient descent.
        ids: [T] or [1, T], the row.
        tokens: the text of every id of the vocabulary, so that guesses can be shown.
        learning_rate: of that step.

    Raises:
        ArgumentError: `ids` are not two to eight, or an id has no text in `tokens`.
        ArgumentTypeError: an argument is of the wrong kind.
        NonFiniteError: the step made a loss that is NaN or infinite.
        InputError: matplotlib is not installed.
    """
    theme_named(theme)  # refused before anything is computed
    require_kind("model", model, CausalLM)
    require_kind("ids", ids, Tensor)
    row = ids.reshape(1, -1)
    require(2 <= row.shape[1] <= MOST_TOKENS, "ids", f"be 2 to {MOST_TOKENS}, to be read", row.shape[1])
    if not isinstance(tokens, Sequence):
        raise ArgumentTypeError(f"tokens must be a list of the texts of all ids, got {type(tokens).__name__}")
    rate = float(real_number("learning_rate", learning_rate))
    known = len(tokens) >= model.vocab_size
    require(known, "tokens", f"be the texts of all {model.vocab_size} ids", f"{len(tokens)} texts")
    texts = token_list("tokens", tokens, most=len(tokens))
    step = _one_step(model, row, rate)
    numbers = row[0].tolist()
    read, guesses = [texts[number] for number in numbers], [texts[guess] for guess in step.guesses]

    def draw(colors: Theme) -> DescribedFigure:
        return _drawn(read, numbers, guesses, step, colors)

    return described(draw, theme, _description(read, guesses, step))


def _drawn(read: list[str], ids: list[int], guesses: list[str], step: _Step, colors: Theme) -> DescribedFigure:
    column = max(box_width(text) for text in [*read, *guesses, "x" * 7]) + 0.14
    width = max(8.0, _LEFT + column * (len(read) - 1) + max(column, 1.15) + 0.1)
    drawn = canvas(colors, height=_STEP * len(_STEPS) + 0.2, width=width)
    for number, (name, what) in enumerate(_STEPS):
        _heading(drawn, number, name, what)
    _contents(drawn, read, ids, guesses, step, column)
    return drawn.figure


def _description(read: list[str], guesses: list[str], step: _Step) -> str:
    said = [spoken(token) for token in read]
    pairs = [
        f"{spoken(guess)} where {came} came, p {math.exp(-nll):.2f}"
        for guess, came, nll in zip(guesses, said[1:], step.losses, strict=True)
    ]
    before, after = step.means
    return sentences(
        f"Five steps: take the ids of “{' '.join(said)}”; predict the next token of each; compare with what came;",
        f"compute the loss, a mean of {before:.3f} nats; update, after which it is {after:.3f}.",
        f"Its best guesses: {listed(pairs, most=3, separator='; ')}.",
    )


def _one_step(model: CausalLM, row: Tensor, learning_rate: float) -> _Step:
    """A step of gradient descent of a copy of the model, on the row alone."""
    learner = copy.deepcopy(model).eval()  # without dropout: the loss after it is to be compared with the one before
    targets = Targets.from_labels(row).up_to(row.shape[1] - 1)
    logits = _logits(learner, row)
    probabilities, guesses = logits.detach().softmax(-1).max(-1)
    losses = cross_entropy(logits, targets.ids, reduction="none")
    parameters = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(losses.mean(), parameters, allow_unused=True)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                parameter.sub_(gradient, alpha=learning_rate)
        after = cross_entropy(_logits(learner, row), targets.ids, reduction="none")
    if not bool(after.isfinite().all()):
        raise NonFiniteError(f"the step at a learning rate of {learning_rate} made a loss that is not finite: lower it")
    return _Step(
        guesses=guesses[0].tolist(),
        guess_probabilities=probabilities[0].tolist(),
        losses=losses[0].tolist(),
        losses_after=after[0].tolist(),
    )


def _logits(model: nn.Module, row: Tensor) -> Tensor:
    """[1, T - 1, V]: of all positions that something follows."""
    logits: Tensor = model(row)[0][:, :-1]
    return logits


def _heading(drawn: Canvas, number: int, name: str, what: str) -> None:
    """A step's number, name and explanation at the left, and an arrow to the next."""
    y = 0.35 + number * _STEP
    drawn.text(0.2, y + 0.04, str(number + 1), size=17, bold=True, color=drawn.theme.learnt)
    drawn.text(0.52, y - 0.06, name, size=11, bold=True)
    drawn.text(0.52, y + 0.16, what, size=9, color=drawn.theme.muted)
    if number + 1 < len(_STEPS):
        drawn.arrow((0.28, y + 0.28), (0.28, y + _STEP - 0.22))


def _contents(drawn: Canvas, read: list[str], ids: list[int], guesses: list[str], step: _Step, column: float) -> None:
    """What each step makes of the row: a column for each position."""
    width = column - 0.12
    for t, text in enumerate(read):
        x, middle = _LEFT + t * column, _LEFT + t * column + width / 2
        drawn.box(x, 0.15, width, text)
        _under(drawn, middle, 0.15, str(ids[t]))
        if t + 1 == len(read):
            continue
        drawn.box(x, 0.15 + _STEP, width, guesses[t])
        _under(drawn, middle, 0.15 + _STEP, f"p {step.guess_probabilities[t]:.2f}")
        drawn.box(x, 0.15 + 2 * _STEP, width, read[t + 1], learnt=True)
        _under(drawn, middle, 0.15 + 2 * _STEP, f"p {math.exp(-step.losses[t]):.2f}")
        drawn.text(middle, 0.35 + 3 * _STEP, f"{step.losses[t]:.2f}", align="center", color=drawn.theme.cost, bold=True)
        drawn.text(middle, 0.35 + 4 * _STEP, f"{step.losses_after[t]:.2f}", align="center", color=drawn.theme.cost)
    before, after = step.means
    end = _LEFT + (len(read) - 1) * column
    drawn.text(end, 0.35 + 3 * _STEP, f"mean {before:.3f}", bold=True)
    drawn.text(end, 0.35 + 4 * _STEP, f"mean {after:.3f}", bold=True)
    drawn.text(
        _LEFT, 0.35 + 4 * _STEP + 0.38, "and again with the next row: that is all of training", color=drawn.theme.muted
    )


def _under(drawn: Canvas, middle: float, y: float, text: str) -> None:
    drawn.text(middle, y + BOX_HEIGHT + 0.13, text, align="center", mono=True, size=8.5, color=drawn.theme.muted)
