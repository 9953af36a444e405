"""Seconds until `lmhead --help` has printed and until `import lmhead` is done, each in a fresh interpreter.

    python -m benchmarks.startup                   a table, and JSON in benchmarks/results/startup.json

What the library adds to torch is the median over rounds of the difference within a round.
"""

import argparse
import os
import statistics
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import Case, Report, Timings, interleave

_HELP = "lmhead --help"
_PROGRAMS = {
    "python -c pass": "pass",
    "import torch": "import torch",
    "import lmhead": "import lmhead",
    "import lmhead, and its first function": "import lmhead; lmhead.linear_cross_entropy",
}
_OURS = ("import lmhead", "import lmhead, and its first function")


def measure(rounds: int) -> Timings:
    """All of them in turn, after one round that fills the disk's cache and writes bytecode."""
    script = str(Path(sysconfig.get_path("scripts")) / "lmhead")
    cases = [Case(name=_HELP, run=_process(script, "--help"))]
    cases += [Case(name=name, run=_process(sys.executable, "-c", code)) for name, code in _PROGRAMS.items()]
    return interleave(cases, rounds=rounds)


def _process(*command: str) -> Callable[[], object]:
    # Bytecode is kept, as on anybody's machine, even where this shell forbids it.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)


def report(timings: Timings) -> Report:
    """The table and the goals."""
    result = Report(
        name="startup", title="start-up, fresh interpreters", columns=("", "seconds", "seconds above import torch")
    )
    for name in timings.seconds:
        shown = f"{_above_torch(timings, name):+.3f}" if name in _OURS else ""
        result.rows.append((name, f"{timings.median(name):.3f}", shown))
    result.measured = {"seconds": timings.seconds}
    result.goal(f"{_HELP}, seconds", timings.median(_HELP), at_most=0.3)
    for name in _OURS:
        result.goal(f"{name}: seconds above import torch", _above_torch(timings, name), at_most=0.1)
    return result


def _above_torch(timings: Timings, name: str) -> float:
    pairs = zip(timings.seconds[name], timings.seconds["import torch"], strict=True)
    return statistics.median(one - other for one, other in pairs if one is not None and other is not None)


def main() -> None:
    """Parse the command line, run, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, metavar="FILE", help="instead of benchmarks/results/startup.json")
    arguments = parser.parse_args()
    result = report(measure(arguments.rounds))
    print(result.table(), flush=True)
    print(f"\n{result.save(arguments.json)}")


if __name__ == "__main__":
    main()
