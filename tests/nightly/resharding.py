"""Every mesh takes up what the one before it has saved, and one process what each has: prints what was not as it was.

    python -m tests.nightly.resharding                                      # minutes on 2 cores
    python -m tests.nightly.resharding --meshes 4:dp=2,shard=2 2: 4:tp=4    # ranks:mesh, in this order

Weights, their averages, moments and masters are compared bit for bit, of the models in sharded_runs.py.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.ranks.launched import on_ranks
from tests.training.checkpoints.sharded_runs import CASES, stage

from lmhead.ranks.ranks import ALONE

MESHES = [
    *("3:", "4:shard=2,tp=2", "2:cp=2", "4:", "4:dp=2,tp=2", "4:dp=4", "2:dp=2", "5:", "4:tp=4", "2:", "6:dp=3"),
    *("4:cp=2,tp=2", "3:tp=3", "8:dp=2,shard=2,tp=2"),
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Go down the list; 1 where anything was not as it was saved."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meshes", nargs="+", default=MESHES)
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stage(ALONE, folder, CASES, 0, 1)
        for step, each in enumerate(parser.parse_args(arguments).meshes, 1):
            size, _, mesh = each.partition(":")
            began = time.monotonic()
            by_rank = on_ranks(int(size), stage, folder, CASES, step, step + 1, mesh=mesh or None)
            found = {line for said in (*by_rank, stage(ALONE, folder, CASES, step + 1, step + 1)) for line in said}
            wrong += len(found)
            sys.stdout.write(f"{each}: {len(found)} differences, {time.monotonic() - began:.0f} s\n")
            sys.stdout.write("".join(f"    {line}\n" for line in sorted(found)))
            sys.stdout.flush()
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
