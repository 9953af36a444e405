"""The lines of a ScalingPlan, of 80 columns: memory of a rank by item, bytes of a step by collective, time."""

from collections.abc import Iterator
from typing import Final

from lmhead.scaling.rank_memory import RankMemory
from lmhead.scaling.scaling_plan import ScalingPlan
from lmhead.scaling.step_time import StepTime, checkpoint_bytes, published_bytes

_GIB: Final = 2.0**30
_NAME: Final = 50  # characters of the first column


def scaling_lines(plan: ScalingPlan) -> Iterator[str]:
    """What stands behind the lines of the model."""
    yield from _ranks(plan)
    yield from _memory(plan)
    if plan.traffic:
        yield from _traffic(plan)
    if plan.time is not None:
        yield from _time(plan, plan.time)
    yield from _checkpoint(plan)


def _ranks(plan: ScalingPlan) -> Iterator[str]:
    mesh, hardware = plan.mesh, plan.hardware
    kind = "" if hardware is None else f" of {hardware.title}"
    hosts = f", {plan.hosts:,} hosts of {plan.per_host}" if plan.hosts > 1 else ""
    yield f"ranks: {mesh.size:,}{kind}{hosts}; mesh {mesh}"
    tokens = plan.rows * plan.model.length * plan.accumulate
    several = f" in {plan.accumulate} micro-batches" if plan.accumulate > 1 else ""
    cut = f" and 1/{mesh.cp} of each" if mesh.cp > 1 else ""
    yield f"step: {tokens:,} tokens{several}; a rank has {plan.rows_of_a_rank:,} of {plan.rows:,} rows{cut}"
    if plan.idle:
        yield (f"      {plan.idle:,} ranks have no row: give at least --rows {mesh.readers}")


