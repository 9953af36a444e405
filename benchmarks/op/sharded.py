"""The op over a vocabulary that is cut over ranks, beside the whole head: on one machine's cores, so overheads only.

The whole head runs in one process that has all cores; 2 and 4 ranks share the same cores, one thread each at least.
Where they are as many as the cores the arithmetic is the same and what they take more is the price of cutting: the
collectives, and that a cut head always goes by the vocabulary (8NDV/W, not 6NDV/W).
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor

import lmhead
from benchmarks.harness import Report, mib, progress
from benchmarks.op.problem import HEADLINE, Inputs, Shape, short
from benchmarks.op.ranks import RanksCase, RanksMeasured, measured_on_ranks
from lmhead.ops.sharded.payload import Payload, of_cross_entropy, of_divergence, weight_gathered

_ROUNDS = 5
_RANKS = (1, 2, 4)
_WHOLE, _BY_TILE, _DIVERGENCE = "whole head", "whole head, vocabulary_major", "divergence, whole heads"


def measure(dtype: torch.dtype, *, quick: bool) -> Report:
    """Each cut's time in units of the whole head's, its collectives' share, its bytes, a rank's peak."""
    shape = HEADLINE.tiny() if quick else HEADLINE
    ranks = _RANKS[:2] if quick else _RANKS
    progress(f"sharded, {short(dtype)}: {shape}")
    cases = [
        RanksCase(name=_WHOLE, ranks=1, make=partial(_whole, shape, dtype, None)),
        RanksCase(name=_BY_TILE, ranks=1, make=partial(_whole, shape, dtype, "vocabulary_major")),
        *(RanksCase(name=_of(size), ranks=size, make=partial(_cut, shape, dtype)) for size in ranks),
        RanksCase(name=_DIVERGENCE, ranks=1, make=partial(_divergence, shape, dtype, cut=False)),
        *(
            RanksCase(name=_of(size, "divergence, "), ranks=size, make=partial(_divergence, shape, dtype, cut=True))
            for size in ranks
        ),
    ]
    return _report(measured_on_ranks(cases, rounds=2 if quick else _ROUNDS), cases, shape, dtype)


def _of(ranks: int, of: str = "") -> str:
    return f"{of}{ranks} {'rank' if ranks == 1 else 'ranks'}"


def _whole(shape: Shape, dtype: torch.dtype, backend: str | None, group: dist.ProcessGroup) -> Callable[[], object]:
    inputs = Inputs(shape, dtype)

    def loss() -> Tensor:
        return lmhead.linear_cross_entropy(inputs.hidden, inputs.weight, inputs.targets, backend=backend)

    return lambda: inputs.step(loss)


def _cut(shape: Shape, dtype: torch.dtype, group: dist.ProcessGroup) -> Callable[[], object]:
    inputs = Inputs(shape, dtype)
    shard = _keep_own_rows(inputs, group)

    def loss() -> Tensor:
        return lmhead.linear_cross_entropy(inputs.hidden, inputs.weight, inputs.targets, shard=shard)

    return lambda: inputs.step(loss)


def _divergence(shape: Shape, dtype: torch.dtype, group: dist.ProcessGroup, *, cut: bool) -> Callable[[], object]:
    """Reverse KL, whose gradient takes a collective more; the teacher is of the same size."""
    inputs = Inputs(shape, dtype)
    shard = _keep_own_rows(inputs, group) if cut else None
    teacher_hidden = inputs.hidden.detach() + 0.1
    teacher_weight = inputs.weight.detach().clone()

    def loss() -> Tensor:
        return lmhead.linear_divergence(
            inputs.hidden, inputs.weight, teacher_hidden, teacher_weight, kind="reverse_kl", shard=shard
        )

    return lambda: inputs.step(loss)


def _keep_own_rows(inputs: Inputs, group: dist.ProcessGroup) -> lmhead.VocabularyShard:
    own = torch.chunk(inputs.weight.detach(), dist.get_world_size(group))[dist.get_rank(group)]
    inputs.weight = own.clone().requires_grad_()
    return lmhead.VocabularyShard.of(len(own), group)


def _report(made: RanksMeasured, cases: list[RanksCase], shape: Shape, dtype: torch.dtype) -> Report:
    timings, itemsize = made.timings, dtype.itemsize
    report = Report(
        name=f"op_sharded_{short(dtype)}",
        title=f"a head cut over ranks on the same cores: {shape}, {short(dtype)}",
        columns=(
            "",
            "seconds",
            "x whole",
            "in collectives, %",
            "MiB a rank sends",
            "peak MiB of a rank",
            "of the whole's",
        ),
    )
    for case in cases:
        name, beside = case.name, _DIVERGENCE if case.name.startswith("divergence") else _WHOLE
        cut = "rank" in name
        sent = _payload(name, shape, itemsize).sent(case.ranks) if cut else 0.0
        peak = max(made.peaks[name])
        report.rows.append(
            (
                name,
                f"{timings.median(name):.3f}",
                f"{timings.ratio(name, beside):.2f}",
                f"{100 * made.in_collectives[name]:.1f}" if cut else "",
                f"{sent / 2**20:.2f}" if cut else "",
                mib(peak),
                f"{peak / max(made.peaks[beside]):.2f}",
            )
        )
    weight = weight_gathered(shape.V, shape.D, itemsize=itemsize, ranks=2) / 2**20
    report.notes += [
        "Ranks share the cores of one machine and talk over its loopback: the figures are of overheads, not of speed. "
        f"{timings.note()}",
        "A collective's time is that of waiting for the slowest rank too. The peak is the allocator's, gradients "
        "included. Bytes are counted by lmhead.ops.sharded.payload, as a ring sends them; to gather the weight and "
        f"scatter its gradient would be {weight:.0f} MiB for 2 ranks.",
    ]
    report.measured = {
        "seconds": timings.seconds,
        "share_of_cores_taken_by_others": timings.disturbed,
        "share_in_collectives": made.in_collectives,
        "peak_bytes_of_each_rank": {name: list(peaks) for name, peaks in made.peaks.items()},
    }
    return report


def _payload(name: str, shape: Shape, itemsize: int) -> Payload:
    if name.startswith("divergence"):
        return of_divergence(shape.N, shape.D, itemsize=itemsize, kind="reverse_kl")
    return of_cross_entropy(shape.N, shape.D, itemsize=itemsize)
