"""The nightly command: types over processes; what each became of, and status 1 where a bar is missed."""

import argparse
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import transformers
from tests.models.transformers.causal_lms.build import CLASSES
from tests.nightly.causal_lms.judge import judge
from tests.nightly.causal_lms.table import table
from tests.nightly.causal_lms.verdict import Verdict, count, summary
from tests.nightly.environments import Environment
from tests.nightly.install import ROOT, NotInstalledError, interpreter_of

BARS = {"5.23.0": (186, 183), "5.24.0": (193, 189), "4.57.6": (134, 129), "4.56.2": (127, 122)}  # (built, at parity)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where every type is at parity, or refused or not built as expected; 1 otherwise."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.transformers:
        return _elsewhere(given)
    if unknown := set(given.types) - CLASSES.keys():
        parser.error(f"transformers {transformers.__version__} has no {', '.join(sorted(unknown))}")
    verdicts = []
    for verdict in _judged(given.types or list(CLASSES), given.workers):
        verdicts.append(verdict)
        _tell(verdict)
    print(summary(verdicts))
    if given.table:
        given.table.write_text(table(verdicts), encoding="utf-8")
    bad = any(verdict.bad for verdict in verdicts)
    return int(bad or (not given.types and not _reaches_the_bars(verdicts)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.nightly.causal_lms", description="Patch every causal LM.")
    parser.add_argument("types", nargs="*", metavar="TYPE", help="model types; default: all")
    parser.add_argument("--workers", type=int, default=2, help="processes at once")
    parser.add_argument("--table", type=Path, metavar="FILE", help="write a page with all that was found")
    parser.add_argument("--transformers", metavar="VERSION", help="another one than the installed")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="where that one is installed")
    return parser


def _elsewhere(given: argparse.Namespace) -> int:
    """The same in an environment of its own."""
    version = given.transformers
    there = Environment(name=f"transformers {version}", transformers=version)
    try:
        python = interpreter_of(there, given.scratch, cuda_builds=False)
    except NotInstalledError as reason:
        print(f"transformers {version} cannot be had: {reason}")
        return 1
    words = [*given.types, "--workers", str(given.workers), *(["--table", str(given.table)] if given.table else [])]
    variables = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.run([python, "-m", "tests.nightly.causal_lms", *words], cwd=ROOT, env=variables).returncode


def _judged(types: Sequence[str], workers: int) -> Iterator[Verdict]:
    """In the order of the types; what is raised is a verdict too."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["HF_HUB_OFFLINE"] = "1"
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for model_type, job in [(model_type, pool.submit(judge, model_type)) for model_type in types]:
            if (error := job.exception()) is None:
                yield job.result()
            else:
                said = f"{type(error).__name__}: {error}"
                yield Verdict(model_type=model_type, class_name=CLASSES[model_type], outcome="raised", said=said)


def _tell(verdict: Verdict) -> None:
    if verdict.outcome != "parity":
        print(f"{'BAD ' * verdict.bad}{verdict.model_type}: {verdict.outcome}: {verdict.said}", flush=True)


def _reaches_the_bars(verdicts: Sequence[Verdict]) -> bool:
    built, parity = BARS.get(transformers.__version__, (0, 0))
    return len(verdicts) - count(verdicts, "not built") >= built and count(verdicts, "parity") >= parity


if __name__ == "__main__":
    sys.exit(main())
