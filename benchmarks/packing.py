"""How full rows are, and how long it takes to find out which documents share one.

    python -m benchmarks.packing                   a table, and JSON in benchmarks/results/packing.json
    python -m benchmarks.packing --quick           200 documents: does it run?

20,000 lengths of each of four distributions (tokens; cut to the row's length), rows of 2048, 4096 and 8192 tokens:

    short chats    lognormal, median 245, sigma 0.8
    long           lognormal, median 1480, sigma 0.9
    bimodal        70 % lognormal, median 148, sigma 0.5; 30 % lognormal, median 2981, sigma 0.35
    uniform        1 to the row's length

`most` is what no packing can exceed: useful tokens by the lower bound L2 on the number of rows (Martello, Toth 1990).
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.harness import Case, Report, Timings, interleave
from lmhead.labels.packing.best_fit import best_fit_decreasing
from lmhead.labels.packing.buffered_best_fit import buffered_best_fit

Lengths = npt.NDArray[np.int64]
_ROWS = (2048, 4096, 8192)
_BUFFERS = (100, 1000)
_BATCH = 8  # documents that are padded to their longest


def _short_chats(random: np.random.Generator, count: int, length: int) -> npt.NDArray[np.float64]:
    return random.lognormal(5.5, 0.8, count)


def _long(random: np.random.Generator, count: int, length: int) -> npt.NDArray[np.float64]:
    return random.lognormal(7.3, 0.9, count)


def _bimodal(random: np.random.Generator, count: int, length: int) -> npt.NDArray[np.float64]:
    short, long = random.lognormal(5.0, 0.5, count), random.lognormal(8.0, 0.35, count)
    return np.where(random.random(count) < 0.7, short, long)


def _uniform(random: np.random.Generator, count: int, length: int) -> npt.NDArray[np.float64]:
    return random.integers(1, length + 1, count).astype(np.float64)


DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, int, int], npt.NDArray[np.float64]]] = {
    "short chats": _short_chats,
    "long": _long,
    "bimodal": _bimodal,
    "uniform": _uniform,
}


def draw(name: str, *, length: int, count: int = 20_000) -> Lengths:
    """Lengths in tokens, each in [1, `length`]; the same for the same arguments."""
    random = np.random.default_rng((list(DISTRIBUTIONS).index(name), length))
    return DISTRIBUTIONS[name](random, count, length).astype(np.int64).clip(1, length)


def fewest_rows(lengths: Lengths, length: int) -> int:
    """L2, a lower bound on the rows of any packing.

    For a threshold K: documents longer than length - K share a row with none of K or more; those longer than half a row
    have a row each; what is left in those rows, and new ones, has to hold the rest that is at least K.
    """
    rising = np.sort(lengths)
    sums = np.concatenate([[0], np.cumsum(rising)])
    half = int(np.searchsorted(rising, length // 2, side="right"))
    best = 0
    for threshold in [0, *np.unique(rising[:half]).tolist()]:
        alone = int(np.searchsorted(rising, length - threshold, side="right"))
        least = int(np.searchsorted(rising, threshold, side="left"))
        room = (alone - half) * length - int(sums[alone] - sums[half])
        rest = int(sums[half] - sums[least]) - room
        best = max(best, len(rising) - half + max(0, -(-rest // length)))
    return best


def next_fit_rows(lengths: Lengths, length: int) -> int:
    """Rows when each document goes into the last row, or a new one."""
    rows, space = 0, 0
    for size in lengths.tolist():
        if size > space:
            rows, space = rows + 1, length
        space -= size
    return rows


def padded_tokens(lengths: Lengths) -> int:
    """Positions when documents are taken as they come, in batches padded to their longest."""
    return sum(int(batch.max()) * len(batch) for batch in np.split(lengths, range(_BATCH, len(lengths), _BATCH)))


def _streamed_rows(documents: Sequence[range], length: int, buffer: int) -> int:
    return sum(1 for _ in buffered_best_fit(documents, length=length, buffer=buffer))


def measure(*, count: int, rounds: int) -> Report:
    """The table and the goals."""
    report = Report(
        name="packing",
        title=f"packing, {count:,} documents: useful tokens, %",
        columns=(
            "documents", "row", "best-fit decreasing", "most", *(f"buffer of {size}" for size in _BUFFERS),
            "next-fit", f"padding, batches of {_BATCH}", "ms", f"ms, buffer of {_BUFFERS[-1]}",
        ),
    )  # fmt: skip
    shares, within, slowest = [], [], 0.0
    for name in DISTRIBUTIONS:
        for length in _ROWS:
            lengths = draw(name, length=length, count=count)
            timings = _time(lengths, length, rounds, f"{name}, {length}: ")
            figures = _figures(lengths, length)
            slowest = max(slowest, timings.median("decreasing"))
            within.append(figures["decreasing"] / figures["most"])
            shares.append(figures["decreasing"] if figures["most"] >= 99.5 else 100.0)
            seconds = [f"{1000 * timings.median(case):.1f}" for case in ("decreasing", "buffered")]
            report.rows.append((name, str(length), *(f"{value:.2f}" for value in figures.values()), *seconds))
            report.measured[f"{name}, {length}"] = {**figures, "seconds": timings.seconds}
    report.goal("useful tokens, %, the least where any packing can reach 99.5", min(shares), at_least=99.5)
    report.goal("the same in % of the most possible, the least of all", 100 * min(within), at_least=99.5)
    report.goal("best-fit decreasing, ms, the slowest", 1000 * slowest, at_most=50)
    return report


def _time(lengths: Lengths, length: int, rounds: int, label: str) -> Timings:
    documents = [range(size) for size in lengths.tolist()]
    cases = [
        Case(name="decreasing", run=partial(best_fit_decreasing, lengths, length=length)),
        Case(name="buffered", run=partial(_streamed_rows, documents, length, _BUFFERS[-1])),
    ]
    return interleave(cases, rounds=rounds, label=label)


def _figures(lengths: Lengths, length: int) -> dict[str, float]:
    """Useful tokens in % of all positions, for each way; most: at best."""
    documents = [range(size) for size in lengths.tolist()]
    rows = {
        "decreasing": len(best_fit_decreasing(lengths, length=length)),
        "most": fewest_rows(lengths, length),
        **{f"buffer of {size}": _streamed_rows(documents, length, size) for size in _BUFFERS},
        "next-fit": next_fit_rows(lengths, length),
    }
    tokens = int(lengths.sum())
    shares = {way: 100 * tokens / (count * length) for way, count in rows.items()}
    return {**shares, "padding": 100 * tokens / padded_tokens(lengths)}


def main() -> None:
    """Parse the command line, run, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="200 documents, nothing saved: does it run?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="instead of benchmarks/results/packing.json")
    arguments = parser.parse_args()
    report = measure(count=200 if arguments.quick else 20_000, rounds=1 if arguments.quick else arguments.rounds)
    print(report.table(), flush=True)
    if not arguments.quick:
        print(f"\n{report.save(arguments.json)}")


if __name__ == "__main__":
    main()
