"""RunReport: the report of a run, drawn anew as its log grows; only what is new in the log is read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, final

import yaml

from lmhead.errors import InputError
from lmhead.record.own_file import PAGE_BEGINS, require_own
from lmhead.record.record import Record, read_record
from lmhead.report.log_reader import LogReader
from lmhead.report.run_page import Run, run_page
from lmhead.report.run_record import RunRecord
from lmhead.shown import shown_line
from lmhead.training.config.yaml_text import load_yaml
from lmhead.training.run.files import replace_file
from lmhead.training.run.log import LOG_FILE, TOKENS_FILE

REPORT_FILE: Final = "report.html"


@final
class RunReport:
    """Of one run: its folder, or a record that another trainer wrote.

    Raises:
        InputError: there is no log.
    """

    def __init__(self, path: Path, *, name: str | None = None) -> None:
        self.folder = path if path.is_dir() else path.parent
        self.name = name or (self.folder.resolve().name if path.is_dir() or path.name == LOG_FILE else path.stem)
        self._reader = LogReader(path / LOG_FILE if path.is_dir() else path)
        self._record = RunRecord(self.name)
        self._tokens: tuple[int, Record | None, str | None] = (0, None, None)  # when they were written, them, a note

    def run(self) -> Run:
        """The run as it stands now.

        Raises:
            InputError: the log cannot be read, is of another version, or has no line of a record.
        """
        if self._reader.replaced():  # a run was resumed from an earlier step
            self._reader, self._record = LogReader(self._reader.file), RunRecord(self.name)
        self._record.take(self._reader.new_lines())
        if not self._record.known and (self._reader.broken or self._record.unknown):
            raise InputError(
                f"{self._reader.file} must be a record, JSON lines, got none that is a line of one "
                "(docs/seeing/record.md)"
            )
        if not self._record.header.get("config"):  # the log of an earlier lmhead, or of another trainer
            self._record.header = {**self._record.header, **_config_of(self.folder)}
        _, tokens, damage = self._read_tokens()
        return Run(record=self._record, tokens=tokens, notes=[*self._notes(), *([damage] if damage else [])])

    def write(self, file: Path | None = None) -> Path:
        """Draw it, by default as report.html in the run's folder; where it is.

        Raises:
            InputError: the log cannot be read, or the file cannot be written.
        """
        file = file or self.folder / REPORT_FILE
        replace_file(file, run_page([self.run()]))
        return file

    def _notes(self) -> list[str]:
        """What has to be told of the log."""
        notes = [str(each) for each in self._record.header.get("notes") or () if isinstance(each, str)]
        log, broken = shown_line(self._reader.file.name), self._reader.broken + self._record.strange
        if broken:
            notes.append(f"{log}: {broken:,} line{'s' if broken > 1 else ''} cannot be read; the others are shown")
        if self._reader.cut_off():
            notes.append(f"{log}: its last line is cut off; the others are shown")
        return notes

    def _read_tokens(self) -> tuple[int, Record | None, str | None]:
        file = self.folder / TOKENS_FILE
        try:
            written = file.stat().st_mtime_ns
        except OSError:
            return 0, None, None
        if written != self._tokens[0]:
            try:
                record = read_record(file)
                self._tokens = written, record, record.damage
            except InputError as error:
                self._tokens = written, None, f"{shown_line(file.name)} is not shown: {error}"
        return self._tokens


def draw_report(paths: Sequence[Path], file: Path | None = None) -> tuple[Path, list[str]]:
    """Draw runs in one report: (where it is, what has to be told of them).

    By default it is report.html, in the folder of the run or, of several, in the present one.

    Raises:
        InputError: a run has no log that can be read, or the file cannot be written.
        ArgumentError: there is a file of that name that is no page.
    """
    reports = [RunReport(_with_log(path), name=name) for path, name in zip(paths, _names(paths), strict=True)]
    runs = [report.run() for report in reports]
    file = file or (reports[0].folder if len(reports) == 1 else Path()) / REPORT_FILE
    require_own(file, PAGE_BEGINS, "report")
    replace_file(file, run_page(runs))
    return file, [f"{run.record.name}: {note}" for run in runs for note in run.notes]


def _with_log(path: Path) -> Path:
    """The path of a run.

    Raises:
        InputError: it is none.
    """
    log = path / LOG_FILE if path.is_dir() else path
    if not log.is_file():
        what = (
            f"a folder without {LOG_FILE}" if path.is_dir() else "what is no file" if path.exists() else "no such file"
        )
        raise InputError(f"{path} must be a run, or a record of one (docs/seeing/record.md), got {what}")
    return path


def _names(paths: Sequence[Path]) -> list[str | None]:
    """None where a run's own name tells it from the others; else its path."""
    own = [(path if path.is_dir() else path.parent).resolve().name for path in paths]
    names = [str(path) if own.count(name) > 1 else None for path, name in zip(paths, own, strict=True)]
    return [f"{name}, {number}" if name and names.count(name) > 1 else name for number, name in enumerate(names, 1)]


def _config_of(folder: Path) -> dict[str, object]:
    """{"config": ...} of a run whose log does not have it; nothing where none can be read."""
    try:
        config = load_yaml((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return {"config": config} if isinstance(config, dict) else {}
