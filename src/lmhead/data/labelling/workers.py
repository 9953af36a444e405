"""Labelling in several processes: chunks of samples go out, columns come back, in the samples' order.

Processes are spawned, not forked: torch is loaded and its threads may run. So a script that labels with workers needs
`if __name__ == "__main__"` around what it does, as with a DataLoader's. Each process makes one labeler and keeps it;
it takes about two seconds to come up, most of it torch's import.
"""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from threading import Thread
from typing import Final

from lmhead.data.formats.sample import ChatSample, CompletionSample, TextSample
from lmhead.data.labelling.columns import LabelColumns
from lmhead.data.labelling.interrupts import interrupts_deferred
from lmhead.data.labelling.label_rows import Item, Label, Patience, brief_rows, is_unfinished, label_rows
from lmhead.data.labelling.outcome import Labelled
from lmhead.data.labelling.recipe import Recipe
from lmhead.errors import InputError
from lmhead.options import option
from lmhead.stop_signals import STOP_SIGNALS

_ROWS: Final = 64  # of a chunk
_CHARACTERS: Final = 1_000_000  # of a chunk, after which it is closed
_WAITING: Final = 3  # chunks for each process, so that none waits for the reader
_PATIENCE: Final = 0.2  # seconds between two looks for Ctrl-C
_OF_A_TERMINAL: Final = set(STOP_SIGNALS) - {signal.SIGTERM}  # by which a pool ends processes


def labelled_by_workers(items: Iterable[Item], recipe: Recipe, workers: int) -> Iterator[LabelColumns]:
    """Chunk after chunk, labelled by `workers` processes. Holds a few chunks at a time.

    Raises:
        InputError: a process was killed.
    """
    context = multiprocessing.get_context("spawn")
    with interrupts_deferred(), _undisturbed():  # multiprocessing's tracker of semaphores is started here
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare, initargs=(recipe,))
    waiting: deque[tuple[list[Item], Future[LabelColumns]]] = deque()
    patience = Patience(recipe.labeler)
    try:
        _start(pool, workers)
        for chunk in _chunks(items):
            with interrupts_deferred():
                waiting.append((chunk, pool.submit(_label, chunk)))
            if len(waiting) > _WAITING * workers:
                yield _finished(*waiting[0], patience)
                waiting.popleft()
        while waiting:
            yield _finished(*waiting[0], patience)
            waiting.popleft()
    except BrokenProcessPool:
        raise _ended(waiting[0][0] if waiting else []) from None
    finally:
        with interrupts_deferred():
            pool.shutdown(cancel_futures=True)


def _start(pool: ProcessPoolExecutor, workers: int) -> None:
    """Start all processes at once: one that is started while the pool ends for another's death would hang for ever."""
    with interrupts_deferred(), _undisturbed():
        for _ in range(workers):
            pool.submit(_ready)


def _finished(chunk: list[Item], future: "Future[LabelColumns]", patience: Patience) -> LabelColumns:
    """What a process made of a chunk, with what takes long done here, in the rows' order."""
    columns = _result(future)
    refused = (columns.row(index) for index in range(len(columns)) if columns.is_refused(index))
    if not any(map(is_unfinished, refused)):
        return columns
    rows = (columns.row(index) for index in range(len(columns)))
    return LabelColumns.of(
        row if isinstance(item, Labelled) else patience.finished(row, item)
        for row, item in zip(rows, chunk, strict=True)
    )


def _result(future: "Future[LabelColumns]") -> LabelColumns:
    """What a process made of a chunk."""
    done = False
    while not done:
        with interrupts_deferred():
            done = bool(wait([future], timeout=_PATIENCE).done)
    with interrupts_deferred():
        return future.result()


def _ended(chunk: list[Item]) -> InputError:
    where = f", at {chunk[0].place} to {chunk[-1].place} or later" if chunk else ""
    return InputError(
        f"{option('workers')} must live until all is labelled, got one that ended{where}: where memory is short give "
        'fewer; with 1 worker the row itself shows; in a script, label under if __name__ == "__main__"'
    )


def _chunks(items: Iterable[Item]) -> Iterator[list[Item]]:
    chunk: list[Item] = []
    characters = 0
    for item in items:
        chunk.append(item)
        characters += _size(item)
        if len(chunk) >= _ROWS or characters >= _CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _size(item: Item) -> int:
    """About how many characters a sample has, as far as that is told at a glance."""
    match item:
        case ChatSample():
            return sum(len(content) for m in item.messages if isinstance(content := m.get("content"), str))
        case CompletionSample():
            return len(item.prompt) + len(item.completion)
        case TextSample():
            return len(item.text)
        case _:
            return 0


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A process that is started here never sees what a terminal sends to all (Ctrl-C, its end): its parent ends it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_A_TERMINAL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_recipe: Recipe | None = None  # of this process, where it is a worker
_labeler: Label | None = None


def _prepare(recipe: Recipe) -> None:
    """First thing in a worker. Its labeler is made with the first chunk, so that errors come back as what they are."""
    global _recipe
    import torch

    _end_with_parent()
    for each in _OF_A_TERMINAL:
        signal.signal(each, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)
    _recipe = recipe


def _end_with_parent() -> None:
    """Where the parent is killed nobody ends its workers: they would wait for a chunk for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    Thread(target=watch, name="end with parent", daemon=True).start()


def _ready() -> None:
    """The first task of each worker."""


def _label(chunk: list[Item]) -> LabelColumns:
    global _labeler
    if _labeler is None:
        assert _recipe is not None
        _labeler = _recipe.labeler()
    return LabelColumns.of(brief_rows(chunk, _labeler))


def labelled_here(items: Iterable[Item], recipe: Recipe) -> Iterator[LabelColumns]:
    """The same in this process."""
    labeler = recipe.labeler()
    rows = label_rows(items, labeler)
    while chunk := list(islice(rows, _ROWS)):
        yield LabelColumns.of(chunk)
