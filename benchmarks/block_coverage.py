"""Coverage of intervals over blocks of one long text: how often the truth lies in intervals that say 95 %.

    python -m benchmarks.block_coverage             # the table of docs/seeing/evaluation.md: some minutes
    python -m benchmarks.block_coverage --quick     # does it run?

A text is made: losses of tokens of 1 to 7 bytes are 3 nats, with noise that is correlated over a few tokens (AR(1),
0.3) and a level that drifts, correlated over so many tokens as the row says. `lmhead eval A B` takes the largest block
of which there are 20: 2,048, 4,096 or 8,192 bytes.
"""

import argparse

import numpy as np
import numpy.typing as npt

from lmhead.evaluation.intervals.ratio_interval import Ratio, ratio_interval
from lmhead.evaluation.intervals.text_blocks import block_size, block_sums
from lmhead.evaluation.scores.byte_losses import ByteLosses
from lmhead.evaluation.sums.document_sums import DocumentSums

_TRUTH = 3.0  # nats per token
_SIZES = (512, 2048, 8192)


def ar1(draw: np.random.Generator, tokens: int, reach: float) -> npt.NDArray[np.float64]:
    """Noise of variance 1 whose correlation falls by e over `reach` tokens."""
    rho = float(np.exp(-1 / reach))
    steps = draw.standard_normal(tokens) * np.sqrt(1 - rho * rho)
    steps[0] = draw.standard_normal()
    made = np.empty(tokens)
    value = 0.0
    for place, step in enumerate(steps.tolist()):
        value = rho * value + step
        made[place] = value
    return made


def text(draw: np.random.Generator, tokens: int, reach: float) -> tuple[DocumentSums, ByteLosses]:
    """One text as a model sees it."""
    nll = _TRUTH + 1.5 * ar1(draw, tokens, 0.83) + 0.5 * ar1(draw, tokens, reach)
    ends = np.cumsum(draw.integers(1, 8, tokens))
    losses = ByteLosses(ends=ends, nll=nll, kinds=np.zeros(tokens, np.uint8))
    size = int(ends[-1])
    sums = DocumentSums(name="", source="", digest=None, tokens=tokens, nll=float(nll.sum()), bytes=size, hits=0)
    return sums, losses


def held(sums: DocumentSums, losses: ByteLosses, size: int) -> bool | None:
    """Whether the interval over blocks holds the truth; None: there is none."""
    blocks = block_sums(sums, losses, size=size)
    ratio = Ratio(
        numerators=np.array([block.nll for block in blocks]),
        denominators=np.array([float(block.tokens) for block in blocks]),
    )
    found = ratio_interval(ratio, resamples=999)
    return None if found.low is None or found.high is None else found.low <= _TRUTH <= found.high


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a few texts")
    times = 5 if parser.parse_args().quick else 400
    print("| tokens | correlated over | taken | " + " | ".join(f"{size:,} bytes" for size in _SIZES) + " |")
    print("|---|---|---|" + "---|" * len(_SIZES))
    for tokens, reach in ((15_000, 10), (15_000, 100), (60_000, 100), (60_000, 1000)):
        draw = np.random.default_rng(tokens + reach)
        found: dict[int, list[bool]] = {size: [] for size in _SIZES}
        for _ in range(times):
            sums, losses = text(draw, tokens, reach)
            for size in _SIZES:
                one = held(sums, losses, size)
                if one is not None:
                    found[size].append(one)
        taken = block_size([sums.bytes or 0])
        cells = [f"{np.mean(found[size]):.1%}" if found[size] else "none" for size in _SIZES]
        print(f"| {tokens:,} | {reach:,} tokens | {taken or 0:,} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
