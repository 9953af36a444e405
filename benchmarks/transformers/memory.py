"""Peak memory of a step where the vocabulary is largest, of the allocator and of the process, in fresh interpreters."""

import torch

from benchmarks.harness import Memory, Report, mib, progress
from benchmarks.op.problem import short
from benchmarks.transformers.memory_of import memory_of
from benchmarks.transformers.models import Size, build
from benchmarks.transformers.programs import OURS, STOCK, gradient_bytes, versions

_SMALL = Size(family="qwen3", D=256, layers=4, V=151936, rows=4, length=512)
_LARGE = Size(family="qwen3", D=768, layers=12, V=151936, rows=4, length=512)
_CASES = ((_SMALL, torch.float32), (_LARGE, torch.bfloat16))
_SHARE = 0.25  # of stock's, at most


def measure(*, quick: bool) -> Report:
    """Peaks beyond model and gradients, and ours by stock's."""
    report = Report(
        name="transformers_memory",
        title="a training step: peak MiB beyond model and gradients",
        columns=(
            "model",
            "allocator: stock",
            "lmhead.patch",
            "share",
            "process: stock",
            "lmhead.patch",
            "share",
            "model and gradients",
        ),
    )
    for size, dtype in [(_SMALL.tiny(), torch.float32)] if quick else _CASES:
        progress(f"memory: {size}, {short(dtype)}")
        gradients = gradient_bytes(build(size, dtype))
        stock, ours = (_beyond(memory_of(name, size, dtype), gradients) for name in (STOCK, OURS))
        shares = {"allocator": ours.allocator / stock.allocator, "process": ours.process / stock.process}
        cells = [
            (mib(stock.allocator), mib(ours.allocator), f"{shares['allocator']:.2f}"),
            (mib(stock.process), mib(ours.process), f"{shares['process']:.2f}"),
        ]
        title = f"{size}, {short(dtype)}"
        report.rows.append((title, *cells[0], *cells[1], mib(2 * gradients)))
        report.measured[title] = {
            "gradient_bytes": gradients,
            **{name: [peak.allocator, peak.process] for name, peak in ((STOCK, stock), (OURS, ours))},
        }
        if not quick:
            for what, share in shares.items():
                report.goal(f"{title}: {what}'s peak by stock's", share, at_most=_SHARE)
    report.measured["versions"] = versions()
    return report


def _beyond(memory: Memory, gradients: int) -> Memory:
    return Memory(allocator=memory.allocator - gradients, process=memory.process - gradients)