def _memory(plan: ScalingPlan) -> Iterator[str]:
    memory, mesh = plan.memory, plan.mesh
    loss, end = memory.loss, memory.end
    part = mesh.shard * mesh.cp * mesh.tp
    of = f", 1/{part:,}" if part > 1 else ""
    yield f"{'memory of a rank, GiB':{_NAME}}{'at loss':>9}{'at end':>9}"
    yield _row(f"weights{of}", loss.weights, end.weights)
    if mesh.tp > 1:
        table = sum(group.count * group.weights(part // mesh.tp) for group in plan.groups if group.held == "vocabulary")
        yield f"    (of these embedding and head, 1/{mesh.tp} of the vocabulary: {_gib(table)})"
    yield _row(f"gradients{of}", loss.gradients, end.gradients)
    yield _row(f"optimizer states{of}", loss.optimizer, end.optimizer)
    if loss.average:
        yield _row(f"average of the weights{of}", loss.average, end.average)
    if loss.gathered:
        yield _row("weights gathered: the root, two blocks", loss.gathered, end.gathered)
        yield _row("gradients not yet reduced", loss.unreduced, end.unreduced)
    if loss.copies:
        yield _row("bfloat16 copies that autocast makes", loss.copies, end.copies)
    if plan.activations is None:
        yield f"  {'activations of a micro-batch':{_NAME - 2}}{'unknown':>9}"
    else:
        yield _row("activations of a micro-batch", loss.activations, end.activations)
    yield _row("the head's loss: its budget", loss.head, end.head)
    yield f"    (full logits would be {_gib(plan.logits)} a float32 copy)"
    yield _row("in all", loss.total, end.total)
    yield f"  {_peak(plan, memory)}"
    if not plan.checkpointing and plan.activations is not None:
        yield f"  if layers were checkpointed (--init models): {_peak(plan, plan.memory_checkpointed)}"
    if not plan.fits:
        yield from _would_fit(plan)


def _peak(plan: ScalingPlan, memory: RankMemory) -> str:
    if plan.usable is None:
        return f"peak {_gib(memory.peak)}"
    fits = "fits into" if memory.peak <= plan.usable else "does NOT fit into"
    return f"peak {_gib(memory.peak)}, {fits} {_gib(plan.usable)}"


def _would_fit(plan: ScalingPlan) -> Iterator[str]:
    other = plan.that_fits()
    if other is None:
        yield "  nothing of up to 4,096 ranks fits: take a smaller model, or shorter rows"
        return
    nproc = f"--nproc {other.mesh.size} " if other.mesh.size != plan.mesh.size else ""
    rows = f" --rows {other.rows}" if other.rows != plan.rows else ""
    yield f"  would fit: {nproc}--mesh {other.mesh}{rows} (peak {_gib(other.memory.peak)} GiB)"


def _traffic(plan: ScalingPlan) -> Iterator[str]:
    yield f"{'a rank sends in a step':{_NAME}}{'GiB':>9}{'in host':>9}{'between':>9}"
    merged: dict[str, list[float]] = {}
    for each in plan.traffic:
        within, between = each.by_link(plan.per_host)
        sums = merged.setdefault(f"{each.name} ({each.kind})", [0.0, 0.0, 0.0])
        for index, sent in enumerate((each.sent, within, between)):
            sums[index] += sent
    for name, sums in merged.items():
        yield _row(name, *sums)
    totals = [sum(column) for column in zip(*merged.values(), strict=True)]
    yield _row("all", *totals)


def _time(plan: ScalingPlan, time: StepTime) -> Iterator[str]:
    assumed, hardware = plan.assumed, plan.hardware
    assert hardware is not None
    rate = hardware.rate(plan.model.compute_bytes) / 1e12
    yield f"time of a step, if products reach {assumed.products:.0%} of {rate:,.4g} TFLOP/s"
    links = f"{hardware.link / 1e9:,.4g} GB/s in a host, {hardware.network / 1e9:,.4g} between hosts"
    yield f"  and links {assumed.links:.0%} of {links} (assumed, not measured)"
    yield (
        f"  products {_seconds(time.products)}, optimizer {_seconds(time.optimizer)}, "
        f"communication {_seconds(time.communication)}"
    )
    if plan.mesh.size == 1:
        yield _bound(time, "in all", time.worst)
        return
    yield _bound(time, "all communication hidden", time.best)
    yield _bound(time, "none of it hidden", time.worst)


def _bound(time: StepTime, name: str, seconds: float) -> str:
    rate = f"{time.tokens_per_second(seconds):,.0f} tokens/s"
    return f"  {name + ':':26}{_seconds(seconds):>9}  {rate:>20}  MFU {time.utilization(seconds):.1%}"


def _checkpoint(plan: ScalingPlan) -> Iterator[str]:
    groups, ranks = plan.groups, plan.mesh.size
    whole = checkpoint_bytes(groups)
    seconds = whole / plan.hosts / plan.assumed.storage
    rate = f"{plan.assumed.storage / 1e9:g} GB/s a host"
    each = f", {_gib(whole / ranks)} a rank" if ranks > 1 else ""
    yield f"checkpoint: {_gib(whole)} GiB{each}: {_seconds(seconds)} at {rate} (assumed);"
    yield f"  published weights: {_gib(published_bytes(groups))} GiB through the memory of rank 0's host"


def _row(name: str, *columns: float | str) -> str:
    cells = [f"{_gib(each):>9}" if isinstance(each, float | int) else f"  {each}" if each else "" for each in columns]
    return f"  {name:{_NAME - 2}}{''.join(cells)}"


def _gib(count: float) -> str:
    """Three significant digits."""
    size = count / _GIB
    if size == 0:
        return "0"
    if size < 0.001:
        return f"{size:.0e}"
    return (
        f"{size:,.0f}"
        if size >= 100
        else f"{size:,.1f}"
        if size >= 10
        else f"{size:.2f}"
        if size >= 1
        else f"{size:.3f}"
    )


def _seconds(count: float) -> str:
    if count >= 100:
        return f"{count:,.0f} s"
    return f"{count:.2f} s" if count >= 1 else f"{count * 1e3:.3g} ms"
