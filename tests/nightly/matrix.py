"""Run the suite down the ladder of processors, Pythons and libraries; print what passed; exit 1 where anything failed.

    python -m tests.nightly.matrix                                          # the whole suite on every step: hours
    python -m tests.nightly.matrix tests/ops tests/losses --only AVX2 SSE4  # some of it on some steps
    python -m tests.nightly.matrix --only Python torch --scratch DIR        # in virtual environments made under DIR
    python -m tests.nightly.matrix --list

It tests and measures nothing: so it is beside the tests, not among the benchmarks. What a step sets is in
environments.py. A step above what this processor has, a Python that is not here and a torch or a transformers that
pip has not are skipped, with the reason.
"""

import argparse
import datetime
import os
import platform
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tests.nightly.environments import Environment, processors, versions
from tests.nightly.install import ROOT, NotInstalledError, interpreter_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What pytest said in one environment."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    note: str = ""

    def row(self, name: str) -> str:
        """Of the table."""
        return f"| {name} | {self.passed} | {self.failed} | {self.skipped} | {self.seconds:.0f} | {self.note} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where nothing failed, 1 otherwise."""
    given = _parser().parse_args(arguments)
    every = processors(torch.backends.cpu.get_cpu_capability()) + versions()
    chosen = [one for one in every if not given.only or any(part in one.name for part in given.only)]
    if given.list:
        print(*(f"{one.name}: {one.skipped or ''}".rstrip(": ") for one in chosen), sep="\n")
        return 0
    logs = given.scratch or Path(tempfile.mkdtemp(prefix="lmhead-matrix-"))
    logs.mkdir(parents=True, exist_ok=True)
    print(f"{_processor()}, {datetime.date.today()}, torch {torch.__version__}: {' '.join(given.paths)}\n")
    print(
        "| environment | passed | failed | skipped | seconds | |\n| --- | ---: | ---: | ---: | ---: | --- |", flush=True
    )
    outcomes = []
    for one in chosen:
        outcomes.append(_outcome(one, given, logs))
        print(outcomes[-1].row(one.name), flush=True)
    print(f"\nLogs are in {logs}.", file=sys.stderr)
    return int(not outcomes or any(outcome.failed for outcome in outcomes))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.nightly.matrix", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("paths", nargs="*", default=["tests"], help="what to run; default: the suite")
    parser.add_argument("--only", nargs="+", metavar="PART", help="environments whose names have one of these parts")
    parser.add_argument("--list", action="store_true", help="name the environments and stop")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="where virtual environments and logs go")
    parser.add_argument("--cuda-builds", action="store_true", help="take builds of torch that draw CUDA packages too")
    return parser


def _outcome(environment: Environment, given: argparse.Namespace, logs: Path) -> Outcome:
    if environment.skipped:
        return Outcome(note=f"skipped: {environment.skipped}")
    try:
        python = interpreter_of(environment, given.scratch, cuda_builds=given.cuda_builds)
    except NotInstalledError as reason:
        return Outcome(note=f"skipped: {reason}")
    return run(python, environment, given.paths, logs)


def run(python: Path, environment: Environment, paths: Sequence[str], logs: Path) -> Outcome:
    """The suite in one environment, its output in `logs`."""
    stem = "".join(letter if letter.isalnum() else "-" for letter in environment.name)
    report, log = logs / f"{stem}.xml", logs / f"{stem}.log"
    report.unlink(missing_ok=True)
    command = [python, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}", *paths]
    variables = os.environ | {"PYTHONPATH": str(ROOT / "src")} | environment.variables
    started = time.monotonic()
    with log.open("w") as output:
        code = subprocess.run(command, cwd=ROOT, env=variables, stdout=output, stderr=subprocess.STDOUT).returncode
    return read(report, code, time.monotonic() - started)


def read(report: Path, code: int, seconds: float) -> Outcome:
    """Of pytest's report and exit code; what left no report, or none that says why it failed, has failed."""
    if not report.exists():
        return Outcome(failed=1, seconds=seconds, note=f"pytest ended with {code} and no report")
    (suite,) = ElementTree.parse(report).getroot().iter("testsuite")
    total, failures, errors, skipped = (int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped"))
    failed = failures + errors
    note = "" if (code == 0) == (failed == 0) else f"pytest ended with {code}"
    return Outcome(
        passed=total - failed - skipped,
        failed=max(failed, int(code != 0)),
        skipped=skipped,
        seconds=seconds,
        note=note,
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{named[0] if named else platform.processor()} ({torch.backends.cpu.get_cpu_capability()})"


if __name__ == "__main__":
    sys.exit(main())
