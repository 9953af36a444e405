"""examine: data, tokenizer and chat template -> a report of what is wrong with them, before anything is trained.

Reads the rows once, in a stream; rows that somebody tokenised twice. Kept are counts, the first places of each thing,
hashes of the first million rows, and eight bytes a row for the figures.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import replace
from pathlib import Path

from lmhead.data.formats.formats import Samples, format_of
from lmhead.data.formats.sample import ChatSample, Sample, TokenSample
from lmhead.data.formats.unread import Unread
from lmhead.data.labelling.chat_config import ChatConfig
from lmhead.data.labelling.label_files import workers_worth
from lmhead.data.labelling.recipe import Recipe
from lmhead.data.rows.progress import Progress, unheard
from lmhead.data.rows.read_rows import read_rows
from lmhead.data.rows.row import Place, Row
from lmhead.data.rows.selection import Selection, require_files, select
from lmhead.data.rows.source import Source
from lmhead.data.rows.text_file import Errors
from lmhead.data.tokenizer.tokenizer_files import TokenizerFiles, read_tokenizer
from lmhead.errors import ArgumentTypeError, InputError, LmheadError, require, require_kind
from lmhead.inspection.doctor.examination import Examination
from lmhead.inspection.doctor.report import DoctorReport
from lmhead.inspection.doctor.reservoir import spread
from lmhead.options import option

Data = str | Path | Sequence[str | Path] | Iterable[Sample]


def examine(
    data: Data | None,
    tokenizer: str | Path | TokenizerFiles | None = None,
    *,
    config: ChatConfig | None = None,
    length: int = 4096,
    rows: int | None = None,
    show: int = 0,
    pattern: str = "*",
    exclude: Sequence[str] = (),
    errors: Errors = "strict",
    progress: Progress = unheard,
) -> DoctorReport:
    """What is wrong, or odd, with data for training, its tokenizer and its chat template.

    Args:
        data: paths as `lmhead train` takes them, or samples; None: the chat template alone is examined.
        tokenizer: a tokenizer.json, a folder of a model or of a run, or a name on the Hub. Only rows that are ids
            already can do without.
        config: how the rows would be labelled.
        length: tokens of a row in training, for what would be cut and how rows pack.
        rows: so many rows are labelled, spread over all; None: all. Rows that break their format are always told.
        show: so many of the first rows are shown token by token.
        pattern, exclude: which files of a folder are taken, and which are left out.
        errors: what bytes that are not UTF-8 get: an error, or U+FFFD in their place.
        progress: hears how far reading and labelling are.

    Raises:
        InputError: a file cannot be read, or there is no tokenizer for rows that need one.
        ArgumentError: an option breaks its rule.
        ArgumentTypeError: an argument is of the wrong kind.
    """
    require(length >= 2, option("length"), "be >= 2 tokens", length)
    require(rows is None or rows >= 1, option("rows"), "be >= 1", rows)
    require(show >= 0, option("show"), "be >= 0", show)
    config = config or ChatConfig()
    require(
        data is not None or tokenizer is not None, option("tokenizer"), "be given where there is no data", tokenizer
    )
    paths = None if data is None else _paths(data)
    require_files(paths or ())
    recipe = None if tokenizer is None else Recipe.of(_files(tokenizer), config)
    examination = Examination(recipe, config, length=length, show=show)
    if data is None:
        return examination.report()
    if paths is None:
        require_kind("data", data, Iterable, "paths, or what read_samples gives")
        samples: Iterable[Sample] = data  # type: ignore[assignment]
        part, total = (samples, None) if rows is None else spread(samples, rows)
        unread = Unread()
        seen = _with_ids(part, examination, unread)
        examination.read(seen, progress, workers=config.workers or 1, total=_known(part))
        examination.note_unread(unread)
        report = examination.report()
        return replace(report, rows=total or report.examined, formats={"samples": total or report.examined})
    source = Source.of(paths, pattern=pattern, exclude=exclude, errors=errors, columns=config.columns)
    return _files_examined(select(source, progress), examination, config, rows, progress)


def _files_examined(
    selection: Selection,
    examination: Examination,
    config: ChatConfig,
    rows: int | None,
    progress: Progress,
) -> DoctorReport:
    broken: Counter[str] = Counter()

    def refuse(place: Place, error: LmheadError) -> None:
        broken["rows"] += 1
        examination.refuse("format", place, error.message)

    samples = Samples(selection, format=config.format, on_error=refuse, progress=progress)
    part = samples if rows is None else spread(samples, rows)[0]
    examination.read(part, progress, workers=config.workers or _workers(selection), total=_known(part))
    if samples.formats["tokens"] or _begin_with_ids(selection, config):
        every = read_rows(selection, on_error=_ignore)
        of_ids = (row for row in every if "input_ids" in row.columns)
        examination.audit(of_ids if rows is None else spread(of_ids, rows)[0])
    examination.note_unread(samples.unread)
    examination.note_passed_over(samples.passed_over, samples.formats)
    report = examination.report()
    total = sum(samples.formats.values()) + broken["rows"]
    formats = dict(samples.formats)
    return replace(report, data=selection.source.paths, rows=total, formats=formats, reading=samples.reading)


def _known(rows: Iterable[Sample]) -> int | None:
    """How many they are, where that is known before they are read."""
    return len(rows) if isinstance(rows, Sized) else None


def _workers(selection: Selection) -> int:
    """How many processes are worth their start; one for what is on the Hub, whose size is not known before."""
    files = selection.every_file()
    return 1 if files is None else workers_worth([file.path for file in files])


def _files(tokenizer: str | Path | TokenizerFiles) -> TokenizerFiles:
    return tokenizer if isinstance(tokenizer, TokenizerFiles) else read_tokenizer(str(tokenizer))


def _paths(data: Data) -> list[str] | None:
    """The paths; None where the data are samples."""
    if isinstance(data, str | Path):
        return [str(data)]
    if isinstance(data, Sequence) and data and all(isinstance(item, str | Path) for item in data):
        return [str(item) for item in data]
    return None


def _with_ids(samples: Iterable[Sample], examination: Examination, unread: Unread) -> Iterator[Sample]:
    """The samples; those that are ids are audited as they pass, and of conversations it is noted what nothing reads."""
    for sample in samples:
        if not isinstance(sample, Sample):
            raise ArgumentTypeError(
                f"data must be paths, or what read_samples gives, got one with a {type(sample).__name__} in it"
            )
        if isinstance(sample, TokenSample):
            columns = {"input_ids": sample.ids} | ({} if sample.labels is None else {"labels": sample.labels})
            examination.audit([Row(place=sample.place, columns=columns)])
        if isinstance(sample, ChatSample):
            unread.look_at_messages(sample)
        yield sample


def _begin_with_ids(selection: Selection, config: ChatConfig) -> bool:
    """Whether the first row is one of ids, be it that its format is broken."""
    first = next(read_rows(selection, on_error=_ignore), None)
    try:
        return first is not None and format_of(first, config.format).name == "tokens"
    except InputError:
        return False


def _ignore(place: Place, error: InputError) -> None:
    """The row was told of before."""
