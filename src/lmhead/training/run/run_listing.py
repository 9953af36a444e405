"""Runs of a folder at a glance: state, step, best figure, time, size. No torch, and no weights are read."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lmhead.errors import LmheadError
from lmhead.training.run.checkpoint_sums import DamagedError, read_sums
from lmhead.training.run.lock import LOCK_FILE, holder
from lmhead.training.run.log import LOG_FILE, Record
from lmhead.training.run.progress import best, best_figure, full_evaluation
from lmhead.training.run.run_folder import RunFolder
from lmhead.training.run.seal import SEAL_FILE

State = Literal["running", "finished", "stopped", "damaged", "empty"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedRun:
    """What is told of a run."""

    name: str
    path: str
    state: State
    detail: str | None  # who trains it, or what is damaged
    step: int  # of the last record
    steps: int | None  # planned; None: not known yet
    checkpoints: list[int]
    best: str  # with its unit, "-" where nothing was evaluated
    figure: str | None  # its name in the log: exact, bits_per_byte or nll
    value: float | None
    changed: float  # seconds since 1970: when something was last written
    bytes: int


def list_runs(folder: Path) -> list[ListedRun]:
    """The runs in a folder, the latest last; the folder itself where it is one."""
    paths = [folder] if _is_run(folder) else [path for path in _folders(folder) if _is_run(path)]
    return sorted((_listed(path) for path in paths), key=lambda run: (run.changed, run.name))


def _is_run(path: Path) -> bool:
    names = ("config.yaml", SEAL_FILE, LOCK_FILE)
    return any((path / name).is_file() for name in names) or (path / "checkpoints").is_dir()


def _folders(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        yield from (Path(entry.path) for entry in entries if entry.is_dir())


def _listed(path: Path) -> ListedRun:
    run = RunFolder(path)
    records = run.readable_records()
    steps, damage = _planned(run)
    checkpoints = run.steps()
    steps_told = [record["step"] for record in records if "finding" not in record]  # one may be of a step not taken
    step = max(steps_told + checkpoints[-1:], default=0)
    trained_by = holder(path)
    state, detail = _state(run, steps, records, damage or _damage(run, checkpoints))
    size, changed = _size(path)
    found = best(records)
    return ListedRun(
        name=path.name or str(path),
        path=str(path),
        state=state if trained_by is None else "running",
        detail=detail if trained_by is None else trained_by,
        step=step,
        steps=steps,
        checkpoints=checkpoints,
        best=best_figure(records),
        figure=None if found is None else found[0],
        value=None if found is None else found[1][found[0]],
        changed=changed,
        bytes=size,
    )


def _planned(run: RunFolder) -> tuple[int | None, str | None]:
    """(the run's length, what is wrong with config.yaml)."""
    if run.config_file.exists() or run.seal() is not None:
        try:
            return run.config().steps, None
        except LmheadError as error:
            return None, str(error)
    return None, None


def _damage(run: RunFolder, checkpoints: list[int]) -> str | None:
    """What can be seen of the newest checkpoint without reading its weights: that a file lacks or is empty."""
    if not checkpoints:
        return None
    folder = run.checkpoint(checkpoints[-1])
    try:
        broken = [name for name in read_sums(folder) if not _has_content(folder / name)]
    except DamagedError as error:
        return str(error)
    return f"{folder} is damaged: {broken[0]} is missing or empty" if broken else None


def _has_content(file: Path) -> bool:
    try:
        return file.is_file() and file.stat().st_size > 0
    except OSError:
        return False


def _state(run: RunFolder, steps: int | None, records: list[Record], damage: str | None) -> tuple[State, str | None]:
    if damage is not None:
        return "damaged", damage
    checkpoints = run.steps()
    if steps is not None and checkpoints[-1:] == [steps] and full_evaluation(records, steps) is not None:
        return "finished", None
    begun = any("record" not in record for record in records)  # a header tells of no step
    return ("stopped" if begun or checkpoints else "empty"), None


def _size(path: Path) -> tuple[int, float]:
    """(bytes of all files, when its log, its config or its checkpoints were last written)."""
    size = 0
    for folder, _, files in os.walk(path):
        for name in files:
            try:
                size += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118  (many files)
            except OSError:
                continue  # gone since: a run is trained
    times = [
        (path / name).stat().st_mtime
        for name in (LOG_FILE, "config.yaml", "checkpoints", LOCK_FILE)
        if (path / name).exists()
    ]
    return size, max(times, default=path.stat().st_mtime)
