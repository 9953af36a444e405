"""`lmhead inspect DATA --tokenizer T`: data token by token, what is trained and why not, and a model's loss: a page."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from lmhead.cli.doctor import ExaminedChat
from lmhead.cli.flags.flag_table import POSITIONAL
from lmhead.cli.flags.parsing import parse
from lmhead.cli.spelling import spelled, spelled_findings
from lmhead.errors import InputError, require
from lmhead.record.own_file import PAGE_BEGINS, RECORD_BEGINS, require_own

if TYPE_CHECKING:
    from lmhead.inspection.tokens.inspection import Inspection

ABOUT = (
    "Show token by token what is trained of data, what is not and why; with a model, at what loss: "
    "lmhead inspect chat.jsonl --tokenizer T --model RUN --out report.html. The page is one file and needs no network."
)
_PAGE: Final = "inspect.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectConfig:
    """What is shown, and by whom it is read."""

    data: Annotated[tuple[str, ...], POSITIONAL] = ()
    """Files (.jsonl, .json, .csv, .parquet, text), folders, hf:NAME:SPLIT; or one record that was written before."""
    tokenizer: str | None = None
    """A tokenizer.json, the folder of a model or of a run, or a name on the Hub. None: the model's."""
    model: str | None = None
    """Whose loss is shown: a run, one of its checkpoints, a folder or a name on the Hub (OWNER/NAME) of a model."""
    against: str | None = None
    """Another one, whose loss is shown beside it."""
    against_tokenizer: str | None = None
    """Its tokenizer. None: the one beside it."""
    page: str | None = None
    """The page, one HTML file. None: inspect.html, or none with --terminal."""
    record: str | None = None
    """A file for the same as JSON lines, for programs."""
    terminal: bool = False
    """Print the text in colour, and each token in a table."""
    rows: int | None = None
    """So many rows are labelled, spread over the data and the same each time. None: all, or a thousand."""
    row: tuple[str, ...] = ()
    """These rows, or lines, alone; several if need be."""
    tokens: int = 50_000
    """At most so many tokens are shown."""
    top: int = 5
    """So many of the most probable tokens, at each position."""
    length: int | None = None
    """Tokens of a row in training: what would be cut is told."""
    packed: bool = False
    """Show rows as training packs them, --length tokens each."""
    step: int | None = None
    """Which checkpoint of the run; by default the newest."""
    device: str = "auto"
    """auto: CUDA, else MPS, else the CPU."""
    pattern: str = "*"
    """Which files of a folder are taken: a glob on the name, or on the path in the folder if it holds a /."""
    exclude: tuple[str, ...] = ()
    """Which files and folders in a folder are left out: globs, several if need be."""
    errors: Literal["strict", "replace"] = "strict"
    """What bytes that are not UTF-8 get: an error that names them, or U+FFFD in their place."""
    quiet: bool = False
    """Print errors alone: no progress, and not what the page says."""
    chat: ExaminedChat = field(default_factory=ExaminedChat)


CONFIG: Final = InspectConfig  # what its flags are


def run(arguments: Sequence[str]) -> int:
    """Parse, read, score, write the page."""
    config = parse(InspectConfig, arguments, command="inspect", about=ABOUT)
    if not config.data:
        raise InputError("which data? lmhead inspect chat.jsonl --tokenizer T --out report.html")
    page = config.page or (None if config.terminal else _PAGE)
    if page is not None:
        require_own(Path(page), PAGE_BEGINS, "page")
    if config.record is not None:
        require_own(Path(config.record), RECORD_BEGINS, "record")
    seen = _spelled(_read(config) or _seen(config))
    if config.terminal:
        _print(seen)
    if config.record is not None:
        seen.record(config.record)
    if page is not None:
        seen.save(page)
    if not config.quiet:
        _tell(seen, page)
    return 0


def _read(config: InspectConfig) -> "Inspection | None":
    """What a record holds, where the data are one; None where they are not."""
    from lmhead.inspection.tokens.read_inspection import is_record, read_inspection

    if len(config.data) != 1:
        return None
    (data,) = config.data
    if (Path(data) / "log.jsonl").is_file() and (Path(data) / "config.yaml").is_file():
        raise InputError(
            f"{data} is a run, no data: give data, and --model {data}; its worst held-out rows are in "
            f"{Path(data) / 'tokens.jsonl'}"
        )
    if not is_record(data):
        return None
    given = [name for name in ("tokenizer", "model", "against") if getattr(config, name) is not None]
    for name in given:
        raise InputError(f"--{name} must be left out for a record, whose tokens are scored already: give the data")
    return read_inspection(Path(data))


def _seen(config: InspectConfig) -> "Inspection":
    from lmhead.cli.console import console
    from lmhead.cli.data_progress import data_progress
    from lmhead.inspection.tokens.inspect import inspect
    from lmhead.inspection.tokens.wanted import Wanted

    wanted = Wanted(
        rows=config.rows,
        numbers=_numbers(config.row),
        tokens=config.tokens,
        length=config.length,
        packed=config.packed,
        pattern=config.pattern,
        exclude=config.exclude,
        errors=config.errors,
    )
    with data_progress(console(stderr=True, quiet=config.quiet)) as progress:
        return inspect(
            config.data,
            config.model,
            tokenizer=config.tokenizer,
            against=config.against,
            against_tokenizer=config.against_tokenizer,
            top=config.top,
            config=config.chat,
            wanted=wanted,
            step=config.step,
            device=config.device,
            progress=progress,
        )


def _numbers(words: Sequence[str]) -> tuple[int, ...]:
    for word in words:
        require(word.isdecimal(), "--row", "be the number of a row or line", repr(word), "as findings name them")
    return tuple(map(int, words))


def _spelled(seen: "Inspection") -> "Inspection":
    """With flags in place of Python's options, on the page too: who reads it types commands."""
    findings = spelled_findings(seen.findings, "inspect")
    notes = [spelled(note, "inspect") for note in seen.header["notes"]]
    return replace(seen, findings=findings, header={**seen.header, "notes": notes})


def _print(seen: "Inspection") -> None:
    """The text, and a table of each row."""
    from lmhead.inspection.tokens.coloured_text import wants_colour

    sys.stdout.write(seen.text(colour=wants_colour()) + "\n")
    for number in range(len(seen.rows)):
        sys.stdout.write(f"\nrow {number}\n{seen.table(number)}\n")


def _tell(seen: "Inspection", page: str | None) -> None:
    """What the page says, in a few lines, and where it is."""
    from lmhead.cli.console import console

    out = console(stderr=page is None)
    if page is not None:
        for finding in seen.findings:
            out.print(finding.head())
        for note in seen.header["notes"]:
            out.print(note)
    out.print(seen.summary())
    if page is not None:
        out.print(f"page: {page}")
