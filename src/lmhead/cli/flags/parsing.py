"""The words of a command line -> a dataclass of its options; a fault is one line that suggests the nearest name.

`--name value` and `--name=value` are the same; of a flag that is given twice the last one counts, but lists add up.
"""

import dataclasses
import sys
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

from lmhead.cli.flags.flag_help import full_help, short_help
from lmhead.cli.flags.flag_table import Flag, flags_of, negated
from lmhead.cli.flags.flag_values import refuse_missing, value_of
from lmhead.errors import InputError
from lmhead.shown import shell_word
from lmhead.training.config.train_config import nearest

Config = TypeVar("Config")
_ELSEWHERE: Final = {  # what other trainers call things -> what is nearest here, or one step nearer
    **dict.fromkeys(("batch-size", "micro-batch-size", "per-device-train-batch-size"), "rows"),
    **dict.fromkeys(("gradient-accumulation-steps", "grad-accum"), "accumulate"),
    **dict.fromkeys(("learning-rate", "peak-lr"), "lr"),
    **dict.fromkeys(("epochs", "num-epochs", "num-train-epochs", "max-steps"), "steps"),
    **dict.fromkeys(("max-length", "max-seq-length", "block-size", "context-length", "seq-len"), "max-seq-len"),
    "max-seq-len": "length",
    **dict.fromkeys(("output-dir", "output"), "out"),
    **dict.fromkeys(("model", "model-name-or-path", "checkpoint"), "init"),
    **dict.fromkeys(("chat-template", "jinja"), "template"),
    **dict.fromkeys(("mtp-depth", "mtp-num-layers", "num-nextn-predict-layers"), "mtp"),
    "mtp-loss-scaling-factor": "mtp-lambda",
    **dict.fromkeys(("max-new-tokens", "max-tokens"), "tokens"),
}
_TRUTHS: Final = ("true", "false", "yes", "no", "on", "off", "1", "0")  # what other command lines give a switch


def parse(kind: type[Config], arguments: Sequence[str], *, command: str, about: str) -> Config:
    """The dataclass with what the flags say. Groups may be left out where the name is unique: --width, --model.width.

    Raises:
        InputError: an unknown flag, or a value that does not fit.
        SystemExit: help was asked for, and shown.
    """
    return cast(Config, changed(kind(), given(kind, arguments, command=command, about=about)))


def given(kind: type, arguments: Sequence[str], *, command: str, about: str) -> dict[str, object]:
    """Dotted field -> value, of the flags and words that are given alone; raises as `parse` does."""
    for word, make in (("--help-all", full_help), ("--help", short_help), ("-h", short_help)):
        if word in arguments:
            sys.stdout.write(make(kind, command=command, about=about) + "\n")
            raise SystemExit(0)
    return _read(flags_of(kind), list(arguments))


def changed(default: Any, values: Mapping[str, object]) -> Any:
    """The dataclass `default` with dotted fields changed, each group at once: its check sees them together."""
    changes: dict[str, Any] = {}
    groups: dict[str, dict[str, object]] = {}
    for field, value in values.items():
        group, dot, rest = field.partition(".")
        if dot:
            groups.setdefault(group, {})[rest] = value
        else:
            changes[field] = value
    changes |= {group: changed(getattr(default, group), inner) for group, inner in groups.items()}
    return dataclasses.replace(default, **changes)


def _read(flags: Sequence[Flag], words: list[str]) -> dict[str, object]:
    """Field -> value, of every flag that is given."""
    forms = _forms(flags)
    positional = next((flag for flag in flags if flag.positional), None)
    values: dict[str, object] = {}
    stray: list[str] = []
    while words:
        word = words.pop(0)
        if word.startswith("--") and word != "--":
            name, equals, text = word[2:].partition("=")
            form = forms.get(name.replace("_", "-"))
            if form is None:
                raise InputError(_unknown(f"--{name}", name, forms))
            texts = [text] if equals else _values(form.flag, name, words)
            values[form.flag.field] = _value(form, name, texts, values.get(form.flag.field))
        elif word.startswith("-") and word not in ("-", "--"):
            raise InputError(_unknown(word, word[1:], forms))
        else:
            rest, words = (words, []) if word == "--" else ([word], words)
            if positional is None or (positional.kind is not tuple and positional.field in values):
                stray += rest
            elif rest:
                values[positional.field] = _value(_Form(positional), "", rest, values.get(positional.field))
                stray += rest[1:] if positional.kind is not tuple else []
    if stray:  # after the flags: an unknown one explains it best
        raise InputError(_stray(stray[0], forms, positional))
    return values


def _values(flag: Flag, name: str, words: list[str]) -> list[str]:
    """The words that are this flag's, taken away from `words`: for a list all up to the next flag."""
    if flag.kind is bool:
        return words[:1] if words[:1] and words[0].lower() in _TRUTHS else []
    count = 1
    if flag.kind is tuple:
        count = next((i for i, word in enumerate(words) if word.startswith("-") and word != "-"), len(words))
    given = words[:count]
    if not given or given[0].startswith("--"):
        refuse_missing(name, words[0] if words else None)
    del words[:count]
    return given


def _value(form: "_Form", name: str, given: list[str], earlier: object) -> object:
    flag = form.flag
    if flag.kind is bool:
        if given:
            remedy = f"write --{flag.name} or --{flag.negated}"
            raise InputError(f"--{name} must have no value, got {given[0] or 'an empty one'}: {remedy}")
        return form.on
    if flag.kind is tuple:
        entries = [value_of(flag, text) for text in given]
        return None if None in entries else (*cast(tuple[object, ...], earlier or ()), *entries)
    return value_of(flag, given[0])


@dataclasses.dataclass(frozen=True, slots=True)
class _Form:
    """What an accepted name stands for."""

    flag: Flag
    on: bool = True


def _forms(flags: Sequence[Flag]) -> dict[str, _Form]:
    """Every accepted name, dashes for underscores -> its flag; the `no-` forms of switches included."""
    forms: dict[str, _Form] = {}
    for flag in flags:
        forms[flag.name] = forms[flag.full] = _Form(flag)
        if flag.kind is bool:
            forms[flag.negated] = forms[negated(flag.full)] = _Form(flag, on=False)
    return forms


def _unknown(written: str, name: str, known: Collection[str]) -> str:
    """unknown flag --stepz, did you mean --steps?"""
    name = name.partition("=")[0].replace("_", "-")
    meant = name if name in known else _ELSEWHERE.get(name)
    while meant is not None and meant not in known:
        meant = _ELSEWHERE.get(meant)
    hint = f", did you mean --{meant}?" if meant else nearest(name, list(known)).replace("mean ", "mean --")
    otherwise = ": --help-all lists all flags; a value that begins with -- is written --name=VALUE"
    return f"unknown flag {written}{hint or otherwise}"


def _stray(word: str, known: Collection[str], positional: Flag | None) -> str:
    """Why a word that belongs to no flag is none: a dash that an editor changed, or a path without --data."""
    bare = word.lstrip("".join(c for c in set(word) if unicodedata.category(c) == "Pd" or c == "\u2212"))
    if bare != word and bare:
        return _unknown(word, bare, known) + " (two hyphens, of the keyboard's kind)"
    if positional is not None:
        hint = f"one {positional.written} is taken, and there is one already"
    elif "data" in known:
        hint = f"did you mean --data {shell_word(word)}?"
    else:
        hint = "write it behind the flag that it belongs to"
    return f"unexpected word {word}: {hint}"
