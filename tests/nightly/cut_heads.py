"""Heads cut over ranks beside the whole ones, drawn problem by drawn problem: exits with 1 where a number differs.

    python -m tests.nightly.cut_heads --problems 2000

Two, three and four processes on the CPU (gloo), in float64; the suite draws some dozens of the same kind.
"""

import argparse
import sys

from tests.ops.sharded.cut_problems import worst_of_random_problems
from tests.ranks.launched import on_ranks

_EXACT = 1e-11  # a log p near 0 has few digits
_AT_ONCE = 100  # problems a launch


def main() -> int:
    """Draw them; tell the largest error of each output, and of which problem."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=2000, help="of each number of ranks")
    problems = parser.parse_args().problems
    wrong = False
    for size in (2, 3, 4):
        worst: dict[str, tuple[float, str]] = {}
        for first in range(0, problems, _AT_ONCE):
            count = min(_AT_ONCE, problems - first)
            for of_rank in on_ranks(size, worst_of_random_problems, 100_000 * size + first, count, timeout=600):
                for name, found in of_rank.items():
                    worst[name] = max(worst.get(name, found), found)
        for name, (error, problem) in sorted(worst.items()):
            print(f"{size} ranks  {name:14} {error:.1e}  {problem}", flush=True)
            wrong |= error > _EXACT
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
