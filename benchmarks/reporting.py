"""What the report of a run costs: its share of a run, and how large its page is for a log of any length.

    python -m benchmarks.reporting             a run of 200 steps, and logs of 600 to 1,000,000 steps: two minutes
    python -m benchmarks.reporting --quick     a run of 20 steps, logs of 600 and 10,000 steps: does it run?

The share is of the seconds of this process: those in which the report is drawn, at five evaluations and at the end, by
those of the whole run. Beside it what a report costs when a log is read anew, and when 500 steps are new.
"""

import argparse
import contextlib
import io
import json
import math
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from lmhead.cli.main import main as lmhead
from lmhead.report.run_report import RunReport

_EVERY: Final = 500  # steps between two evaluations of the logs
_MODEL: Final = ("--embed-dim", "128", "--num-layers", "2", "--max-seq-len", "128", "--vocab-size", "1024")


def log_lines(steps: int) -> Iterator[dict[str, Any]]:
    """A log as `lmhead train` writes it: each step, and at every evaluation its classes and three samples."""
    chance = random.Random(0)
    for step in range(1, steps + 1):
        loss = 2.3 + 6 * math.exp(-step / 2000) + chance.gauss(0, 0.1)
        yield {
            "step": step,
            "loss": loss,
            "grad_norm": 0.4 + 0.1 * chance.random(),
            "rate": 1 - step / (2 * steps),
            "tokens": 65_536 * step,
            "seconds": round(0.31 * step + 0.01 * chance.random(), 3),
        }
        if step % _EVERY == 0:
            figures = {"bits_per_byte": loss / 2.3, "nll": loss, "perplexity": math.exp(loss), "accuracy": 0.4}
            classes = {
                kind: {f"{kind} {number}": [loss + number / 9, 1000] for number in range(6)}
                for kind in ("position", "frequency", "source")
            }
            yield {"step": step, "evaluation": "quick", **figures, "tokens": 16_384, "classes": classes}
            for prompt in ("def a", "class B", "import c"):
                yield {"step": step, "prompt": prompt, "sample": prompt + " of what is written" * 20}


def log_figures(steps: int) -> dict[str, float]:
    """Of one log: processor seconds to read and draw it, and to draw it again with 500 new steps; the page's MB."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        with (run / "log.jsonl").open("w") as log:
            for line in log_lines(steps):
                log.write(json.dumps(line) + "\n")
        report = RunReport(run)
        whole = _seconds(report.write)
        with (run / "log.jsonl").open("a") as log:
            for line in log_lines(_EVERY):
                log.write(json.dumps(line | {"step": line["step"] + steps}) + "\n")
        again = _seconds(report.write)
        size = (run / "report.html").stat().st_size / 1e6
    return {"first": whole, "again": again, "MB": size}


def share_of_a_run(steps: int) -> tuple[float, float, int]:
    """(processor seconds of drawing, of the whole run, how often it was drawn)."""
    spent: list[float] = []
    real = RunReport.write

    def timed(self: RunReport, file: Path | None = None) -> Path:
        made: list[Path] = []
        spent.append(_seconds(lambda: made.append(real(self, file))))
        return made[0]

    RunReport.write = timed  # type: ignore[method-assign]
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            words = ["--out", f"{folder}/run", "--steps", str(steps), "--device", "cpu", *_MODEL]
            every = ["--eval-every", str(steps // 5), "--sample-every", str(steps // 5)]
            whole = _seconds(lambda: lmhead(["train", *words, *every]))
    finally:
        RunReport.write = real  # type: ignore[method-assign]
    return sum(spent), whole, len(spent)


def _seconds(function: Callable[[], object]) -> float:
    """Of this process, all threads: other programs on the machine do not count."""
    began = time.process_time()
    function()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="does it run?")
    quick = parser.parse_args().quick
    print("steps logged   first s   again s   page MB")
    for steps in (600, 10_000) if quick else (600, 10_000, 100_000, 1_000_000):
        told = log_figures(steps)
        print(f"{steps:>12,} {told['first']:>9.2f} {told['again']:>9.3f} {told['MB']:>9.2f}")
    drawing, whole, times = share_of_a_run(20 if quick else 200)
    print(f"a run of {whole:.1f} s drew its report {times} times in {drawing:.3f} s: {drawing / whole:.2%} of it")


if __name__ == "__main__":
    main()
