"""A patched transformers model beside stock, TRL's fused head and Liger's, in time, memory and losses.

    python -m benchmarks.transformers                      everything; saved in benchmarks/results/: 6 minutes
    python -m benchmarks.transformers --only proof,curves  some of it
    python -m benchmarks.transformers --quick              tiny models, nothing saved: does it run?

The parts, in this order: steps, memory, proof, curves. The tables go to stdout, progress to stderr. It needs the `hf`
extra, and for the comparison trl and liger-kernel.
"""

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import RESULTS, Report
from benchmarks.transformers import curves, memory, proof, steps

_MEASURE: dict[str, Callable[..., Report]] = {
    "steps": steps.measure,
    "memory": memory.measure,
    "proof": proof.measure,
    "curves": curves.measure,
}


def main() -> None:
    """Parse the command line, measure, print, save."""
    arguments = _parser().parse_args()
    folder: Path | None = arguments.json or (None if arguments.quick else RESULTS)
    warnings.filterwarnings("ignore", category=FutureWarning)  # of peers
    for part in arguments.only:
        report = _MEASURE[part](quick=arguments.quick)
        print(report.table(), flush=True)
        print(f"\n{report.save(folder / f'{report.name}.json')}\n" if folder else "", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.transformers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parts = tuple(_MEASURE)
    parser.add_argument("--only", type=_parts, default=parts, metavar="PART,...", help=f"of {','.join(parts)}")
    parser.add_argument("--quick", action="store_true", help="tiny models, nothing saved")
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="where JSON goes, instead of benchmarks/results")
    return parser


def _parts(text: str) -> tuple[str, ...]:
    wanted = text.split(",")
    unknown = [part for part in wanted if part not in _MEASURE]
    if unknown:
        raise argparse.ArgumentTypeError(f"must be of {', '.join(_MEASURE)}, got {', '.join(unknown)}")
    return tuple(part for part in _MEASURE if part in wanted)


if __name__ == "__main__":
    main()
