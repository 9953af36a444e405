"""Options that a message names -> the flags of the command that prints it; one that has none stays as Python has it."""

import ast
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Final

from lmhead.cli.commands import config_of
from lmhead.cli.flags.flag_table import flags_of, negated
from lmhead.options import Message, Option
from lmhead.shown import shell_word

if TYPE_CHECKING:
    from lmhead.inspection.finding import Finding

# What a command hands on under another name: the option below -> the field that it is given.
_HANDED_ON: Final[Mapping[str, Mapping[str, str]]] = {
    "train": {"max_length": "model.max_seq_len", "length": "model.max_seq_len"},
    "sample": {"max_new_tokens": "tokens", "draft_tokens": "draft"},
}


def spelled(text: str, command: str) -> str:
    """`text` as whoever typed `lmhead command` has to read it: --max-seq-len 512 for max_length=512."""
    if not isinstance(text, Message):
        return text
    flags = _flags(command)
    return "".join(part if isinstance(part, str) else _spelled(part, flags) for part in text.parts)


def spelled_findings(findings: Iterable["Finding"], command: str) -> tuple["Finding", ...]:
    """Findings in the words of whoever typed `lmhead command`."""
    return tuple(
        replace(each, message=spelled(each.message, command), remedy=spelled(each.remedy, command)) for each in findings
    )


def _spelled(option: Option, flags: Mapping[str, str]) -> str:
    name = flags.get(option.name)
    if name is None:
        return str(option)
    value = True if option.value is None else ast.literal_eval(option.value)
    if isinstance(value, bool):
        return f"--{name if value else negated(name)}"
    return f"--{name} {shell_word(str(value))}"


@cache
def _flags(command: str) -> Mapping[str, str]:
    """Every name of an option -> its flag: a field's, and where no other field ends so its last part's.

    A flag that is written with its group, --lora-dropout, comes after those that are not.
    """
    table = flags_of(config_of(command))
    flags = {flag.field: flag.name for flag in table}
    grouped = {flag.field for flag in table if "." in flag.field and flag.field.replace(".", "-") == flag.name}
    for fields in ([field for field in flags if field not in grouped], list(grouped)):  # dropout before lora-dropout
        lasts = Counter(map(_last, fields))
        unique = {_last(field): flags[field] for field in fields if lasts[_last(field)] == 1}
        flags = unique | flags
    return flags | {name: flags[field] for name, field in _HANDED_ON.get(command, {}).items()}


def _last(field: str) -> str:
    return field.rpartition(".")[2]
