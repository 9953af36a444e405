"""What `lmhead estimate` says of several ranks beside what they do: bytes sent and memory held, on 2 and 4 processes.

    python -m benchmarks.ranks.estimated          a table, and JSON in benchmarks/results/ranks_estimated.json

Each case is one model under FSDP2 on gloo, after a first step. Sent: by the sizes of the tensors that the collectives
are given, as a ring moves them; and as the kernel counts it on the TCP connections, where gloo's reduce-scatter, an
all-reduce, sends twice. Memory: the bytes of parameters, gradients and AdamW's states; and the peak of a step, theirs
and torch's allocator's.
"""

import argparse
import multiprocessing
import os
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from benchmarks.harness import Report, allocator_peak, progress
from benchmarks.ranks.wire import bytes_sent, counted_collectives
from lmhead.models.config import GPTConfig
from lmhead.models.device import autocast
from lmhead.models.gpt import GPT
from lmhead.ranks.mesh import MeshPlan
from lmhead.ranks.ranks import Ranks
from lmhead.ranks.sharding import shard
from lmhead.scaling.hardware import hardware_named
from lmhead.scaling.scaling_plan import PlannedDecoder, ScalingPlan
from lmhead.training.config.optimizer_config import OptimizerConfig
from lmhead.training.optimizers.optimizer import Optimizers

_MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One run to be measured."""

    name: str
    ranks: int
    mesh: str
    sizes: dict[str, Any]
    rows: int  # of a rank
    accumulate: int = 1
    bfloat16: bool = False
    optimizer: str = "adamw"

    @property
    def plan(self) -> ScalingPlan:
        """What is estimated of it."""
        model = PlannedDecoder.of(
            GPTConfig(**self.sizes), optimizer=self.optimizer, compute_bytes=2 if self.bfloat16 else 4
        )
        mesh = MeshPlan.of(self.mesh, self.ranks)
        return ScalingPlan(
            model=model,
            mesh=mesh,
            rows=self.rows * mesh.readers,
            accumulate=self.accumulate,
            hardware=hardware_named("cpu"),
            per_host=self.ranks,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Bytes of the first rank, in a step."""

    sent: float  # by what the collectives were given, as a ring sends it
    wire: float  # as the kernel counted it
    lasting: int  # parameters, gradients, optimiser states
    peak: int  # with all that a step makes


_SMALL = {
    "vocab_size": 2048,
    "embed_dim": 256,
    "num_heads": 4,
    "num_layers": 6,
    "max_seq_len": 128,
    "tie_weights": False,
}
_WIDE = {"vocab_size": 8192, "embed_dim": 512, "num_heads": 8, "num_layers": 4, "max_seq_len": 128}
_COURSE = {"vocab_size": 1003, "embed_dim": 200, "num_heads": 4, "num_layers": 5, "max_seq_len": 96, "style": "course"}

CASES = [
    Case(name="small", ranks=2, mesh="shard=2", sizes=_SMALL, rows=4),
    Case(name="small", ranks=4, mesh="shard=4", sizes=_SMALL, rows=4),
    Case(name="small", ranks=4, mesh="dp=2,shard=2", sizes=_SMALL, rows=4),
    Case(name="small, 2 micro-batches", ranks=2, mesh="shard=2", sizes=_SMALL, rows=4, accumulate=2),
    Case(name="small, bfloat16", ranks=2, mesh="shard=2", sizes=_SMALL, rows=4, bfloat16=True),
    Case(name="small, bfloat16", ranks=4, mesh="shard=4", sizes=_SMALL, rows=4, bfloat16=True),
    Case(name="small, muon", ranks=2, mesh="shard=2", sizes=_SMALL, rows=4, optimizer="muon"),
    Case(name="wide, tied", ranks=2, mesh="shard=2", sizes=_WIDE, rows=2),
    Case(name="wide, tied, bfloat16", ranks=4, mesh="shard=4", sizes=_WIDE, rows=2, bfloat16=True),
    Case(name="course, odd sizes", ranks=4, mesh="shard=4", sizes=_COURSE, rows=3),
    Case(name="course, odd sizes, bfloat16", ranks=4, mesh="dp=2,shard=2", sizes=_COURSE, rows=3, bfloat16=True),
    Case(name="small", ranks=2, mesh="cp=2", sizes=_SMALL, rows=4),
    Case(name="small, muon", ranks=2, mesh="tp=2", sizes=_SMALL, rows=4, optimizer="muon"),
    Case(name="wide, tied, bfloat16", ranks=4, mesh="shard=2,tp=2", sizes=_WIDE, rows=2, bfloat16=True),
    Case(name="course, odd sizes", ranks=4, mesh="shard=2,tp=2", sizes=_COURSE, rows=3),
    Case(name="small, bfloat16", ranks=4, mesh="shard=2,cp=2", sizes=_SMALL, rows=4, bfloat16=True),
]


