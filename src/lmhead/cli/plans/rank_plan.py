"""The plan of a run on several ranks: how they share it, as `lmhead train` prints it; what does not fit is refused."""

import dataclasses
from collections.abc import Iterator
from typing import Final

import torch

from lmhead.cli.console import size
from lmhead.cli.plans.planned_run import planned_run
from lmhead.errors import ArgumentError
from lmhead.models.device import choose_device, memory_bytes
from lmhead.options import option
from lmhead.scaling.scaling_plan import ScalingPlan
from lmhead.training.config.train_config import TrainConfig

PROCESS_BYTES: Final = 256 * 2**20  # that Python and torch take, beside what processes share (measured: 230 to 290 MiB)


def require_processes(nproc: int) -> None:
    """Refuse more processes than this machine can hold, whatever they train, before any is started.

    Raises:
        ArgumentError: they would take more than its memory.
    """
    there = memory_bytes(torch.device("cpu"))
    if there is not None and nproc * PROCESS_BYTES > there:
        most = there // PROCESS_BYTES
        raise ArgumentError(
            f"{option('nproc')} must be at most {most:,} in {size(there)} of memory, got {nproc:,}: a process takes "
            f"{size(PROCESS_BYTES)} before it trains anything"
        )


def plan_of(config: TrainConfig, ranks: int) -> ScalingPlan:
    """Of so many ranks, whatever hosts they are on.

    Raises:
        ArgumentError: the mesh is none of so many, or cuts what cannot be cut.
    """
    return planned_run(dataclasses.replace(config, nproc=ranks), hardware=None, per_host=ranks)


def rank_lines(config: TrainConfig, ranks: int) -> Iterator[str]:
    """How the ranks share rows and weights, and what each of them holds."""
    plan = plan_of(config, ranks)
    cut = f", and of each 1/{plan.mesh.cp}" if plan.mesh.cp > 1 else ""
    yield f"ranks: {ranks:,}, mesh {plan.mesh}; a rank has {plan.rows_of_a_rank:,} of {config.rows:,} rows{cut}"
    if plan.idle:
        yield f"ranks: {plan.idle:,} of them have no row: {option('rows', plan.mesh.readers)} gives each one"
    unknown = "" if plan.activations is not None else ", and activations, which nobody knows before"
    memory = plan.memory
    yield f"memory of a rank: {size(memory.peak)} at most, {size(memory.lasting)} of it for good{unknown}"


def require_rank_memory(config: TrainConfig, ranks: int, *, on_host: int) -> None:
    """Refuse a run whose ranks this machine cannot hold, before anything is read.

    Args:
        on_host: so many of the ranks are on this machine.

    Raises:
        ArgumentError: the estimate is larger than the device's memory, or the mesh cannot be.
    """
    device = choose_device(config.device)
    on_cpu = device.type == "cpu"
    needed, here = plan_of(config, ranks).memory.peak + (PROCESS_BYTES if on_cpu else 0), on_host if on_cpu else 1
    there = memory_bytes(device)
    if there is not None and needed * here > there:
        raise ArgumentError(
            f"{option('nproc')} must be so many that the ranks fit into the memory of {device}, {size(there)}, got "
            f"{on_host} of {size(needed)} each: take fewer on this machine, lower {option('rows')}, or a smaller model"
        )
