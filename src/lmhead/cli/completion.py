"""`lmhead completion SHELL`: a script that completes commands, flags, choices and paths, made of the flags' table."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from lmhead.cli.commands import COMMANDS, config_of
from lmhead.cli.flags.flag_table import POSITIONAL, Flag, flags_of
from lmhead.cli.flags.parsing import parse
from lmhead.errors import InputError

ABOUT: Final = (
    "Print a script that completes the command line. bash: lmhead completion bash > "
    "~/.local/share/bash-completion/completions/lmhead. zsh: lmhead completion zsh > a file _lmhead in a folder of "
    "$fpath. fish: lmhead completion fish > ~/.config/fish/completions/lmhead.fish."
)
Shell = Literal["bash", "zsh", "fish"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionConfig:
    """For which shell."""

    shell: Annotated[Shell | None, POSITIONAL] = None
    """bash, zsh or fish."""


CONFIG: Final = CompletionConfig  # what its flags are


def run(arguments: Sequence[str]) -> int:
    """Print the script."""
    shell = parse(CompletionConfig, arguments, command="completion", about=ABOUT).shell
    if shell is None:
        raise InputError("which shell? lmhead completion bash, zsh or fish")
    sys.stdout.write(script(shell))
    return 0


def script(shell: Shell) -> str:
    """The script for a shell."""
    return "\n".join(_SCRIPTS[shell]()) + "\n"


def _bash() -> Iterator[str]:
    yield "_lmhead() {"
    yield '    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" words='
    yield '    case "${COMP_WORDS[1]} $before" in'
    for command in COMMANDS:
        for flag in _flags(command):
            if not _switch(flag) and not flag.positional:  # a flag's value: a choice, or a file
                yield f'        "{command} {flag.written}") words="{" ".join(flag.choices)}" ;;'
    yield '        *) case "$COMP_CWORD ${COMP_WORDS[1]}" in'
    yield f'            1\\ *) words="{" ".join(COMMANDS)}" ;;'
    for command in COMMANDS:
        yield f'            *\\ {command}) words="{" ".join(_words(command))}" ;;'
    yield "        esac ;;"
    yield "    esac"
    yield '    COMPREPLY=($(compgen -W "$words" -- "$word"))'
    yield "}"
    yield "complete -o default -F _lmhead lmhead"  # default: where nothing fits, files


def _zsh() -> Iterator[str]:
    yield "#compdef lmhead"
    yield "local -a commands=("
    yield from (f"    {_quoted(f'{name}:{what}')}" for name, (_, what) in COMMANDS.items())
    yield ")"
    yield "if (( CURRENT == 2 )); then _describe command commands; return; fi"
    yield "local command=$words[2]"
    yield "shift words; (( CURRENT-- ))"
    yield "case $command in"
    for command in COMMANDS:
        yield f"    {command}) _arguments \\"
        for flag in _flags(command):
            action = f"({' '.join(flag.choices)})" if flag.choices else "_files"
            value = "" if _switch(flag) else f":{flag.name}:{action}"
            text = "".join(f"\\{letter}" if letter in "[]:\\" else letter for letter in flag.text)
            names = ["*"] if flag.positional else [f"*{name}" for name in _names(flag)]
            for name in names:
                yield f"        {_quoted(name + (value if flag.positional else f'[{text}]{value}'))} \\"
        yield "        ;;"
    yield "esac"


def _fish() -> Iterator[str]:
    first = "not __fish_seen_subcommand_from " + " ".join(COMMANDS)
    for command, (_, what) in COMMANDS.items():
        yield f"complete -c lmhead -f -n {_quoted(first)} -a {command} -d {_quoted(what)}"
    for command in COMMANDS:
        here = f"complete -c lmhead -n {_quoted(f'__fish_seen_subcommand_from {command}')}"
        for flag in _flags(command):
            choices = f" -f -a {_quoted(' '.join(flag.choices))}" if flag.choices else ""
            if flag.positional:
                yield f"{here}{choices}"
                continue
            for name in _names(flag):
                value = "" if _switch(flag) else f" -r{choices}"
                yield f"{here} -l {name.removeprefix('--')}{value} -d {_quoted(flag.text)}"


_SCRIPTS: Final[dict[Shell, Callable[[], Iterator[str]]]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}


def _flags(command: str) -> list[Flag]:
    return flags_of(config_of(command))


def _switch(flag: Flag) -> bool:
    return flag.kind is bool


def _names(flag: Flag) -> list[str]:
    return [flag.written, f"--{flag.negated}"] if _switch(flag) else [flag.written]


def _words(command: str) -> list[str]:
    """What may stand where no value does: flags, and the choices of a word without one."""
    flags = _flags(command)
    names = [name for flag in flags if not flag.positional for name in _names(flag)]
    return [*(choice for flag in flags if flag.positional for choice in flag.choices), *names]


def _quoted(text: str) -> str:
    """In single quotes, for zsh and fish."""
    return "'" + text.replace("'", "'\\''") + "'"
