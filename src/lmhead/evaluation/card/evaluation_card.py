"""EvaluationCard: what a model makes of data, with every number behind the figure; JSON of a version, text, a page."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from html import escape
from pathlib import Path
from typing import Any, Final, Self, final

from lmhead.errors import InputError, require, require_path
from lmhead.evaluation.card.card_fields import CardFields
from lmhead.evaluation.card.card_figures import made_of
from lmhead.evaluation.card.conditions import (
    DataConditions,
    Making,
    ModelConditions,
    ReadingConditions,
    TokenizerConditions,
)
from lmhead.evaluation.card.figures import Intervals
from lmhead.evaluation.card.markdown import card_markdown
from lmhead.evaluation.card.page import card_page
from lmhead.evaluation.card.shown_sources import shown_sources
from lmhead.evaluation.card.terminal import WIDTH, card_text, headline_lines
from lmhead.evaluation.card.typed_json import typed
from lmhead.evaluation.intervals.document_intervals import document_intervals, intervals_by_source
from lmhead.evaluation.intervals.ratio_interval import RESAMPLES
from lmhead.evaluation.sums.document_sums import DocumentSums
from lmhead.evaluation.sums.evaluation_totals import EvaluationTotals
from lmhead.record.own_file import PAGE_BEGINS, require_own
from lmhead.shown import shown_json, shown_value
from lmhead.training.run.files import replace_file

VERSION: Final = 1
LEAST_DOCUMENTS: Final = 10  # of a source, to have an interval: of two or three it would say nothing


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationCard(CardFields):
    """One model on one set of documents.

    card = lmhead.evaluate("runs/a", "texts/")
    card.figures.bits_per_byte
    print(card)                  # for a terminal
    card.markdown()              # for a model card
    card.save("card.json")       # and back: EvaluationCard.read("card.json")
    """

    @classmethod
    def of(
        cls,
        totals: EvaluationTotals,
        *,
        model: ModelConditions,
        tokenizer: TokenizerConditions,
        data: DataConditions,
        reading: ReadingConditions,
        making: Making,
        **more: Any,
    ) -> Self:
        """The card of what was summed.

        Args:
            more: intervals, worst, sections, notes, inspect.

        Raises:
            InputError: no token was scored: there is no figure, which is not a figure of 0.
        """
        return cls(
            **made_of(totals),
            model=model,
            tokenizer=tokenizer,
            data=data,
            reading=reading,
            making=making,
            **more,
        )

    def with_(self, **more: Any) -> Self:
        """The same with other intervals, worst documents, sections, notes, or link."""
        return replace(self, **more)

    def with_intervals(self, documents: Iterable[DocumentSums], *, resamples: int = RESAMPLES, seed: int = 0) -> Self:
        """The same with intervals of the headline, and of the sources that have 10 documents or more.

        Args:
            documents: the sums of each.
            resamples: how often documents are drawn anew.
            seed: of drawing them.
        """
        every = list(documents)
        found = document_intervals(every, resamples=resamples, seed=seed)
        of_source = {}
        if len(self.sources) > 1:
            tokens: Counter[str] = Counter()
            for each in every:
                tokens[each.source] += each.tokens
            shown = shown_sources(tokens)
            grouped = [replace(each, source=shown[each.source]) for each in every]
            of_source = intervals_by_source(grouped, resamples=resamples, seed=seed)
        sources = (
            replace(each, interval=known.bits_per_byte or known.nll)
            if (known := of_source.get(each.source)) is not None and each.documents >= LEAST_DOCUMENTS
            else replace(each, interval=None)
            for each in self.sources
        )
        intervals = Intervals(
            bits_per_byte=found.bits_per_byte, nll=found.nll, accuracy=found.accuracy, resamples=resamples, seed=seed
        )
        return replace(self, intervals=intervals, sources=tuple(sources))

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON: `from_dict` gives it back."""
        return {"evaluation_card": VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, given: Any) -> Self:
        """The card that `to_dict` was called of.

        Raises:
            InputError: it is none, is of a newer version, or a field is missing or of another kind.
        """
        version = given.get("evaluation_card") if isinstance(given, dict) else None
        if type(version) is not int or not 1 <= version <= VERSION:
            raise InputError(
                f"an evaluation card must be of version {VERSION} at most, got {shown_value(version)}: "
                "read it with the lmhead that wrote it"
            )
        fields = {name: value for name, value in given.items() if name != "evaluation_card"}
        made = typed(cls, fields, "card")
        assert isinstance(made, cls)
        return made

    def text(self, width: int = WIDTH, spell: Callable[[str], str] = str) -> str:
        """For a terminal: lines of at most `width` columns.

        Args:
            spell: writes the options that a Message names; by default they are Python's.
        """
        return card_text(self, width=width, spell=spell)

    def headline(self, width: int = WIDTH) -> str:
        """The figures that come first, as text."""
        return "\n".join(line.rstrip() for line in headline_lines(self, width)) + "\n"

    def markdown(self) -> str:
        """For a model card: sections from the second level on."""
        return card_markdown(self)

    def html(self) -> str:
        """One HTML file that asks nothing of any network."""
        return card_page(self)

    def save(self, file: str | Path) -> Path:
        """Write it to a file: JSON, Markdown (.md), a page (.html) or text (.txt), by its name.

        Raises:
            ArgumentError: the name ends otherwise, or there is a file of that name that is no such card.
            InputError: the file cannot be written.
        """
        path = Path(file)
        form = path.suffix.lower()
        require(form in _FORMS, "the card's file", f"end with {', '.join(_FORMS)}", repr(form), "give it one of these")
        begins, made = _FORMS[form]
        if begins is not None:
            require_own(path, begins, "card")
        replace_file(path, made(self))
        return path

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        """For notebooks: the page in a frame of its own, which reaches nothing."""
        return (
            f'<iframe srcdoc="{escape(self.html())}" sandbox title="lmhead eval" '
            'style="width: 100%; height: 44rem; border: 1px solid #8884" loading="lazy"></iframe>'
        )

    def json(self) -> str:
        """`to_dict` as text."""
        return shown_json(json.dumps(self.to_dict(), ensure_ascii=False, indent=1, allow_nan=False)) + "\n"

    @classmethod
    def read(cls, file: str | Path) -> Self:
        """The card in a file of JSON.

        Raises:
            InputError: the file cannot be read, or is no card.
        """
        require_path("file", file)
        try:
            text = Path(file).read_text(encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"cannot read {file}: {error.strerror}; a card lies in the folder of a finished lmhead eval --out"
            ) from None
        except UnicodeDecodeError:
            raise InputError(f"{file} must be an evaluation card, got a file that is no text") from None
        try:
            given = json.loads(text)
        except (ValueError, RecursionError):
            raise InputError(
                f"{file} must be an evaluation card, got a file that is no JSON: remove its folder, and evaluate again"
            ) from None
        return cls.from_dict(given)


_FORMS: Final[dict[str, tuple[bytes | None, Callable[[EvaluationCard], str]]]] = {
    ".json": (b'{\n "evaluation_card"', EvaluationCard.json),
    ".md": (b"## evaluation: ", EvaluationCard.markdown),
    ".html": (PAGE_BEGINS, EvaluationCard.html),
    ".txt": (None, EvaluationCard.text),
}
