"""`--help`: the flags that people use; `--help-all`: all, by group. Both fit 80 columns, and need no torch."""

import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from lmhead.cli.flags.flag_table import Flag, flags_of, groups_of

_WIDEST, _NARROWEST, _TWO_COLUMNS = 100, 30, 60  # characters: lines are not longer, not shorter; text beside flags
_MARGIN: Final = 26  # of the text beside the flags


# What `--help` shows, in this order; of a command that is not here all flags.
USED: Final = {
    "train": (
        *("data.paths", "steps", "minutes", "out", "resume", "config", "init", "lora.rank", "quantize"),
        *("data.tokenizer", "mtp.depth"),
        *("model.vocab_size", "model.embed_dim", "model.num_layers", "model.max_seq_len", "rows", "accumulate"),
        *("optimizer.lr", "optimizer.schedule", "seed", "prompt", "eval_every", "save_every", "nproc", "device"),
        "quiet",
    ),
    "estimate": (
        *("model.vocab_size", "model.embed_dim", "model.num_heads", "model.num_layers", "model.max_seq_len"),
        *("model.mlp_dim", "model.style", "rows", "accumulate", "steps", "minutes", "config", "init"),
        *("lora.rank", "quantize", "mtp.depth", "mtp.kind", "optimizer.name", "precision", "device"),
        *("nproc", "mesh", "hardware", "per_host", "efficiency"),
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
    "inspect": (
        *("tokenizer", "model", "against", "page", "terminal", "record", "rows", "row", "tokens", "top", "length"),
        *("packed", "step", "device", "pattern", "quiet", "chat.format", "chat.columns", "chat.template"),
        *("chat.template_arguments", "chat.train_on", "chat.train_reasoning"),
    ),
    "eval": (
        *("base", "audit", "out", "json", "window", "stride", "context", "documents.prefix", "documents.source_key"),
        *("documents.limit", "documents.pattern", "tokenizer", "step", "precision", "batch", "device", "quiet"),
        *("chat.format", "chat.columns", "chat.template", "chat.template_arguments", "chat.train_on"),
        "chat.train_reasoning",
    ),
}
_METAVARS: Final = {
    "data.paths": "PATH ...",
    **dict.fromkeys(("out", "chat.cache"), "FOLDER"),
    **dict.fromkeys(("page", "record"), "FILE"),
    "resume": "RUN",
    "hardware": "NAME",
    **dict.fromkeys(("init", "model", "against", "base"), "MODEL"),
    "lora.rank": "RANK",
    **dict.fromkeys(("config", "data.tokenizer", "tokenizer", "against_tokenizer", "chat.template"), "FILE"),
    **dict.fromkeys(("data.pattern", "pattern"), "GLOB"),
    "device": "DEVICE",
    "chat.columns": "OURS=THEIRS",
    "chat.date": "YYYY-MM-DD",
    "chat.template_arguments": "JSON",
}
GENERAL: Final = "general"  # the group of fields that are in none


def short_help(kind: type, *, command: str, about: str) -> str:
    """Usage, what the command does, and the flags that people use."""
    flags = flags_of(kind)
    lines = list(_head(flags, command, about))
    used = USED.get(command)
    if used is None:
        return "\n".join([*lines, *_listed(map(entry, _named(flags)))])
    fields = {flag.field: flag for flag in flags}
    entries = [entry(fields[each]) for each in used]
    return "\n".join([*lines, *_listed([*entries, ("--help-all", f"All {len(flags)} flags, by group.")])])


def full_help(kind: type, *, command: str, about: str) -> str:
    """Usage, what the command does, and every flag under its group's heading."""
    flags = flags_of(kind)
    lines = list(_head(flags, command, about))
    headings = groups_of(kind)
    for group in dict.fromkeys(flag.group for flag in flags):
        said = headings.get(group, "")
        lines += ["", *_filled(f"{group or GENERAL}{': ' if said else ''}{said}", "")]
        lines += _listed(entry(flag) for flag in _named(flags) if flag.group == group)
    lines += [
        "",
        *_filled(
            "A flag may be written with its group, --model.embed-dim, and in a YAML file it is the field embed_dim of "
            "the group model. Of a flag that is given twice the last one counts; lists add up.",
            "",
        ),
    ]
    return "\n".join(lines)


def _named(flags: Sequence[Flag]) -> list[Flag]:
    return [flag for flag in flags if not flag.positional]


def _head(flags: Sequence[Flag], command: str, about: str) -> Iterator[str]:
    words = {
        f"{flag.written} ..." if flag.kind is tuple else flag.written: flag.text for flag in flags if flag.positional
    }
    shown = [f"[{word}]" if word.endswith("...") else word for word in words]
    yield from _filled(" ".join(["usage: lmhead", command, *shown, "[flags]"]), "  ", "")
    yield ""
    yield from _filled(about, "")
    yield ""
    yield from _listed(words.items())


def entry(flag: Flag) -> tuple[str, str]:
    """How a flag is written, and what it does, with its default in brackets."""
    return _written(flag), flag.text + _default(flag)


def _written(flag: Flag) -> str:
    """--steps N, --style {course,modern}, --[no-]compile."""
    if flag.kind is bool:
        group, dot, leaf = flag.name.rpartition(".")
        return f"--{group}{dot}[no-]{leaf}"
    if flag.choices:
        return f"--{flag.name} {{{','.join(flag.choices)}}}{' ...' if flag.kind is tuple else ''}"
    kinds = {int: "N", float: "X", tuple: "X ..." if flag.entry is float else "TEXT ..."}
    return f"--{flag.name} {_METAVARS.get(flag.field) or kinds.get(flag.kind, 'TEXT')}"


def _default(flag: Flag) -> str:
    if flag.default is None or flag.default == ():
        return ""  # the text says what happens then
    if flag.kind is bool:
        return f" [{'on' if flag.default else 'off'}]"
    value = " ".join(map(str, flag.default)) if isinstance(flag.default, tuple) else flag.default
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


def _listed(entries: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Flags on the left and text on the right; a flag that is too long, or a narrow screen, has the text below."""
    beside = _width() >= _TWO_COLUMNS
    for written, text in entries:
        name = f"  {written}"
        if beside and len(name) < _MARGIN - 1:
            yield from _filled(text, " " * _MARGIN, name.ljust(_MARGIN))
        else:
            yield name
            yield from _filled(text, " " * (_MARGIN if beside else 6))
