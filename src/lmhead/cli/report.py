"""`lmhead report RUN...`: the report of a run drawn again, or several runs on the same axes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from lmhead.cli.flags.flag_table import POSITIONAL
from lmhead.cli.flags.parsing import parse
from lmhead.errors import InputError
from lmhead.shown import shown_line

ABOUT: Final = (
    "Draw the report of a run: one HTML file with its curves, the loss by kind of token, its samples, worst held-out "
    "tokens, config, data and environment; no network is needed to look at it. Several runs are drawn on the same "
    "axes: lmhead report runs/a runs/b. lmhead train draws it by itself; any record will do (docs/seeing/record.md)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportConfig:
    """What is drawn, and where to."""

    run: Annotated[tuple[str, ...], POSITIONAL] = ()
    """Runs, or records that other trainers wrote."""
    page: str | None = None
    """The file. None: report.html, in the folder of the run; of several runs in the present one."""
    quiet: bool = False
    """Print errors alone."""


CONFIG: Final = ReportConfig  # what its flags are


def run(arguments: Sequence[str]) -> int:
    """Parse, read, draw, print where it is."""
    config = parse(ReportConfig, arguments, command="report", about=ABOUT)
    if not config.run:
        raise InputError("which run? lmhead report RUN, or several: lmhead report RUN RUN; lmhead runs lists them")
    from lmhead.cli.console import console
    from lmhead.report.run_report import draw_report

    file, notes = draw_report([Path(each) for each in config.run], None if config.page is None else Path(config.page))
    out = console(quiet=config.quiet)
    for note in notes:
        out.print(shown_line(note))
    out.print(shown_line(f"report: {file}"))
    return 0
