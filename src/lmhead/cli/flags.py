"""Flags -> a dataclass, by tyro; what is wrong with them is one line that suggests the nearest name."""

import contextlib
import dataclasses
import io
import re
from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

import tyro

from lmhead.errors import InputError
from lmhead.training.config import TrainConfig, field_names, nearest, restyled
from lmhead.training.widths import following_widths

Config = TypeVar("Config")
_ELSEWHERE = {  # what other trainers call things -> what is nearest here
    **dict.fromkeys(("batch-size", "micro-batch-size", "per-device-train-batch-size"), "rows"),
    **dict.fromkeys(("gradient-accumulation-steps", "grad-accum"), "accumulate"),
    **dict.fromkeys(("learning-rate", "peak-lr"), "lr"),
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
    words = [_full(word, _short_forms(names)) for word in arguments]
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
    if {"lr", "name", "schedule"} & _named(words):  # what a resolved config wrote out follows them again
        default = default.reopened()
    for name, value in following_widths(default.model, _widths(words)).items():
        words.append(f"--model.{name.replace('_', '-')}={value}")
    return parse(TrainConfig, words, default, command=command, about=about)


def _named(words: Sequence[str]) -> set[str]:
    """The flags among the words, without their groups."""
    names = (word.partition("=")[0].replace("_", "-") for word in words if word.startswith("--"))
    return {name[2:].rsplit(".", 1)[-1] for name in names}


def _widths(words: Sequence[str]) -> dict[str, object]:
    """The widths that flags give, as far as they can be read; what cannot be is refused later, by name."""
    plain = [word.replace("_", "-") if word.startswith("--") else word for word in words]
    widths: dict[str, object] = {}
    for name in ("embed-dim", "num-heads", "head-dim", "mlp-dim"):
        for flag in (name, f"model.{name}"):
            value, _ = take(plain, flag)
            if value is not None:
                widths[name.replace("-", "_")] = int(value) if value.isdecimal() else value
    if {"gated", "no-gated"} & _named(words):
        widths["gated"] = "gated" in _named(words)
    return widths


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


def _one_line(box: str) -> str:
    """tyro's message without its frame and its pages of help."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", box)
    lines = [line.strip("│╭╮╰╯─━ ").strip() for line in text.splitlines()]
    kept = [line for line in lines if line and not line.startswith(("For full helptext", "Parsing error", "─"))]
    message = re.sub(r"^(Value error|Invalid choice|Missing .*?|Unrecognized .*?) (?=[A-Zi])", "", " ".join(kept[:4]))
    return message.removesuffix(" Got errors:") or "the flags could not be read"
