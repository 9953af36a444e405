"""`--help`: the flags that people use; `--help-all`: all, by group. Both fit 80 columns, and need no torch."""

import shutil
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from lmhead.cli.flags.flag_table import Flag, groups_of

_WIDEST, _NARROWEST, _TWO_COLUMNS = 100, 30, 60  # characters: lines are not longer, not shorter; text beside flags
_MARGIN: Final = 26  # of the text beside the flags


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """A flag that is no field: it decides where the fields' values come from."""

    name: str
    value: str
    text: str


_CONFIG: Final = Extra(name="config", value="FILE", text="YAML that gives defaults for the flags: a run's config.yaml.")
_RESUME: Final = Extra(name="resume", value="RUN", text="Go on with a run that was stopped or killed, exactly.")
_STEP: Final = Extra(name="step", value="N", text="With --resume: from the checkpoint of this step, not the newest.")
EXTRA: Final = {"train": (_CONFIG, _RESUME, _STEP), "estimate": (_CONFIG,)}

# What `--help` shows, in this order; of a command that is not here all flags. Fields, and names of EXTRA.
USED: Final = {
    "train": (
        *("data.paths", "steps", "minutes", "out", "resume", "step", "config", "init", "data.tokenizer"),
        *("model.vocab_size", "model.embed_dim", "model.num_layers", "model.max_seq_len", "rows", "accumulate"),
        *("optimizer.lr", "optimizer.schedule", "seed", "prompt", "eval_every", "save_every", "device", "quiet"),
    ),
    "estimate": (
        *("model.vocab_size", "model.embed_dim", "model.num_heads", "model.num_layers", "model.max_seq_len"),
        *("model.mlp_dim", "model.style", "rows", "accumulate", "steps", "minutes", "config", "init"),
        *("optimizer.name", "precision", "device"),
    ),
    "doctor": (
        *("tokenizer", "length", "rows", "show", "pattern", "errors", "json", "strict", "quiet"),
        *(
            "chat.format",
            "chat.columns",
            "chat.template",
            "chat.template_arguments",
            "chat.train_on",
            "chat.train_reasoning",
        ),
        "chat.overflow",
    ),
}
_METAVARS: Final = {
    "data.paths": "PATH ...",
    **dict.fromkeys(("out", "chat.cache"), "FOLDER"),
    "init": "RUN",
    **dict.fromkeys(("data.tokenizer", "tokenizer", "chat.template"), "FILE"),
    **dict.fromkeys(("data.pattern", "pattern"), "GLOB"),
    "device": "DEVICE",
    "chat.columns": "OURS=THEIRS",
    "chat.date": "YYYY-MM-DD",
    "chat.template_arguments": "JSON",
}
_GENERAL: Final = "general"  # the group of fields that are in none


def short_help(kind: type, flags: Sequence[Flag], *, command: str, about: str) -> str:
    """Usage, what the command does, and the flags that people use."""
    name = command.split()[0]
    used = USED.get(name)
    lines = list(_head(flags, command, about))
    if used is None:
        lines += _listed(_entries([flag for flag in flags if not flag.positional], EXTRA.get(name, ())))
        return "\n".join(lines)
    fields = {flag.field: flag for flag in flags}
    extras = {extra.name: extra for extra in EXTRA.get(name, ())}
    for each in used:
        lines += _listed(_entries([fields[each]], ()) if each in fields else _entries([], [extras[each]]))
    lines += _listed([("--help-all", f"All {len(flags) + len(extras)} flags, by group.")])
    return "\n".join(lines)


def full_help(kind: type, flags: Sequence[Flag], *, command: str, about: str) -> str:
    """Usage, what the command does, and every flag under its group's heading."""
    lines = list(_head(flags, command, about))
    headings = groups_of(kind)
    for group in dict.fromkeys(flag.group for flag in flags):
        said = headings.get(group, "")
        lines += ["", *_filled(f"{group or _GENERAL}{': ' if said else ''}{said}", "")]
        extras = EXTRA.get(command.split()[0], ()) if not group else ()
        lines += _listed(_entries([flag for flag in flags if flag.group == group and not flag.positional], extras))
    lines += [
        "",
        *_filled(
            "A flag may be written with its group, --model.embed-dim, and in a YAML file it is the field embed_dim of "
            "the group model. Of a flag that is given twice the last one counts; lists add up.",
            "",
        ),
    ]
    return "\n".join(lines)


def _head(flags: Sequence[Flag], command: str, about: str) -> Iterator[str]:
    words = [f"[{flag.name.upper()} ...]" for flag in flags if flag.positional]
    yield from _filled(" ".join(["usage: lmhead", command, *words, "[flags]"]), "  ", "")
    yield ""
    yield from _filled(about, "")
    yield ""
    for flag in flags:
        if flag.positional:
            yield from _listed([(f"{flag.name.upper()} ...", flag.text)])


def _entries(flags: Sequence[Flag], extras: Sequence[Extra]) -> Iterator[tuple[str, str]]:
    for flag in flags:
        yield _written(flag), flag.text + _default(flag)
    for extra in extras:
        yield f"--{extra.name} {extra.value}", extra.text


def _written(flag: Flag) -> str:
    """--steps N, --style {course,modern}, --[no-]compile."""
    if flag.kind is bool:
        group, dot, leaf = flag.name.rpartition(".")
        return f"--{group}{dot}[no-]{leaf}"
    if flag.choices:
        return f"--{flag.name} {{{','.join(flag.choices)}}}"
    kinds = {int: "N", float: "X", tuple: "TEXT ..."}
    return f"--{flag.name} {_METAVARS.get(flag.field) or kinds.get(flag.kind, 'TEXT')}"


def _default(flag: Flag) -> str:
    if flag.default is None or flag.default == ():
        return ""  # the text says what happens then
    if flag.kind is bool:
        return f" [{'on' if flag.default else 'off'}]"
    value = " ".join(flag.default) if isinstance(flag.default, tuple) else flag.default
    return f" [{value}]"


def _width() -> int:
    return max(_NARROWEST, min(_WIDEST, shutil.get_terminal_size((80, 24)).columns))


def _filled(text: str, indent: str, first: str | None = None) -> list[str]:
    return textwrap.wrap(
        text,
        _width(),
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )


def _listed(entries: "Iterator[tuple[str, str]] | Sequence[tuple[str, str]]") -> Iterator[str]:
    """Flags on the left and text on the right; a flag that is too long, or a narrow screen, has the text below."""
    beside = _width() >= _TWO_COLUMNS
    for written, text in entries:
        name = f"  {written}"
        if beside and len(name) < _MARGIN - 1:
            yield from _filled(text, " " * _MARGIN, name.ljust(_MARGIN))
        else:
            yield name
            yield from _filled(text, " " * (_MARGIN if beside else 6))
