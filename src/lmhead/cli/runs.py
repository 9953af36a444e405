"""`lmhead runs [FOLDER]`: the runs in a folder, one a line."""

import dataclasses
import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from lmhead.cli.flags.flag_table import POSITIONAL
from lmhead.cli.flags.parsing import parse
from lmhead.errors import InputError
from lmhead.shown import shown, shown_line
from lmhead.training.run.run_listing import ListedRun, list_runs

ABOUT = (
    "The runs in a folder, by default runs/, the latest last: name, state, step, best figure on held-out data "
    "(~ of a part of it), when something was last written, size. Weights are not read."
)
_HEADER = ("run", "state", "step", "best", "when", "size")
_NARROWEST = 12  # columns of a name


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsConfig:
    """How to list."""

    folder: Annotated[tuple[str, ...], POSITIONAL] = ()
    """Folders of runs, or runs; by default runs/."""
    json: bool = False
    """One JSON object a line, with everything."""


CONFIG: Final = RunsConfig  # what its flags are


def run(arguments: Sequence[str]) -> int:
    """Parse, list."""
    config = parse(RunsConfig, arguments, command="runs", about=ABOUT)
    folders = [Path(given) for given in config.folder or ("runs",)]
    runs = [run for folder in folders for run in _runs_of(folder)]
    if config.json:
        lines = [json.dumps(dataclasses.asdict(each)) for each in runs]
    else:
        lines = (
            _table(runs)
            if runs
            else [shown_line(f"no runs in {', '.join(map(str, folders))}: lmhead train makes them")]
        )
    for line in lines:
        sys.stdout.write(shown(line) + "\n")
    return 0


def _runs_of(folder: Path) -> list[ListedRun]:
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "does not exist"
        raise InputError(f"{folder} must be a folder of runs, or a run, got one that {what}: lmhead train makes runs")
    try:
        return list_runs(folder)
    except OSError as error:
        raise InputError(f"cannot read {folder}: {error.strerror}") from None


def _table(runs: Sequence[ListedRun]) -> list[str]:
    """Lines of columns; on a terminal no wider than that, names cut in the middle."""
    rows = [_HEADER, *(_row(each) for each in runs)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER))]
    if sys.stdout.isatty():
        spare = shutil.get_terminal_size().columns - sum(widths[1:]) - 2 * (len(widths) - 1)
        widths[0] = min(widths[0], max(_NARROWEST, spare))
    lines = []
    for row in rows:
        cells = [_cut(row[0], widths[0]), *row[1:]]
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
    return lines + [shown_line(f"{each.name}: {each.detail}") for each in runs if each.state == "damaged"]


def _row(run: ListedRun) -> tuple[str, ...]:
    steps = "?" if run.steps is None else f"{run.steps}"
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.changed))
    return shown_line(run.name), run.state, f"{run.step}/{steps}", run.best, when, _size(run.bytes)


def _cut(name: str, width: int) -> str:
    if len(name) <= width:
        return name
    head = (width - 1) // 2
    return f"{name[:head]}…{name[len(name) - (width - 1 - head) :]}"


def _size(count: int) -> str:
    units = ("B", "kB", "MB", "GB", "TB")
    power = min(len(units) - 1, max(0, len(str(count)) - 1) // 3)
    return f"{count // 1000**power} {units[power]}"