def measured(cases: Sequence[Case]) -> list[Measured]:
    """One step of each, which are of as many ranks and one mesh, on processes of their own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    processes = [
        context.Process(target=_rank, args=(cases, rank, port, theirs if rank == 0 else None))
        for rank in range(cases[0].ranks)
    ]
    for process in processes:
        process.start()
    theirs.close()
    try:
        told = [ours.recv() for _ in cases]
    except EOFError:
        raise AssertionError(f"{cases[0].mesh}: rank 0 ended") from None
    for process in processes:
        process.join()
    return [Measured(**each) for each in told]


def _rank(cases: Sequence[Case], rank: int, port: int, pipe: Connection | None) -> None:
    torch.set_num_threads(1)
    size = str(cases[0].ranks)
    os.environ.update(RANK=str(rank), WORLD_SIZE=size, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    from lmhead.ranks.join import join

    ranks = join(cases[0].mesh, device=torch.device("cpu"), timeout=120)
    for case in cases:
        found = _step(case, ranks)
        if pipe is not None:
            pipe.send(asdict(found))
    ranks.everyone(0)
    os._exit(0)


def _step(case: Case, ranks: Ranks) -> Measured:
    torch.manual_seed(0)
    model = GPT.from_config(GPTConfig(**case.sizes))
    dtype = torch.bfloat16 if case.bfloat16 else torch.float32
    shard(model, ranks, dtype=dtype)
    optimizers = Optimizers(model, OptimizerConfig(name=case.optimizer).resolved("drawn"))  # type: ignore[arg-type]
    ids = torch.randint(0, model.vocab_size, (case.rows, model.max_seq_len))

    def backward() -> None:
        for _ in range(case.accumulate):
            with autocast(torch.device("cpu"), dtype):
                loss = model.loss(ids, ids)
            loss.backward()  # type: ignore[no-untyped-call]

    backward()
    optimizers.step(1.0)
    ranks.everyone(0)
    with counted_collectives() as sent:
        before = bytes_sent()
        backward()
        held = _held(model, optimizers)
        optimizers.step(1.0)
        wire = bytes_sent() - before
    ranks.everyone(0)
    without = _held(model, optimizers)
    peak, _ = allocator_peak(backward)
    return Measured(sent=sum(sent.values()), wire=wire, lasting=held, peak=without + peak)


def _held(model: nn.Module, optimizers: Optimizers) -> int:
    """Bytes of this rank's parameters, gradients and optimiser states."""
    states = [
        value
        for part in optimizers.parts
        for state in part.state.values()
        for value in state.values()
        if isinstance(value, Tensor) and value.dim()
    ]
    parameters = list(model.parameters())
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return sum(_bytes(each) for each in (*parameters, *gradients, *states))


def _bytes(tensor: Tensor) -> int:
    own = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    return own.numel() * own.element_size()


def row_of(case: Case, found: Measured) -> tuple[str, ...]:
    """Estimated, measured and the error of each figure."""
    plan = case.plan
    sent = sum(each.sent for each in plan.traffic)
    wire = sent + sum(each.sent for each in plan.traffic if each.kind == "reduce-scatter")  # gloo's, twice
    memory = plan.memory
    pairs = ((sent, found.sent), (wire, found.wire), (memory.lasting, found.lasting), (memory.peak, found.peak))
    return (case.name, str(plan.mesh), *(_compared(*pair) for pair in pairs))


def _compared(estimated: float, found: float) -> str:
    return f"{found / _MIB:.2f} ({estimated / found - 1:+.1%})"


def main() -> None:
    """Measure every case, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry", action="store_true", help="write no JSON")
    options = parser.parse_args()
    report = Report(
        name="ranks_estimated",
        title="Bytes of a step measured on rank 0, MiB, and the estimate's error",
        columns=("case", "mesh", "sent, as a ring", "sent, on the wire", "lasting", "peak"),
    )
    for mesh in dict.fromkeys(case.mesh for case in CASES):
        cases = [case for case in CASES if case.mesh == mesh]
        progress(f"{len(cases)} cases on {mesh}")
        for case, found in zip(cases, measured(cases), strict=True):
            report.rows.append(row_of(case, found))
            progress(" ".join(report.rows[-1]))
            report.measured[f"{case.name} on {case.mesh}"] = asdict(found)
    print(report.table())
    if not options.dry:
        report.save()


if __name__ == "__main__":
    main()
