"""The nightly command: trials spread over injuries and subjects; a table, and status 1 where anything was lost."""

import argparse
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path

from tests.nightly.faults.injuries import INJURIES, NEED_MOUNTS
from tests.nightly.faults.subjects import SUBJECTS, Undisturbed, undisturbed
from tests.nightly.faults.trial import Verdict, run_trial


def main() -> int:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.nightly.faults", description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="trials at once")
    parser.add_argument("--injuries", nargs="+", default=list(INJURIES), choices=list(INJURIES), metavar="INJURY")
    parser.add_argument("--subjects", nargs="+", default=[each.name for each in SUBJECTS], metavar="SUBJECT")
    given = parser.parse_args()
    injuries = [name for name in given.injuries if name not in NEED_MOUNTS or _can_mount()]
    for name in set(given.injuries) - set(injuries):
        print(f"left out: {name} (only root can mount)")
    folder = Path(tempfile.mkdtemp(prefix="faults_"))
    wholes = {each.name: undisturbed(each, folder / each.name) for each in SUBJECTS if each.name in given.subjects}
    verdicts = []
    with ThreadPoolExecutor(given.workers) as pool:
        plan = list(islice(_plan(injuries, list(wholes.values()), given.seed), given.trials))
        waiting = [
            pool.submit(run_trial, injury, whole, seed, folder / f"trial-{number}")
            for number, (injury, whole, seed) in enumerate(plan)
        ]
        for job in waiting:
            verdicts.append(job.result())
            _tell(verdicts[-1])
    _table(verdicts)
    bad = sum(verdict.bad for verdict in verdicts)
    if bad:
        print(f"kept for a look: {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if bad else 0


def _plan(injuries: list[str], wholes: list[Undisturbed], seed: int) -> Iterator[tuple[str, Undisturbed, int]]:
    """Injuries in turn, each with a subject and a seed of its own, without end."""
    draw = random.Random(seed)
    for injury in cycle(injuries):
        yield injury, draw.choice(wholes), draw.randrange(2**32)


def _can_mount() -> bool:
    return sys.platform == "linux" and os.geteuid() == 0 and shutil.which("mount") is not None


def _tell(verdict: Verdict) -> None:
    if verdict.bad:
        print(f"BAD {verdict.injury}, {verdict.subject}, seed {verdict.seed}: {verdict.what}: {verdict.outcome}")
        for line in (*verdict.wrong, *verdict.said):
            print(f"    {line[:300]}")


def _table(verdicts: list[Verdict]) -> None:
    print(f"{'injury':<16}{'trials':>8}{'as if nothing':>16}{'told':>8}{'lost':>8}{'tracebacks':>12}{'other':>8}")
    for name in [*dict.fromkeys(verdict.injury for verdict in verdicts), "all"]:
        of = [verdict for verdict in verdicts if name in (verdict.injury, "all")]
        outcomes = Counter(each.outcome for each in of)
        tracebacks = sum("traceback" in each.wrong for each in of)
        other = sum(any(one != "traceback" for one in each.wrong) for each in of)
        print(
            f"{name:<16}{len(of):>8}{outcomes['same']:>16}{outcomes['told']:>8}{outcomes['lost']:>8}"
            f"{tracebacks:>12}{other:>8}"
        )


if __name__ == "__main__":
    sys.exit(main())
