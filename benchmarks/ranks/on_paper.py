"""The plan on paper of docs/ranks/scaling.md: two models on 1 to 1,024 H100s, as `lmhead estimate` counts them.

python -m benchmarks.ranks.on_paper           the tables of docs/ranks/scaling.md; nothing is run
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Final

from lmhead.cli.plans.planned_run import planned_run
from lmhead.ranks.mesh import MeshPlan
from lmhead.scaling.hardware import HARDWARE
from lmhead.scaling.scaling_plan import ScalingPlan
from lmhead.scaling.step_time import checkpoint_bytes
from lmhead.training.config.train_config import read_yaml

MODELS: Final = Path(__file__).parents[2] / "examples" / "models"
RESULTS: Final = Path(__file__).parents[1] / "results" / "ranks_estimated.json"
_GIB: Final = 2**30

EIGHT: Final = (
    *((1, ""), (8, "shard=8"), (64, "shard=64"), (64, "dp=8,shard=8"), (64, "shard=8,tp=8")),
    *((512, "shard=512"), (512, "dp=64,shard=8"), (1024, "shard=1024"), (1024, "dp=128,shard=8")),
)
SEVENTY: Final = (
    *((64, "shard=64"), (64, "shard=8,cp=8"), (128, "shard=16,cp=8"), (128, "shard=2,cp=8,tp=8")),
    *((512, "shard=64,cp=8"), (512, "dp=4,shard=16,cp=8"), (1024, "shard=128,cp=8"), (1024, "dp=8,shard=16,cp=8")),
)

# What others measured: (model, GPUs, hardware, mesh, rows a GPU, every layer computed twice, tokens/s of a GPU, whose)
# torchtitan: docs/performance.md, read on 2026-11-29 (H100s of 500 W and 96 GB; some operations computed twice);
# an earlier version of the same page for the A100s.
OTHERS: Final = (
    ("llama-3-8b", 8, "h100", "shard=8", 2, False, 5762, "torchtitan, FSDP2"),
    ("llama-3-8b", 8, "h100", "shard=8", 2, False, 6667, "torchtitan, FSDP2, compiled"),
    ("llama-3-8b", 64, "a100", "shard=64", 1, False, 2904, "torchtitan, FSDP2"),
    ("llama-3-70b", 64, "a100", "shard=64", 1, True, 331, "torchtitan, FSDP2, every layer twice"),
)


def planned(name: str, size: int, mesh: str, *, rows: int | None = None, hardware: str = "h100") -> ScalingPlan:
    """The plan of a model of examples/models on so many ranks, each of which reads one row, or `rows`."""
    readers = MeshPlan.of(mesh or None, size).readers
    config = replace(read_yaml(MODELS / f"{name}.yaml"), nproc=size, mesh=mesh or None, rows=(rows or 1) * readers)
    return planned_run(config, hardware=hardware)


def plan_table(name: str, meshes: tuple[tuple[int, str], ...]) -> str:
    """A line for each mesh."""
    lines = [
        "| GPUs | mesh | tokens a step | memory, GiB | sent in a host, between, GiB | step, s | MFU | checkpoint, s |",
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for size, mesh in meshes:
        plan = planned(name, size, mesh)
        lines.append("| " + " | ".join(_cells(plan)) + " |")
    return "\n".join(lines)


def _cells(plan: ScalingPlan) -> list[str]:
    time, links = plan.time, [each.by_link(plan.per_host) for each in plan.traffic]
    assert time is not None
    within, between = (sum(each[way] for each in links) / _GIB for way in (0, 1))
    saved = checkpoint_bytes(plan.groups) / plan.hosts / plan.assumed.storage
    memory = f"{plan.memory.peak / _GIB:,.0f}"
    return [
        f"{plan.mesh.size:,}",
        str(plan.mesh) if plan.mesh.size > 1 else "",
        f"{plan.rows * plan.model.length:,}",
        memory if plan.fits else f"**{memory}**, does not fit",
        f"{within:.1f}, {between:.1f}",
        f"{time.best:.2f} to {time.worst:.2f}",
        f"{time.utilization(time.best):.0%} to {time.utilization(time.worst):.0%}",
        f"{saved:.1f}",
    ]


def others_table() -> str:
    """What others measured beside what is estimated of it."""
    lines = [
        "| measured by | model, GPUs | tokens/s of a GPU | estimated: none hidden to all hidden | MFU measured |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for name, size, hardware, mesh, rows, twice, measured, whose in OTHERS:
        plan = replace(planned(name, size, mesh, rows=rows, hardware=hardware), checkpointing=twice)
        time = plan.time
        assert time is not None
        least, most = (time.tokens_per_second(seconds) / size for seconds in (time.worst, time.best))
        reached = measured * plan.model.flops / (time.peak / size)
        lines.append(
            f"| {whose} | {name}, {size} {hardware} | {measured:,} | {least:,.0f} to {most:,.0f} | {reached:.0%} |"
        )
    return "\n".join(lines)


def hardware_table() -> str:
    """The hardware that has a name."""
    lines = [
        "| name | device | memory, GB | TFLOP/s, bfloat16 | memory, GB/s | in a host, GB/s | to others | a host |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, each in HARDWARE.items():
        rates = (each.memory / 1e9, each.bfloat16 / 1e12, each.memory_rate / 1e9, each.link / 1e9, each.network / 1e9)
        cells = " | ".join(f"{rate:,.4g}" for rate in rates)
        lines.append(f"| `{name}` | {each.title} | {cells} | {each.per_host} |")
    return "\n".join(lines)


def measured_table() -> str:
    """What benchmarks.ranks.estimated measured."""
    found = json.loads(RESULTS.read_text())
    header = ["| " + " | ".join(found["columns"]) + " |", "| --- | --- |" + " ---: |" * (len(found["columns"]) - 2)]
    return "\n".join([*header, *("| " + " | ".join(row) + " |" for row in found["rows"])])


if __name__ == "__main__":
    for title, table in (
        ("Hardware", hardware_table()),
        ("Measured", measured_table()),
        ("8B", plan_table("llama-3-8b", EIGHT)),
        ("70B", plan_table("llama-3-70b", SEVENTY)),
        ("Others", others_table()),
    ):
        print(f"{title}\n\n{table}\n")
