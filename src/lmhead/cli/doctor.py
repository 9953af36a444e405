"""`lmhead doctor DATA... --tokenizer T`: what is wrong with data, tokenizer and chat template, before training."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Final, Literal

from lmhead.cli.flags.flag_table import HIDDEN, POSITIONAL
from lmhead.cli.flags.parsing import parse
from lmhead.cli.spelling import spelled, spelled_findings
from lmhead.data.labelling.chat_config import ChatConfig
from lmhead.errors import InputError
from lmhead.shown import shown_json

ABOUT = (
    "Find what is wrong with chat and text data: lmhead doctor chat.jsonl --tokenizer T. Without data, the chat "
    "template of T alone is examined. The exit status is 1 where there is an error."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExaminedChat(ChatConfig):
    """How rows would be labelled."""

    cache: Annotated[str | None, HIDDEN] = None  # the doctor looks at rows, not at what is kept of them


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorConfig:
    """What is examined, and how it would be trained."""

    data: Annotated[tuple[str, ...], POSITIONAL] = ()
    """Files (.jsonl, .json, .csv, .parquet, text), folders, or hf:NAME:SPLIT."""
    tokenizer: str | None = None
    """A tokenizer.json, the folder of a model or of a run, or a name on the Hub. Rows of ids can do without."""
    length: int = 4096
    """Tokens of a row in training: what would be cut, and how rows pack."""
    rows: int | None = None
    """Label so many rows, spread over the data and the same in every run. None: all."""
    show: int = 0
    """Print so many of the first rows token by token."""
    pattern: str = "*"
    """Which files of a folder are taken: a glob on the name, or on the path in the folder if it holds a /."""
    exclude: tuple[str, ...] = ()
    """Which files and folders in a folder are left out: globs, several if need be."""
    errors: Literal["strict", "replace"] = "strict"
    """What bytes that are not UTF-8 get: an error that names them, or U+FFFD in their place."""
    json: bool = False
    """Print one JSON object and nothing else."""
    strict: bool = False
    """Warnings give the exit status 1 too."""
    quiet: bool = False
    """Print the report and errors alone: no progress."""
    chat: ExaminedChat = field(default_factory=ExaminedChat)


CONFIG: Final = DoctorConfig  # what its flags are


def run(arguments: Sequence[str]) -> int:
    """Parse, examine, print; 1 where there is an error."""
    config = parse(DoctorConfig, arguments, command="doctor", about=ABOUT)
    if not config.data and config.tokenizer is None:
        raise InputError("which data? lmhead doctor chat.jsonl --tokenizer T; without data, --tokenizer T alone")
    from lmhead.cli.console import console
    from lmhead.cli.data_progress import data_progress
    from lmhead.inspection.doctor.examine import examine

    with data_progress(console(stderr=True, quiet=config.quiet)) as progress:
        report = examine(
            config.data or None,
            config.tokenizer,
            config=config.chat,
            length=config.length,
            rows=config.rows,
            show=config.show,
            pattern=config.pattern,
            exclude=config.exclude,
            errors=config.errors,
            progress=progress,
        )
    out = console()
    if config.json:
        report = replace(report, findings=spelled_findings(report.findings, "doctor"))
        sys.stdout.write(shown_json(json.dumps(report.to_dict(), ensure_ascii=False, indent=2)) + "\n")
    else:
        out.print(report.text(out.width if out.is_terminal else None, partial(spelled, command="doctor")))
    return 1 if report.errors or (config.strict and report.warnings) else 0
