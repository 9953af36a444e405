"""Multi-token prediction, measured.

    python -m benchmarks.multi_token                        everything: a quarter of an hour on two cores
    python -m benchmarks.multi_token --only head,memory     some of it
    python -m benchmarks.multi_token --quick                tiny shapes, nothing saved: does it run?

depths   the loss of D = 1..4 further tokens beside full logits for each and the classic interface: time, peak memory
head     what the depths' rows add to the main head's time
memory   extra memory at V 128k
steps    a whole step with one module against none, over model sizes, beside the counted operations
"""

import argparse

from benchmarks.multi_token.loss import beside_logits, head_part, large_vocabulary
from benchmarks.multi_token.steps import step_time

_PARTS = {"depths": beside_logits, "head": head_part, "memory": large_vocabulary, "steps": step_time}


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=_parts, default=list(_PARTS), help="parts, by comma")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    for name in given.only:
        report = _PARTS[name](quick=given.quick)
        print(report.table(), end="\n\n", flush=True)
        if not given.quick:
            report.save()


def _parts(text: str) -> list[str]:
    parts = text.split(",")
    unknown = [part for part in parts if part not in _PARTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"must be of {', '.join(_PARTS)}, got {unknown[0]}")
    return parts


if __name__ == "__main__":
    main()
