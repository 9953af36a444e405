"""`lmhead COMMAND`: finds the command, and turns every error of a caller into one line and exit status 2."""

import difflib
import importlib
import io
import os
import sys
from collections.abc import Sequence

from lmhead.errors import InputError, LmheadError, NonFiniteError
from lmhead.version import __version__

COMMANDS = {  # name: (module, what it does); each module has run(arguments) -> exit status
    "train": ("lmhead.cli.train", "train a language model on texts or conversations"),
    "sample": ("lmhead.cli.sample", "continue a prompt with a trained run, or talk to it"),
    "runs": ("lmhead.cli.runs", "list runs: state, step, best figure"),
    "estimate": ("lmhead.cli.estimate", "parameters, memory and time of a config, before anything is run"),
    "doctor": ("lmhead.cli.doctor", "what is wrong with data, tokenizer and chat template, before training"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status: 0 done, 1 a run that went wrong, 2 bad input, 130 and 143 stopped."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())  # noqa: T201
        return 0
    if words[0] in ("-V", "--version"):
        print(f"lmhead {__version__}")  # noqa: T201
        return 0
    name = words[0]
    for stream in (sys.stdout, sys.stderr):  # a terminal that cannot show a character gets a question mark
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    # Threads that wait for each other spin for some microseconds, not for milliseconds: where other processes want the
    # cores too, a training step is four times as fast (benchmarks/LOG.md, 2026-11-23). Read by libgomp as torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        if name not in COMMANDS:
            close = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"the commands are {', '.join(COMMANDS)}"
            raise InputError(f"unknown command {name!r}: {hint}")
        return int(importlib.import_module(COMMANDS[name][0]).run(words[1:]))
    except LmheadError as error:
        line = " ".join(str(error).split())
        print(f"lmhead {name}: error: {line}" if name in COMMANDS else f"lmhead: error: {line}", file=sys.stderr)  # noqa: T201
        return 1 if isinstance(error, NonFiniteError) else 2
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)  # noqa: T201
        return 130
    except BrokenPipeError:  # the reader of a pipe went away: nobody is left to be told
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def usage() -> str:
    """What `lmhead --help` prints."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {what}" for name, (_, what) in COMMANDS.items())
    return (
        "usage: lmhead COMMAND [flags]\n\n"
        "Everything between a causal language model's hidden states and its gradient.\n\n"
        f"commands:\n{commands}\n\n"
        "lmhead COMMAND --help lists its flags; lmhead --version prints the version."
    )


if __name__ == "__main__":
    sys.exit(main())
