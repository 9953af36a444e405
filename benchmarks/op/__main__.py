"""linear_cross_entropy against its matrix products and against its peers.

    python -m benchmarks.op                        everything, in both dtypes; saved in benchmarks/results/
    python -m benchmarks.op --only grid,plots      some of it
    python -m benchmarks.op --dtype bfloat16       one dtype
    python -m benchmarks.op --quick                tiny shapes, nothing compiled, nothing saved: does it run?

The parts, in this order: grid, cases, top, memory, growth, peers, sharded, plots. The tables go to stdout, progress to
stderr.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import RESULTS, Report
from benchmarks.op import cases, grid, growth, headline, memory, plots, sharded, top_tokens
from benchmarks.op.problem import DTYPES

_MEASURE: dict[str, Callable[..., Report]] = {
    "grid": grid.measure,
    "cases": cases.measure,
    "top": top_tokens.measure,
    "memory": memory.measure,
    "growth": growth.measure,
    "peers": headline.measure,
    "sharded": sharded.measure,
}
_PARTS = (*_MEASURE, "plots")


def main() -> None:
    """Parse the command line, measure, print, save, draw."""
    arguments = _parser().parse_args()
    folder: Path | None = arguments.json or (None if arguments.quick else RESULTS)
    drawing = folder if "plots" in arguments.only else None
    if drawing:
        plots.require_matplotlib()  # before the measuring, not after it
    for dtype in [arguments.dtype] if arguments.dtype else list(DTYPES):
        for part in arguments.only:
            if part != "plots":
                _show(_MEASURE[part](DTYPES[dtype], quick=arguments.quick), folder)
    if drawing:
        for path in plots.draw(drawing):
            print(path)


def _show(report: Report, folder: Path | None) -> None:
    print(report.table(), flush=True)
    print(f"\n{report.save(folder / f'{report.name}.json')}\n" if folder else "", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.op", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dtype", choices=list(DTYPES), help="default: both")
    parser.add_argument("--only", type=_parts, default=_PARTS, metavar="PART,...", help=f"of {','.join(_PARTS)}")
    parser.add_argument("--quick", action="store_true", help="tiny shapes, nothing compiled, nothing saved")
    parser.add_argument(
        "--json", type=Path, metavar="FOLDER", help="where JSON and plots go, instead of benchmarks/results"
    )
    return parser


def _parts(text: str) -> tuple[str, ...]:
    wanted = text.split(",")
    unknown = [part for part in wanted if part not in _PARTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"must be of {', '.join(_PARTS)}, got {', '.join(unknown)}")
    return tuple(part for part in _PARTS if part in wanted)


if __name__ == "__main__":
    main()
