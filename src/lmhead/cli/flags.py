"""Flags -> a dataclass, by tyro; what is wrong with them is one line that suggests the nearest name."""

import contextlib
import dataclasses
import io
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, TypeVar

import tyro

from lmhead.errors import InputError
from lmhead.training.config import TrainConfig, field_names, nearest, restyled

Config = TypeVar("Config")
_SEVERAL = ("data.paths", "data.exclude", "exclude")  # flags that take several values
_ELSEWHERE = {  # what other trainers call things -> what is nearest here
    **dict.fromkeys(("batch-size", "micro-batch-size", "per-device-train-batch-size"), "rows"),
    **dict.fromkeys(("gradient-accumulation-steps", "grad-accum"), "accumulate"),
    **dict.fromkeys(("lr", "learning-rate"), "matrix-rate"),
    **dict.fromkeys(("epochs", "num-epochs", "num-train-epochs", "max-steps"), "steps"),
    **dict.fromkeys(("max-length", "max-seq-length", "block-size", "context-length", "seq-len"), "max-seq-len"),
    **dict.fromkeys(("output-dir", "output"), "out"),
    **dict.fromkeys(("model", "model-name-or-path", "checkpoint"), "init"),
    **dict.fromkeys(("chat-template", "jinja"), "template"),
    **dict.fromkeys(("max-new-tokens", "max-tokens"), "tokens"),
}


def parse(kind: type[Config], arguments: Sequence[str], default: Config, *, command: str, about: str) -> Config:
    """`default` with what the flags change. Groups may be left out where the name is unique: --width, --model.width.

    Raises:
        InputError: an unknown flag, or a value that does not fit.
    """
    names = field_names(kind)
    words = _gathered([_full(word, _short_forms(names)) for word in arguments], _SEVERAL)
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(kind, args=words, default=default, prog=f"lmhead {command}", description=about)
    except SystemExit as exit:
        if not exit.code:
            raise
        raise InputError(_one_line(errors.getvalue())) from None


def parse_train(arguments: Sequence[str], default: TrainConfig, *, command: str, about: str) -> TrainConfig:
    """`parse` for a run's config, where --style course leaves the options of the modern style behind."""
    words = list(arguments)
    for flag in ("style", "model.style"):
        named, _ = take(words, flag)
        styles: dict[str | None, Literal["course", "modern"]] = {"course": "course", "modern": "modern"}
        if named in styles:
            default = dataclasses.replace(default, model=restyled(default.model, styles[named]))
    return parse(TrainConfig, words, default, command=command, about=about)


def take(arguments: Sequence[str], name: str) -> tuple[str | None, list[str]]:
    """The value of --name and the other words.

    Raises:
        InputError: it has no value.
    """
    value, rest, words = None, [], iter(arguments)
    for word in words:
        if word == f"--{name}":
            value = next(words, None)
            if value is None or value.startswith("--"):
                raise InputError(f"--{name} needs a value")
        elif word.startswith(f"--{name}="):
            value = word.split("=", 1)[1]
        else:
            rest.append(word)
    return value, rest


def _short_forms(names: Sequence[str]) -> Mapping[str, str]:
    """Every accepted name, dashes for underscores -> the full one; `no-` forms of switches included."""
    forms: dict[str, str] = {}
    leaves = [name.rsplit(".", 1)[-1] for name in names]
    for name, leaf in zip(names, leaves, strict=True):
        group = name[: -len(leaf)]
        for form, full in ((leaf, name), (f"no_{leaf}", f"{group}no_{leaf}")):
            forms[full.replace("_", "-")] = full
            if leaves.count(leaf) == 1:
                forms.setdefault(form.replace("_", "-"), full)
    if "data.paths" in names:
        forms["data"] = "data.paths"
    return forms


def _full(word: str, forms: Mapping[str, str]) -> str:
    if not word.startswith("--") or word in ("--help", "--"):
        return word
    name, equals, value = word[2:].partition("=")
    full = forms.get(name.replace("_", "-"))
    if full is None:
        meant = _ELSEWHERE.get(name.replace("_", "-"))
        hint = f", did you mean --{meant}?" if meant in forms else ""
        hint = hint or nearest(name.replace("-", "_"), list(forms)).replace("mean ", "mean --")
        otherwise = ": --help lists all flags; a value that begins with -- is written --name=VALUE"
        raise InputError(f"unknown flag --{name}{hint or otherwise}")
    return f"--{full.replace('_', '-')}{equals}{value}"


def _gathered(words: Sequence[str], several: Collection[str]) -> list[str]:
    """The words, where a flag that takes several values is given once more, with those behind its first ones."""
    given = Counter(word.removeprefix("--").partition("=")[0] for word in words if word.startswith("--"))
    several = {name for name in several if given[name] > 1}
    groups: list[list[str]] = [[]]  # a flag and its values each
    current, firsts = groups[0], dict[str, list[str]]()
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or name not in several:
            if word.startswith("--"):
                groups.append(current := [])
            current.append(word)
            continue
        if name not in firsts:
            groups.append(firsts.setdefault(name, [f"--{name}"]))
        current = firsts[name]
        current += [value] if equals else []
    return [word for group in groups for word in group]


def _one_line(box: str) -> str:
    """tyro's message without its frame and its pages of help."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", box)
    lines = [line.strip("│╭╮╰╯─━ ").strip() for line in text.splitlines()]
    kept = [line for line in lines if line and not line.startswith(("For full helptext", "Parsing error", "─"))]
    message = re.sub(r"^(Value error|Invalid choice|Missing .*?|Unrecognized .*?) (?=[A-Zi])", "", " ".join(kept[:4]))
    return message.removesuffix(" Got errors:") or "the flags could not be read"
