"""One examination: rows go through, findings come out."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from lmhead.data.formats.sample import Sample, TokenSample
from lmhead.data.formats.unread import Unread
from lmhead.data.labelling.chat_config import ChatConfig
from lmhead.data.labelling.label_files import label_samples
from lmhead.data.labelling.label_rows import refused
from lmhead.data.labelling.outcome import Labelled
from lmhead.data.labelling.recipe import Recipe
from lmhead.data.labelling.survey import Survey
from lmhead.data.labelling.tally import Tally
from lmhead.data.labelling.template_keys import without_those_of_templates
from lmhead.data.labelling.token_rows import token_example
from lmhead.data.rows.progress import Progress, unheard
from lmhead.data.rows.row import Place, Row
from lmhead.errors import ConversationError, InputError, RefusalKind
from lmhead.inspection.batch.special_ids import SpecialIds
from lmhead.inspection.doctor.note_rules import length_findings
from lmhead.inspection.doctor.refusals import Refusals
from lmhead.inspection.doctor.repeats import Repeats
from lmhead.inspection.doctor.report import DoctorReport
from lmhead.inspection.doctor.statistics import Lengths
from lmhead.inspection.doctor.survey_findings import survey_findings
from lmhead.inspection.doctor.token_audit import TokenAudit
from lmhead.inspection.finding import Finding, counted_rows, worst_first
from lmhead.inspection.token_table import token_table
from lmhead.options import Message, option

Heard = Callable[[Sample, Labelled], None]
_ANY_ID: Final = 2**31  # no tokenizer says how many ids there are


class Examination:
    """Collects what is found in rows, and makes the report."""

    def __init__(self, recipe: Recipe | None, config: ChatConfig, *, length: int, show: int) -> None:
        self._recipe = recipe
        self._config = config
        self._show = show
        self._end = None if recipe is None else recipe.tokenizer.end_of_text()
        self._survey, self._found = Survey(), Tally()
        self._refusals, self._repeats = Refusals(), Repeats()
        self._lengths = Lengths(length, config)
        self._audit = TokenAudit(SpecialIds.of(None if recipe is None else recipe.tokenizer))
        self._examined = self._labelled = self._refused = 0
        self._tables: list[tuple[str, str]] = []
        self._passed_over: list[Finding] = []
        self._decode = None if recipe is None else recipe.tokenizer.backend().decode

    def read(
        self,
        samples: Iterable[Sample],
        progress: Progress = unheard,
        *,
        workers: int = 1,
        total: int | None = None,
        heard: Heard | None = None,
    ) -> None:
        """Look at samples, label them in `workers` processes, and look at their labels; `heard` is given both."""
        waiting: deque[Sample] = deque()  # that were given to the labeler and did not come back

        def passing() -> Iterator[Sample]:
            for sample in samples:
                self._examined += 1
                self._repeats.look_at(sample)
                self._survey.look_at(sample, self._end)
                waiting.append(sample)
                yield sample

        if self._recipe is None:
            rows: Iterator[Labelled] = map(_labelled_without, passing())
        else:
            rows = label_samples(passing(), self._recipe, workers=workers, progress=progress, total=total)
        for labelled in rows:
            sample = waiting.popleft()
            self._take(sample, labelled)
            if heard is not None:
                heard(sample, labelled)

    def audit(self, rows: Iterable[Row]) -> None:
        """Look at rows of ids as they are."""
        for row in rows:
            self._audit.add(row.place, row.columns)

    def refuse(self, kind: RefusalKind, place: Place, message: Message) -> None:
        """Count a row that has no label."""
        self._refused += 1
        self._refusals.add(kind, place, message)

    def note_unread(self, unread: Unread) -> None:
        """Tell of columns and keys of messages that nothing reads."""
        if self._recipe is not None:
            without_those_of_templates(unread, self._recipe)
        self._survey.unread = unread

    def note_passed_over(self, formats: Mapping[str, int], taken: Iterable[str]) -> None:
        """Tell of rows that have the columns of another format than the one they are read in."""
        for name, count in formats.items():
            self._passed_over.append(
                Finding(
                    code="another_format_too",
                    severity="info",
                    count=count,
                    message=f"{name} could be read of {counted_rows(count)} too, "
                    f"and what is read is {' or '.join(taken)}",
                    remedy=f"if {name} is meant, say so: {option('format', name)}",
                )
            )

    def report(self) -> DoctorReport:
        """All that was found."""
        sums = self._lengths.statistics()
        recipe, chat = self._recipe, self._survey.usage.counts["chat"] > 0 or not self._has_data
        return DoctorReport(
            findings=worst_first(self._findings()),
            examined=self._examined,
            labelled=self._labelled,
            refused=self._refused,
            tokenizer=None if recipe is None else recipe.tokenizer.source,
            template=None if recipe is None or not chat else _template_name(recipe),
            statistics=sums if sums.rows else None,
            tables=tuple(self._tables),
        )

    @property
    def _has_data(self) -> bool:
        return self._examined + self._refused > 0

    def _take(self, sample: Sample, labelled: Labelled) -> None:
        if labelled.example is None:
            assert labelled.refusal is not None
            self.refuse(labelled.refusal.kind, labelled.place, labelled.refusal.message)
            return
        example = labelled.example
        self._labelled += 1
        self._survey.take(sample.place, example)
        first = self._lengths.add(example, sample.place)
        if len(example) > self._lengths.length:
            self._found.add("too_long", sample.place)
        if first is not None:
            where = f"its first token to learn is token {first + 1:,} of {len(example):,}"
            self._found.add("answer_truncated", sample.place, where)
        if len(self._tables) < self._show:
            decode = self._decode
            table = token_table(example, str if decode is None else lambda ids: decode(ids, skip_special_tokens=False))
            self._tables.append((str(sample.place), table))

    def _findings(self) -> Iterator[Finding | None]:
        stops = self._config.on_error == "stop"
        yield from self._refusals.findings("error" if stops else "warning")
        yield from survey_findings(self._survey, self._recipe, has_data=self._has_data)
        yield from self._audit.findings()
        yield from length_findings(self._lengths, self._lengths.statistics(), self._found, self._config)
        yield from self._passed_over
        yield from self._repeats.findings()


def _labelled_without(sample: Sample) -> Labelled:
    """A row of ids, labelled without a tokenizer."""
    if not isinstance(sample, TokenSample):
        raise InputError(
            f"{option('tokenizer')} must be given for rows that are no ids, got none for {sample.place}: give a "
            "tokenizer.json, the folder of a model or of a run, or a name on the Hub"
        )
    try:
        return Labelled(place=sample.place, example=token_example(sample, _ANY_ID))
    except ConversationError as error:
        return refused(sample.place, error)


def _template_name(recipe: Recipe) -> str:
    if recipe.config.template is not None:
        return recipe.config.template
    return "ChatML, which is built in" if recipe.built_in else "the tokenizer's own"
