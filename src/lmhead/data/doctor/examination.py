"""One examination: rows go through, findings come out."""

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from lmhead.data.chat_config import ChatConfig
from lmhead.data.doctor import conversation_rules, label_rules
from lmhead.data.doctor.conversation_rules import text_of
from lmhead.data.doctor.examined_template import ExaminedTemplate
from lmhead.data.doctor.probe import TemplateFacts, probe
from lmhead.data.doctor.refusals import Refusals
from lmhead.data.doctor.repeats import Repeats
from lmhead.data.doctor.report import DoctorReport
from lmhead.data.doctor.statistics import Lengths
from lmhead.data.doctor.tally import Tally
from lmhead.data.doctor.tally import rows as rows_of
from lmhead.data.doctor.template_rules import template_findings
from lmhead.data.doctor.token_audit import TokenAudit
from lmhead.data.doctor.tokenizer_rules import tokenizer_findings
from lmhead.data.label_rows import refused
from lmhead.data.labelled import Labelled
from lmhead.data.labelling import label_samples
from lmhead.data.progress import Progress, unheard
from lmhead.data.recipe import Recipe
from lmhead.data.sample import ChatSample, CompletionSample, Place, Row, Sample, TextSample, TokenSample
from lmhead.data.token_labels import token_example
from lmhead.errors import ConversationError, InputError
from lmhead.labels.finding import Finding, worst_first
from lmhead.labels.id_count import id_count
from lmhead.labels.token_table import token_table
from lmhead.labels.vocabulary import Vocabulary

_ANY_ID: Final = 2**31  # no tokenizer says how many ids there are
_MISDECODED: Final = re.compile("\ufffd|Ã[\u0080-\u00bf]|â€[\u0098-\u009d™œ]|Â[\u00a0-\u00bf]")
_BY_AUDIT: Final = {  # refusals of rows of ids that the audit tells better
    "labels_already_shifted",
    "labels_are_not_input_ids",
    "tokens_out_of_vocabulary",
}


