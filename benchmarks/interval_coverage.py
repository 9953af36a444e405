"""Coverage of confidence intervals of bits per byte: how often the truth lies in intervals that say 95 %.

    python -m benchmarks.interval_coverage                  # the table of docs/seeing/evaluation.md: 15 minutes
    python -m benchmarks.interval_coverage --quick          # does it run?
    python -m benchmarks.interval_coverage --widths         # Student's t against the bootstrap, of many documents

Documents are made: lengths are log-normal (sigma 1: as web pages have; 1.5: books among snippets), longer ones are
easier, each has a level of its own (skewed), and tokens within one are correlated (AR(1), 0.3; what is drawn is their
sum, exactly). "level" is of one model, "difference" the paired difference of two. The truth is
known in closed form. Beside each coverage stands the median width.
"""

import argparse
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from lmhead.evaluation.intervals.ratio_interval import Ratio, ratio_interval
from lmhead.evaluation.intervals.resampled_sums import resampled_sums
from lmhead.evaluation.intervals.student import student_quantile

Column = npt.NDArray[np.float64]
METHODS = ("studentised", "percentile", "BCa", "linear, Student's t", "tokens as units")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Where documents come from, in nats per token."""

    name: str
    sigma: float  # of the logarithm of the lengths
    mean: float
    easier: float  # by which a document is, that is one sigma longer
    own: float  # standard deviation of a document's own level
    token: float  # standard deviation of a token around it

    bytes_per_token = 4.2
    correlation = 0.3  # of neighbouring tokens

    @property
    def truth(self) -> float:
        """Nats per byte: a document counts by its length, which log-normal lengths shift by sigma."""
        return (self.mean - self.easier * self.sigma) / self.bytes_per_token

    def documents(self, n: int, rng: np.random.Generator) -> tuple[Column, Column, float]:
        """nll and bytes of n documents, and the standard error that tokens as units would give."""
        z = rng.standard_normal(n)
        tokens = np.exp(5.5 + self.sigma * z)
        level = self.mean - self.easier * z + self.own * (rng.standard_exponential(n) - 1)
        inflation = (1 + self.correlation) / (1 - self.correlation)
        nll = tokens * level + self.token * np.sqrt(tokens * inflation) * rng.standard_normal(n)
        size = tokens * self.bytes_per_token * np.exp(0.1 * rng.standard_normal(n) - 0.005)
        of_token = tokens @ (level**2 + self.token**2) / tokens.sum() - (nll.sum() / tokens.sum()) ** 2
        return nll, size, float(np.sqrt(of_token * tokens.sum()) / size.sum())


def worlds() -> list[World]:
    """The four of the table."""
    level = {"mean": 3.0, "easier": 0.2, "own": 0.5, "token": 2.5}
    difference = {"mean": -0.05, "easier": 0.02, "own": 0.1, "token": 0.6}
    return [
        World(name=name, sigma=sigma, **made)
        for sigma in (1.0, 1.5)
        for name, made in (("level", level), ("difference", difference))
    ]


def intervals(nll: Column, size: Column, of_tokens: float, resamples: int) -> dict[str, tuple[float, float]]:
    """One by each method."""
    n, value = len(nll), float(nll.sum() / size.sum())
    made = ratio_interval(Ratio(numerators=nll, denominators=size), resamples=resamples)
    assert made.low is not None
    assert made.high is not None
    sums = resampled_sums(np.stack([nll, size], axis=1), resamples=resamples, seed=1)
    drawn = sums[:, 0] / sums[:, 1]
    low, high = np.quantile(drawn, [0.025, 0.975])
    error = float(np.sqrt(np.sum((nll - value * size) ** 2) * n / (n - 1)) / size.sum())
    half = student_quantile(0.95, n - 1) * error
    return {
        "studentised": (made.low, made.high),
        "percentile": (float(low), float(high)),
        "BCa": accelerated(nll, size, drawn),
        "linear, Student's t": (value - half, value + half),
        "tokens as units": (value - 1.96 * of_tokens, value + 1.96 * of_tokens),
    }


def accelerated(nll: Column, size: Column, drawn: Column) -> tuple[float, float]:
    """Bias-corrected and accelerated (Efron 1987)."""
    normal, value = NormalDist(), nll.sum() / size.sum()
    share = float(np.clip(np.mean(drawn < value), 1 / len(drawn), 1 - 1 / len(drawn)))
    bias = normal.inv_cdf(share)
    left_out = (nll.sum() - nll) / (size.sum() - size)
    off = left_out.mean() - left_out
    acceleration = np.sum(off**3) / (6 * np.sum(off**2) ** 1.5)
    z = [bias + normal.inv_cdf(tail) for tail in (0.025, 0.975)]
    low, high = np.quantile(drawn, [normal.cdf(bias + each / (1 - acceleration * each)) for each in z])
    return float(low), float(high)


def coverage(world: World, n: int, worlds_drawn: int, resamples: int) -> str:
    """A row of the table."""
    rng = np.random.default_rng(n)
    held = dict.fromkeys(METHODS, 0)
    widths: dict[str, list[float]] = {name: [] for name in METHODS}
    for _ in range(worlds_drawn):
        for name, (low, high) in intervals(*world.documents(n, rng), resamples).items():
            held[name] += low <= world.truth <= high
            widths[name].append(high - low)
    cells = [f"{100 * held[name] / worlds_drawn:.1f} % ({np.median(widths[name]):.4f})" for name in METHODS]
    return f"| {world.name} | {world.sigma} | {n} | " + " | ".join(cells) + " |"


def widths(world: World, n: int, times: int) -> str:
    """How far the width of Student's t interval is from the bootstrap's, of n documents."""
    rng = np.random.default_rng(n)
    ratios = []
    for _ in range(times):
        nll, size, _ = world.documents(n, rng)
        made = intervals_of_many(nll, size)
        ratios.append(made)
    return f"| {world.name} | {world.sigma} | {n} | {np.median(ratios):.4f} | {min(ratios):.4f} to {max(ratios):.4f} |"


def intervals_of_many(nll: Column, size: Column, resamples: int = 10_000) -> float:
    """Width of Student's t interval over the studentised bootstrap's."""
    e = nll - nll.sum() / size.sum() * size
    sums = resampled_sums(np.stack([e, size, e * e, e * size, size * size], axis=1), resamples=resamples, seed=0)
    off = sums[:, 0] / sums[:, 1]
    t = np.abs(sums[:, 0]) / np.sqrt(sums[:, 2] - 2 * off * sums[:, 3] + off**2 * sums[:, 4])
    return float(student_quantile(0.95, len(nll) - 1) / np.quantile(t, 0.95))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a few documents, a few times")
    parser.add_argument("--widths", action="store_true", help="Student's t against the bootstrap, of many documents")
    options = parser.parse_args()
    if options.widths:
        print("| of | sigma | documents | Student's t / bootstrap, median | range |\n|---|---|---|---|---|")
        for world in worlds():
            for n in (1000,) if options.quick else (1000, 10_000, 30_000):
                print(widths(world, n, 2 if options.quick else 5), flush=True)
        return
    print(f"| of | sigma | documents | {' | '.join(METHODS)} |\n|{'---|' * (3 + len(METHODS))}", flush=True)
    for n, times in ((20, 20),) if options.quick else ((6, 2000), (20, 2000), (50, 2000), (200, 1500), (1000, 1000)):
        for world in worlds():
            print(coverage(world, n, times, 999), flush=True)


if __name__ == "__main__":
    main()
