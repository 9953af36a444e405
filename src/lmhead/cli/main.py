"""`lmhead COMMAND`: finds the command, and turns every error of a caller into one line and exit status 2."""

import difflib
import logging
import os
import re
import sys
from collections.abc import Sequence
from typing import Final

from lmhead.cli.commands import COMMANDS, module_of
from lmhead.cli.outlet import Outlet, OutputGone, outlets
from lmhead.cli.spelling import spelled
from lmhead.errors import InputError, LmheadError, LostRankError, NonFiniteError
from lmhead.shown import shown_line
from lmhead.version import __version__

_CLOSED_PIPE: Final = 141  # as a process that SIGPIPE ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status.

    0 done, 1 a run that went wrong or output that could not be written, 2 bad input, 130 and 143 stopped by a signal,
    141 the reader of a pipe went away.
    """
    with outlets() as (out, errors):
        words = list(sys.argv[1:] if arguments is None else arguments)
        try:
            status = _command(words, errors)
            out.flush()
        except OutputGone as gone:
            if gone.closed_pipe:  # nobody is left to be told
                return _CLOSED_PIPE
            errors.write(f"lmhead: error: standard output must be written to, got {gone.reason}\n")
            return 1
        finally:
            errors.flush()
        return status


def _command(words: list[str], errors: Outlet) -> int:
    if words and words[0] == "help" and len(words) > 1:
        words = [words[1], "--help"]
    name, rest = (words[0], words[1:]) if words else ("--help", [])
    # Threads that wait for each other spin for some microseconds, not for milliseconds: where other processes want the
    # cores too, a training step is four times as fast (benchmarks/LOG.md, 2026-11-23). Read by libgomp as torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    if "RANK" in os.environ:  # what one rank of several sees of another's end it tells itself
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # else it tells of every product whose inputs it casts
    try:
        if name in ("-h", "--help", "--help-all", "help"):
            sys.stdout.write(usage() + "\n")
            return 0
        if name in ("-V", "--version"):
            sys.stdout.write(f"lmhead {__version__}\n")
            return 0
        if name not in COMMANDS:
            close = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"the commands are {', '.join(COMMANDS)}"
            raise InputError(f"unknown command {name!r}: {hint}")
        return int(module_of(name).run(_help_first(rest)))
    except SystemExit as exit:  # help was shown
        return int(exit.code or 0)
    except LmheadError as error:
        tell(error, name)
        return status_of(error)
    except KeyboardInterrupt:
        errors.write("\nstopped\n")
        return 130


def tell(error: LmheadError, command: str) -> None:
    """One line on standard error, with the command's flags for options."""
    message = spelled(error.message, command) if command in COMMANDS else str(error)
    line = shown_line(re.sub(r" *\n\s*", " ", message.strip()))
    sys.stderr.write(f"lmhead {command}: error: {line}\n" if command in COMMANDS else f"lmhead: error: {line}\n")


def status_of(error: LmheadError) -> int:
    """2 for bad input, 1 for a run that went wrong."""
    return 1 if isinstance(error, NonFiniteError | LostRankError) else 2


def _help_first(words: list[str]) -> list[str]:
    """The flag that asks for help alone, where there is one: help is shown whatever else was typed."""
    asked = [word for word in words if word in ("--help", "--help-all")]
    return asked[-1:] or (words[:1] if words[:1] == ["-h"] else words)


def usage() -> str:
    """What `lmhead --help` prints."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {what}" for name, (_, what) in COMMANDS.items())
    return (
        "usage: lmhead COMMAND [flags]\n\n"
        "Everything between a causal language model's hidden states and its gradient.\n\n"
        f"commands:\n{commands}\n\n"
        "lmhead COMMAND --help lists the flags that people use, --help-all all of them;\n"
        "lmhead --version prints the version."
    )


if __name__ == "__main__":
    sys.exit(main())
