"""The assistant mask of a conversation: which of its tokens are learnt, and why each of the others is not."""

from collections.abc import Callable
from typing import Final

from lmhead.errors import ArgumentTypeError, require, require_kind
from lmhead.figures.canvas import BOX_HEIGHT, WIDTH, box_width, canvas
from lmhead.figures.described_figure import DescribedFigure, described
from lmhead.figures.description import counted, listed, sentences, spoken
from lmhead.figures.theme import Theme, ThemeName
from lmhead.labels.example import Example
from lmhead.labels.targets import Reason
from lmhead.report.reason_words import REASON_WORDS
from lmhead.shown import shown_spaces

MOST_TOKENS: Final = 400
_HATCHED: Final = (Reason.SCAFFOLD, Reason.IGNORED, Reason.ZERO_WEIGHT)  # nobody's words
_SIZE: Final = 9
_GAP: Final = 0.04
_LINE: Final = BOX_HEIGHT + 0.08
_MARGIN: Final = 0.95  # inches, for the roles at the left


def assistant_mask(
    example: Example, decode: Callable[[list[int]], str], *, theme: ThemeName = "light"
) -> DescribedFigure:
    """A labelled conversation, a line for each message: learnt tokens blue, the template's own hatched.

    Args:
        example: as a ChatLabeler gives it.
        decode: the tokenizer's, from ids to text, control tokens included.

    Raises:
        ArgumentError: there are no tokens, or too many for a figure.
        ArgumentTypeError: `example` is no Example, or `decode` no function that returns text.
        InputError: matplotlib is not installed.
    """
    require_kind("example", example, Example)
    require(1 <= len(example) <= MOST_TOKENS, "example", f"have 1 to {MOST_TOKENS} tokens, to be read", len(example))
    texts = [shown_spaces(text) for text in _decoded(example, decode)]
    starts, reasons, learnt = _starts(example, texts), example.reason.tolist(), example.learnt.tolist()

    def draw(colors: Theme) -> DescribedFigure:
        return _drawn(texts, starts, reasons, learnt, colors)

    return described(draw, theme, _description(texts, starts, reasons, learnt))


def _decoded(example: Example, decode: Callable[[list[int]], str]) -> list[str]:
    if not callable(decode):
        raise ArgumentTypeError(f"decode must be a function from ids to text, got {type(decode).__name__}")
    texts = [decode([number]) for number in example.ids.tolist()]
    for text in texts:
        require_kind("what decode returns", text, str)
    return texts


def _drawn(
    texts: list[str], starts: dict[int, str], reasons: list[int], learnt: list[bool], colors: Theme
) -> DescribedFigure:
    placed, lines = _placed(texts, starts)
    drawn = canvas(colors, height=0.3 + lines * _LINE + 0.75)
    for (x, line), text, reason, known in zip(placed, texts, reasons, learnt, strict=True):
        hatched = not known and reason in _HATCHED
        y = 0.15 + line * _LINE
        drawn.box(x, y, box_width(text, _SIZE), text, learnt=known, hatched=hatched, size=_SIZE)
    for start, role in starts.items():
        drawn.text(
            _MARGIN - 0.12, 0.15 + placed[start][1] * _LINE + BOX_HEIGHT / 2, role, align="right", color=colors.muted
        )
    y = 0.15 + lines * _LINE + 0.18
    drawn.box(_MARGIN, y, 0.2, height=0.2, learnt=True)
    drawn.text(_MARGIN + 0.28, y + 0.1, _learnt(learnt))
    drawn.box(_MARGIN + 3.0, y, 0.2, height=0.2)
    drawn.box(_MARGIN + 3.0, y + 0.3, 0.2, height=0.2, hatched=True)
    drawn.text(_MARGIN + 3.28, y + 0.1, _not_learnt(reasons, learnt, hatched=False))
    drawn.text(_MARGIN + 3.28, y + 0.4, _not_learnt(reasons, learnt, hatched=True))
    return drawn.figure


def _starts(example: Example, texts: list[str]) -> dict[int, str]:
    """Where each message's line begins, with its role: at the control token that opens it, as far as that is told."""
    starts: dict[int, str] = {}
    before, ended = 0, True  # the last message's end; whether the token that ends it is behind us
    for span in example.spans:
        opening = [t for t in range(before, span.start) if texts[t].startswith("<") and texts[t].endswith(">")]
        if not ended:
            opening = opening[1:]  # the one that ends the message before
        start = 0 if not starts else opening[0] if opening else before
        starts[start] = span.role
        before, ended = span.stop, span.role == "assistant"
    return starts or {0: ""}


def _placed(texts: list[str], starts: dict[int, str]) -> tuple[list[tuple[float, int]], int]:
    """((x in inches, line) of each token, lines in all)."""
    placed, x, line = [], _MARGIN, 0
    for t, text in enumerate(texts):
        width = box_width(text, _SIZE)
        if t > 0 and (t in starts or x + width > WIDTH - 0.1):
            x, line = _MARGIN, line + 1
        placed.append((x, line))
        x += width + _GAP
    return placed, line + 1


def _learnt(learnt: list[bool]) -> str:
    return f"learnt: {sum(learnt)} of {len(learnt)} tokens, {sum(learnt) / len(learnt):.0%}"


def _description(texts: list[str], starts: dict[int, str], reasons: list[int], learnt: list[bool]) -> str:
    roles = [role for role in starts.values() if role]
    whose = (
        f"{counted(len(roles), 'message')} ({listed([spoken(role) for role in roles])})"
        if roles
        else counted(len(texts), "token")
    )
    words = [spoken(text) for text, known in zip(texts, learnt, strict=True) if known]
    shown = f"; the learnt ones are {listed(words)}" if words else ""
    others = [_not_learnt(reasons, learnt, hatched=hatched).removeprefix("not learnt: ") for hatched in (False, True)]
    told = ", ".join(other for other in others if other != "none") or "none"
    return sentences(f"Conversation of {whose}. {_learnt(learnt).capitalize()}{shown}. Not learnt: {told}.")


def _not_learnt(reasons: list[int], learnt: list[bool], *, hatched: bool) -> str:
    """The reasons that are drawn so, with their tokens."""
    counts: dict[int, int] = {}
    for reason, known in zip(reasons, learnt, strict=True):
        if not known and (reason in _HATCHED) == hatched:
            counts[reason] = counts.get(reason, 0) + 1
    told = ", ".join(f"{REASON_WORDS[reason].name} {count}" for reason, count in counts.items())
    return f"not learnt: {told or 'none'}"
