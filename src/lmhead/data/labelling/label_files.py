"""Whole data sets labelled: samples in a stream, or files at once, in one process or several, with or without a cache.

    for row in label_samples(samples, recipe): ...      as they come, in order, a few at a time
    data = label_files(["chat.jsonl"], recipe)          all, as compact arrays; data[3].example

A row that cannot be labelled is no error here: it has a Refusal in place of an Example, and whoever called decides.
"""

import hashlib
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from lmhead.data.formats.formats import Samples
from lmhead.data.formats.sample import Sample
from lmhead.data.labelling.cache import cached, files_key, publish
from lmhead.data.labelling.columns import ColumnsBuilder, LabelColumns
from lmhead.data.labelling.data_set import LabelledData
from lmhead.data.labelling.label_rows import Item, label_rows, refused
from lmhead.data.labelling.outcome import Labelled
from lmhead.data.labelling.recipe import Recipe
from lmhead.data.labelling.survey import Survey
from lmhead.data.labelling.template_keys import without_those_of_templates
from lmhead.data.labelling.workers import labelled_by_workers, labelled_here
from lmhead.data.rows.progress import Progress, unheard
from lmhead.data.rows.selection import Selection, select
from lmhead.data.rows.source import Source
from lmhead.data.rows.text_file import Errors
from lmhead.errors import InputError, require, require_kind
from lmhead.options import option

Part = TypeVar("Part", Labelled, LabelColumns)
_STEP: Final = 64  # rows between two reports of progress
_WORTH_WORKERS: Final = 16 * 2**20  # bytes of files, below which processes take longer to come up than they save


def label_samples(
    samples: Iterable[Item],
    recipe: Recipe,
    *,
    workers: int = 1,
    progress: Progress = unheard,
    total: int | None = None,
) -> Iterator[Labelled]:
    """Each sample labelled, in order, streaming; what is a Labelled already passes as it is.

    Args:
        workers: processes that label; 1: this one. See workers.py for what a script has to mind.
        progress: hears how many rows are done.
        total: how many there are, for progress; None: not known.

    Raises:
        ArgumentError: workers is less than 1, or the recipe makes no labeler.
        InputError: a process was killed.
        ArgumentTypeError: `recipe` is no Recipe.
    """
    require(workers >= 1, option("workers"), "be >= 1", workers)
    require_kind("samples", samples, Iterable, "what read_samples gives")
    require_kind("recipe", recipe, Recipe, "make it with Recipe.of")
    if workers == 1:
        rows = label_rows(samples, recipe.labeler())
    else:
        blocks = labelled_by_workers(samples, recipe, workers)
        rows = (block.row(index) for block in blocks for index in range(len(block)))
    return _reported(rows, progress, total)


def _reported(parts: Iterable[Part], progress: Progress, total: int | None = None) -> Iterator[Part]:
    """Rows, or columns of rows, as they come; `progress` hears of them now and then, and at the end."""
    done = told = 0
    for part in parts:
        yield part
        done += 1 if isinstance(part, Labelled) else len(part)
        if done - told >= _STEP:
            told = done
            progress("labelling", done, total, "rows")
    progress("labelling", done, total, "rows")


def label_files(
    paths: Sequence[str],
    recipe: Recipe,
    *,
    pattern: str = "*",
    exclude: Sequence[str] = (),
    errors: Errors = "strict",
    workers: int | None = None,
    cache: Path | None = None,
    progress: Progress = unheard,
) -> LabelledData:
    """The rows of files, labelled: from the cache where it has them, else now, and then they are put there.

    Args:
        paths, pattern, exclude, errors: as `read_samples` takes them. What comes from the Hub is never cached: its
            content is not known before it is read.
        workers: processes that label; None: as many as there are cores where the files have more than 16 MiB, else 1.
        cache: a folder; None: nothing is kept.
        progress: hears how many rows are done; not where the cache has them.

    Raises:
        InputError: a path cannot be read, changes while it is read, or the cache cannot be written.
        ArgumentError: an option breaks its rule.
        ArgumentTypeError: `recipe` is no Recipe, or an option is of the wrong kind.
    """
    require_kind("recipe", recipe, Recipe, "make it with Recipe.of")
    source = Source.of(paths, pattern=pattern, exclude=exclude, errors=errors, columns=recipe.config.columns)
    return label_selection(select(source, progress), recipe, workers=workers, cache=cache, progress=progress)


