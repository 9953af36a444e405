"""Rows of data files, labelled as `lmhead train` would, with the doctor's findings at their rows.

Every row is read; some are labelled and looked at, spread over all; of these as many are shown as there is room for,
those first in which something is found.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from lmhead.data.formats.formats import Samples
from lmhead.data.formats.sample import ChatSample, Sample, TextSample
from lmhead.data.labelling.chat_config import ChatConfig
from lmhead.data.labelling.outcome import Labelled
from lmhead.data.labelling.recipe import Recipe
from lmhead.data.labelling.sample_labeler import SampleLabeler
from lmhead.data.rows.progress import Progress, unheard
from lmhead.data.rows.row import Place
from lmhead.data.rows.selection import Selection, select
from lmhead.data.rows.source import Source
from lmhead.errors import InputError, LmheadError
from lmhead.given.given_tokenizer import GivenTokenizer
from lmhead.inspection.batch.special_ids import SpecialIds
from lmhead.inspection.doctor.examination import Examination
from lmhead.inspection.doctor.reservoir import spread
from lmhead.inspection.finding import Finding
from lmhead.inspection.tokens.material import Material
from lmhead.inspection.tokens.own_rows import example_row, packed_rows
from lmhead.inspection.tokens.tokenised_rows import begins_with_ids, tokenised_rows
from lmhead.inspection.tokens.wanted import LABELLED, Wanted
from lmhead.labels.example import Example
from lmhead.labels.packing.packed_rows import pack
from lmhead.options import option
from lmhead.record.token_row import TokenRow

_LEAST: Final = 256  # tokens that a text keeps
_ANY_LENGTH: Final = 1 << 20  # tokens of a row, where nobody says how long it is in training
_NOT_ASKED: Final = {"too_long", "answer_truncated"}  # where nobody says how long a row is


def data_rows(
    paths: Sequence[str],
    tokenizer: GivenTokenizer | None,
    config: ChatConfig,
    wanted: Wanted,
    progress: Progress = unheard,
) -> Material:
    """The rows of files.

    Raises:
        InputError: a file cannot be read, there is no tokenizer for rows that need one, or no row is left.
        ArgumentError: an option breaks its rule.
    """
    source = Source.of(
        paths, pattern=wanted.pattern, exclude=wanted.exclude, errors=wanted.errors, columns=config.columns
    )
    selection = select(source, progress)
    if begins_with_ids(selection, config):
        return tokenised_rows(selection, None if tokenizer is None else tokenizer.special, wanted)
    if tokenizer is None or tokenizer.files is None:
        got = "none" if tokenizer is None else f"{tokenizer.name}, which is written in Python,"
        raise InputError(
            f"{option('tokenizer')} must be given for rows that are no ids, got {got} for {', '.join(paths)}: give a "
            "tokenizer.json, the folder of a model or of a run, or a name on the Hub"
        )
    recipe = Recipe.of(tokenizer.files, config)
    made = _Labelling(recipe, config, wanted).material(selection, progress)
    if not recipe.added_tokens or not _occur(recipe, made.rows):
        return made
    added = f"the chat template adds {', '.join(recipe.added_tokens)} to the tokenizer {tokenizer.name}"
    return replace(made, tokenizer=GivenTokenizer.of(recipe.tokenizer), notes=(added, *made.notes))


def _occur(recipe: Recipe, rows: Sequence[TokenRow]) -> bool:
    """Whether a token that the template needs is in the rows."""
    backend = recipe.tokenizer.shared_backend()
    added = {backend.token_to_id(token) for token in recipe.added_tokens}
    return any(not added.isdisjoint(row.ids.tolist()) for row in rows)


class _Labelling:
    """Labels rows, keeps what the doctor has to say of them, and picks those that are shown."""

    def __init__(self, recipe: Recipe, config: ChatConfig, wanted: Wanted) -> None:
        self._recipe, self._config, self._wanted = recipe, config, wanted
        self._examination = Examination(recipe, config, length=wanted.length or _ANY_LENGTH, show=0)
        self._kept: list[tuple[Sample, Example]] = []
        self._refused: list[str] = []
        self._labeler: SampleLabeler | None = None  # for conversations of which nothing is learnt
        self._untrained = 0  # of these
        self._marks: dict[tuple[str, str], int] = {}  # (place, code of a finding) -> the message's first token

    def material(self, selection: Selection, progress: Progress) -> Material:
        """The rows that are shown."""
        samples = Samples(selection, format=self._config.format, on_error=self._refuse, progress=progress)
        part, total = _part(samples, self._wanted)
        workers = self._config.workers or 1
        self._examination.read(part, progress, workers=workers, total=len(part), heard=self._hear)
        self._examination.note_unread(samples.unread)
        self._examination.note_passed_over(samples.passed_over, samples.formats)
        findings = [each for each in self._examination.report().findings if not self._is_moot(each)]
        if not self._kept:
            told = "; ".join(self._refused[:1]) or "got none"
            raise InputError(f"no row of {', '.join(selection.source.paths)} can be shown: {told}")
        notes = [f"{len(part):,} of {total:,} rows are labelled, spread over all"] if len(part) < total else []
        shown, cut = self._shown(findings)
        missing = len(self._refused) - self._untrained
        if missing:
            notes.append(f"rows that cannot be labelled, and are not shown: {missing:,}; the errors say why")
        if len(shown) < len(self._kept):
            notes.append(
                f"{len(shown):,} of {len(self._kept):,} labelled rows are shown, those first in which something is "
                f"found: more with {option('tokens')}"
            )
        if cut:
            notes.append(f"texts are shown to their first {cut:,} tokens: more with {option('tokens')}")
        made = self._packed(shown) if self._wanted.packed else self._apart(shown)
        return replace(
            made,
            findings=tuple(_placed(finding, made.rows, self._marks) for finding in findings),
            notes=tuple(notes),
            data=selection.source.paths,
        )

    def _refuse(self, place: Place, error: LmheadError) -> None:
        self._examination.refuse("format", place, error.message)
        self._refused.append(str(error))

    def _hear(self, sample: Sample, labelled: Labelled) -> None:
        if labelled.example is not None:
            self._kept.append((sample, labelled.example))
            spans = {span.index: span.start for span in labelled.example.spans}
            for note in labelled.example.notes:
                if note.message in spans:
                    self._marks.setdefault((str(sample.place), note.kind), spans[note.message])
        elif labelled.refusal is not None:
            self._refused.append(str(labelled.refusal.message))
            if labelled.refusal.kind == "nothing_to_train" and isinstance(sample, ChatSample):
                self._labeler = self._labeler or self._recipe.labeler()
                self._kept.append((sample, self._labeler.whole(sample)))
                self._untrained += 1

    def _is_moot(self, finding: Finding) -> bool:
        return self._wanted.length is None and finding.code in _NOT_ASKED

    def _shown(self, findings: Sequence[Finding]) -> tuple[list[tuple[Sample, Example]], int | None]:
        """(the rows that are shown, in their order; how many tokens of a text, where some are cut)."""
        room, total = self._wanted.tokens, sum(len(example) for _, example in self._kept)
        if room is None or total <= room:
            return self._kept, None
        most = max(_LEAST, room // len(self._kept))
        cut = any(isinstance(sample, TextSample) and len(example) > most for sample, example in self._kept)
        kept = [
            (sample, _cut(example, most) if isinstance(sample, TextSample) else example)
            for sample, example in self._kept
        ]
        found = {place for finding in findings for place in finding.places}
        first = [index for index, (sample, _) in enumerate(kept) if str(sample.place) in found]
        others = sorted(set(range(len(kept))) - set(first))
        taken = _fitting(first, kept, room)
        taken += _fitting(_evenly(others), kept, room - sum(len(kept[index][1]) for index in taken))
        return [kept[index] for index in sorted(taken or [0])], most if cut else None

    def _apart(self, shown: Sequence[tuple[Sample, Example]]) -> Material:
        rows = [example_row(example, name=str(sample.place), source=sample.place.source) for sample, example in shown]
        return Material(rows=tuple(rows))

    def _packed(self, shown: Sequence[tuple[Sample, Example]]) -> Material:
        assert self._wanted.length is not None
        examples = [example for _, example in shown]
        rows = pack(examples, length=self._wanted.length, overflow="truncate", untrained="keep")
        pieces = rows.pieces(0, rows.rows_per_epoch)
        batch = rows.take(0, rows.rows_per_epoch)
        places = [sample.place for sample, _ in shown]
        made = packed_rows(batch, SpecialIds.of(self._recipe.tokenizer), pieces=pieces, names=list(map(str, places)))
        files = (tuple(places[source].source for source in sources) for sources in batch.sources)
        told = (replace(row, sources=sources) for row, sources in zip(made.rows, files, strict=True))
        return replace(made, rows=tuple(told))


def _part(samples: Samples, wanted: Wanted) -> tuple[list[Sample], int]:
    """(the rows that are labelled, how many there are)."""
    if not wanted.numbers:
        return spread(samples, wanted.rows or LABELLED)
    every = list(_counted(samples, wanted.numbers))
    missing = sorted(set(wanted.numbers) - {sample.place.number for sample in every})
    if missing:
        raise InputError(f"{option('row')} must name rows of the data, got {missing[0]}: there is no such row")
    return every, len(every)


def _counted(samples: Iterable[Sample], numbers: Sequence[int]) -> Iterator[Sample]:
    return (sample for sample in samples if sample.place.number in numbers)


def _cut(example: Example, most: int) -> Example:
    """The beginning of a text."""
    return replace(
        example,
        ids=example.ids[:most],
        trained=example.trained[:most],
        reason=example.reason[:most],
        weight=None if example.weight is None else example.weight[:most],
    )


def _fitting(indices: Iterable[int], kept: Sequence[tuple[Sample, Example]], room: int) -> list[int]:
    taken = []
    for index in indices:
        if len(kept[index][1]) <= room:
            taken.append(index)
            room -= len(kept[index][1])
    return taken


def _evenly(indices: Sequence[int]) -> list[int]:
    """The same in an order of which every beginning is spread over all: bits of the place, read backwards."""
    width = max(1, (len(indices) - 1).bit_length())
    return [indices[place] for place in sorted(range(len(indices)), key=lambda p: int(f"{p:0{width}b}"[::-1], 2))]


def _placed(finding: Finding, rows: Sequence[TokenRow], marks: Mapping[tuple[str, str], int]) -> Finding:
    """A finding about files with the rows that stand at its places, where they are shown, and the tokens in these."""
    places = set(finding.places)
    at = [(number, name) for number, row in enumerate(rows) for name in row.names if name in places]
    spots = ((number, _begin(rows[number], name) + marks.get((name, finding.code), 0)) for number, name in at)
    inside = tuple((number, min(token, len(rows[number].ids) - 1)) for number, token in spots)
    return replace(finding, rows=tuple(dict.fromkeys(number for number, _ in at)), spots=inside)


def _begin(row: TokenRow, name: str) -> int:
    """Where the document of that name begins in its row."""
    return 0 if row.document is None else int((row.document == row.names.index(name)).argmax())
