"""`lmhead completion SHELL`: a script that completes commands, flags and choices; tyro writes it."""

import contextlib
import dataclasses
import functools
import io
import operator
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

from lmhead.cli.commands import COMMANDS, config_of
from lmhead.cli.flags.flag_help import EXTRA
from lmhead.cli.flags.flag_table import POSITIONAL, flags_of
from lmhead.cli.flags.flags import parse
from lmhead.errors import InputError

ABOUT: Final = (
    "Print a script that completes the command line. bash: lmhead completion bash > "
    "~/.local/share/bash-completion/completions/lmhead. zsh: lmhead completion zsh > a file _lmhead in a folder of "
    "$fpath. fish: lmhead completion fish > ~/.config/fish/completions/lmhead.fish."
)
SHELLS: Final = ("bash", "zsh", "fish")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CompletionConfig:
    """For which shell."""

    shell: Annotated[tuple[str, ...], POSITIONAL] = ()
    """bash, zsh or fish."""


CONFIG: Final = CompletionConfig


def run(arguments: Sequence[str]) -> int:
    """Print the script."""
    shell = parse(CompletionConfig, arguments, CompletionConfig(), command="completion", about=ABOUT).shell
    if len(shell) != 1 or shell[0] not in SHELLS:
        raise InputError(
            f"completion must be for one of {', '.join(SHELLS)}, got {' '.join(shell) or 'no shell'}: "
            "lmhead completion bash"
        )
    sys.stdout.write(script(shell[0]))
    return 0


def script(shell: str) -> str:
    """The script for a shell."""
    import tyro

    written = io.StringIO()
    commands: Any = functools.reduce(operator.or_, _commands())
    with contextlib.redirect_stdout(written), contextlib.suppress(SystemExit):
        tyro.cli(commands, prog="lmhead", args=["--tyro-print-completion", shell])
    # Words that belong to no flag are files; tyro leaves them to the shell, and bash has to be told so.
    return written.getvalue().replace("\ncomplete -F", "\ncomplete -o default -F")


def _commands() -> "list[Any]":
    """A class for each command, with the short names of its flags: what tyro completes."""
    import tyro

    return [
        Annotated[
            _flat(name, config_of(name)),
            tyro.conf.subcommand(name=name, description=what, prefix_name=False),
        ]
        for name, (_, what) in COMMANDS.items()
    ]


def _flat(command: str, kind: type) -> type:
    import tyro

    fields: list[tuple[str, Any, Any]] = []

    def add(name: str, annotation: Any, default: object, text: str) -> None:
        told = tyro.conf.arg(name=name, help=text, help_behavior_hint="")
        fields.append((f"flag{len(fields)}", Annotated[annotation, told], dataclasses.field(default=default)))

    for flag in flags_of(kind, kind()):
        if flag.positional:
            continue
        if flag.choices:
            add(flag.name, flag.kind, flag.default, flag.text)
        elif flag.kind is bool:
            add(flag.name, bool, False, flag.text)
        else:  # tyro completes paths after a Path
            add(flag.name, (Path if flag.kind in (tuple, str) else flag.kind) | None, None, flag.text)
    for extra in EXTRA.get(command, ()):
        add(extra.name, Path | None, None, extra.text)
    return dataclasses.make_dataclass(f"Flags of {command}", fields)