def label_selection(
    selection: Selection,
    recipe: Recipe,
    *,
    workers: int | None = None,
    cache: Path | None = None,
    progress: Progress = unheard,
) -> LabelledData:
    """As `label_files`, of files that were selected before."""
    selected = selection.every_file()
    if selected is None:
        return _from_the_hub(selection, recipe, workers, cache, progress)
    files = [file.path for file in selected]
    before = _stamps(files)
    key = files_key(selection.source, selected, recipe)
    notes: tuple[str, ...] = ()
    if cache is not None:
        found = cached(cache, key)
        if isinstance(found, LabelledData):
            return found
        notes = () if found is None else (f"{found}: labelled anew",)
    workers = workers_worth(files) if workers is None else workers
    data = _labelled(selection, recipe, workers, progress)
    if _stamps(files) != before:
        given = ", ".join(selection.source.paths)
        raise InputError(f"{given} must not change while it is labelled, got a file that did: start again")
    data = replace(data, fingerprint=key, notes=notes)
    if cache is None:
        return data
    publish(cache, data)
    mapped = cached(cache, key, verify=False)
    return replace(mapped, from_cache=False, notes=notes) if isinstance(mapped, LabelledData) else data


def _labelled(selection: Selection, recipe: Recipe, workers: int, progress: Progress) -> LabelledData:
    """All rows, broken ones among them, in order; no fingerprint yet."""
    require(workers >= 1, option("workers"), "be >= 1", workers)
    broken: deque[Labelled] = deque()
    samples = Samples(
        selection,
        format=recipe.config.format,
        on_error=lambda place, error: broken.append(refused(place, error)),
    )
    survey, end = Survey(), recipe.tokenizer.end_of_text()

    def seen() -> Iterator[Sample]:
        for sample in samples:
            survey.look_at(sample, end)
            yield sample

    items = _in_order(seen(), broken)
    blocks = labelled_here(items, recipe) if workers == 1 else labelled_by_workers(items, recipe, workers)
    builder = ColumnsBuilder()
    for block in _reported(blocks, progress):
        builder.extend(block)
    survey.unread = samples.unread
    without_those_of_templates(survey.unread, recipe)
    return LabelledData(
        columns=builder.columns(),
        formats=Counter(samples.formats),
        passed_over=Counter(samples.passed_over),
        survey=survey,
        told=tuple(samples.reading.lines()),
        fingerprint="",
    )


def _in_order(samples: Iterable[Sample], broken: "deque[Labelled]") -> Iterator[Item]:
    """Samples, and between them the rows that were no samples: a reader tells of these before it goes on."""
    for sample in samples:
        while broken:
            yield broken.popleft()
        yield sample
    yield from broken


def _from_the_hub(
    selection: Selection,
    recipe: Recipe,
    workers: int | None,
    cache: Path | None,
    progress: Progress,
) -> LabelledData:
    """Rows of which some come from the Hub: the fingerprint is of what came out."""
    data = _labelled(selection, recipe, 1 if workers is None else workers, progress)
    digest = hashlib.sha256(f"{recipe.key()} {data.columns.names}".encode())
    for name in sorted(data.columns.arrays):
        digest.update(np.ascontiguousarray(data.columns.arrays[name]).data)
    notes = () if cache is None else ("what comes from the Hub is not cached: download it to a file to have it cached",)
    return replace(data, fingerprint=digest.hexdigest(), notes=notes)


def _stamps(files: Sequence[Path]) -> list[tuple[int, int]]:
    """Size and time of the last change of each file."""
    try:
        return [((status := file.stat()).st_size, status.st_mtime_ns) for file in files]
    except OSError as error:
        raise InputError(f"cannot read {error.filename}: {error.strerror}; give another file or folder") from None


def workers_worth(files: Sequence[Path]) -> int:
    """How many processes are worth their start."""
    if sum(file.stat().st_size for file in files) < _WORTH_WORKERS:
        return 1
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