class Examination:
    """Collects what is found in rows, and makes the report."""

    def __init__(self, recipe: Recipe | None, config: ChatConfig, *, length: int, show: int) -> None:
        self._recipe = recipe
        self._config = config
        self._show = show
        self._end = None if recipe is None else recipe.tokenizer.end_of_text()
        self._usage, self._found = Tally(), Tally()
        self._refusals, self._repeats = Refusals(), Repeats()
        self._lengths = Lengths(length, config)
        self._audit = TokenAudit(_vocabulary(recipe))
        self._examined = self._labelled = self._refused = 0
        self._tables: list[tuple[str, str]] = []
        self._passed_over: list[Finding] = []
        self._decode = None if recipe is None else recipe.tokenizer.backend().decode

    def read(self, samples: Iterable[Sample], progress: Progress = unheard, *, workers: int = 1) -> None:
        """Look at samples, label them in `workers` processes, and look at their labels."""
        waiting: deque[Sample] = deque()  # that were given to the labeler and did not come back

        def passing() -> Iterator[Sample]:
            for sample in samples:
                self._look_at(sample)
                waiting.append(sample)
                yield sample

        if self._recipe is None:
            rows: Iterator[Labelled] = map(_labelled_without, passing())
        else:
            rows = label_samples(passing(), self._recipe, workers=workers, progress=progress)
        for labelled in rows:
            self._take(waiting.popleft(), labelled)

    def audit(self, rows: Iterable[Row]) -> None:
        """Look at rows of ids as they are."""
        for row in rows:
            self._audit.add(row.place, row.columns)

    def refuse(self, kind: str, place: Place, message: str) -> None:
        """Count a row that has no label."""
        self._refused += 1
        if kind not in _BY_AUDIT:
            self._refusals.add(kind, place, message)

    def note_passed_over(self, formats: Mapping[str, int], taken: Iterable[str]) -> None:
        """Tell of rows that have the columns of another format than the one they are read in."""
        for name, count in formats.items():
            self._passed_over.append(
                Finding(
                    code="another_format_too",
                    severity="info",
                    count=count,
                    message=f"{name} could be read of {rows_of(count)} too, and what is read is {' or '.join(taken)}",
                    remedy=f"if {name} is meant, say so: --format {name}",
                )
            )

    def report(self) -> DoctorReport:
        """All that was found."""
        sums = self._lengths.statistics()
        recipe, chat = self._recipe, self._usage.counts["chat"] > 0 or not self._has_data
        return DoctorReport(
            findings=worst_first([finding for finding in self._findings(chat) if finding is not None]),
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

    def _look_at(self, sample: Sample) -> None:
        self._examined += 1
        self._repeats.look_at(sample)
        if isinstance(sample, ChatSample) and sample.messages and all(map(_has_role, sample.messages)):  # else refused
            conversation_rules.note_use(sample, self._usage)
            conversation_rules.look_at(sample, self._found)
        for text in _texts(sample):
            if match := _MISDECODED.search(text):
                around = text[max(match.start() - 10, 0) : match.end() + 10]
                self._found.add("misdecoded_text", sample.place, repr(around))
                break

    def _take(self, sample: Sample, labelled: Labelled) -> None:
        if labelled.example is None:
            assert labelled.refusal is not None
            self.refuse(labelled.refusal.kind, labelled.place, labelled.refusal.message)
            return
        example = labelled.example
        self._labelled += 1
        label_rules.look_at(sample, example, self._found, self._usage)
        label_rules.note_end(sample, self._end, self._found)
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

    def _findings(self, chat: bool) -> Iterator[Finding | None]:
        stops = self._config.on_error == "stop"
        yield from self._refusals.findings("error" if stops else "warning")
        told: frozenset[str] = frozenset()
        if self._recipe is not None:
            template = ExaminedTemplate(self._recipe)
            facts = probe(template) if chat else TemplateFacts()
            usage, given = self._usage if self._has_data else None, self._config.date is not None
            about = list(template_findings(facts, usage, date_given=given)) if chat else []
            about += tokenizer_findings(template, facts, chat=chat)
            told = frozenset(finding.code for finding in about if finding is not None)
            yield from about
        yield from self._audit.findings()
        yield from label_rules.note_findings(self._found, told)
        yield from label_rules.end_findings(self._found)
        yield from label_rules.length_findings(self._lengths, self._lengths.statistics(), self._found, self._config)
        yield from conversation_rules.findings(self._found)
        yield from self._passed_over
        yield from self._repeats.findings()
        yield self._found.finding(
            "misdecoded_text",
            "warning",
            "characters were decoded wrongly in {rows}: {first}",
            "read the source again with the encoding that it was written in; a model learns to write this",
        )


def _labelled_without(sample: Sample) -> Labelled:
    """A row of ids, labelled without a tokenizer."""
    if not isinstance(sample, TokenSample):
        raise InputError(
            f"tokenizer must be given for rows that are no ids, got none for {sample.place}: give a "
            "tokenizer.json, the folder of a model or of a run, or a name on the Hub (--tokenizer T)"
        )
    try:
        return Labelled(place=sample.place, example=token_example(sample, _ANY_ID))
    except ConversationError as error:
        return refused(sample.place, error)


def _vocabulary(recipe: Recipe | None) -> Vocabulary:
    if recipe is None:
        return Vocabulary()
    backend, named = recipe.tokenizer.backend(), recipe.tokenizer.special_tokens
    ids = {
        name: backend.token_to_id(named[f"{name}_token"]) for name in ("bos", "eos", "pad") if f"{name}_token" in named
    }
    return Vocabulary(size=id_count(backend), **ids)


def _template_name(recipe: Recipe) -> str:
    if recipe.config.template is not None:
        return recipe.config.template
    return "ChatML, which is built in" if recipe.built_in else "the tokenizer's own"


def _has_role(message: object) -> bool:
    return isinstance(message, Mapping) and isinstance(message.get("role"), str)


def _texts(sample: Sample) -> Iterator[str]:
    match sample:
        case ChatSample():
            yield from (text_of(message) for message in sample.messages if isinstance(message, Mapping))
        case CompletionSample():
            yield from (sample.prompt, sample.completion)
        case TextSample():
            yield sample.text
