"""Problems of a head cut over ranks: how they are cut, solved on a rank beside the whole, and drawn at random."""

import math
import random
from dataclasses import replace

import torch
import torch.distributed as dist
from tests.ops.conftest import Drawn, _draw, _solve
from torch import Tensor

from lmhead import VocabularyShard

BY_ROWS = ("weight", "bias", "up", "magnitude")  # what a rank has its own rows of


def cut(V: int, ranks: int, how: str) -> list[int]:
    """How many rows each rank has."""
    if how == "chunk":
        step = math.ceil(V / ranks)
        return [max(0, min(step, V - rank * step)) for rank in range(ranks)]
    if how == "first has one":
        even = V // ranks
        return [1] + [even] * (ranks - 2) + [V - 1 - even * (ranks - 2)]
    places = sorted(random.Random(how).sample(range(1, V), ranks - 1))
    return [end - start for start, end in zip([0, *places], [*places, V], strict=True)]


def own_rows(sizes: list[int], rank: int) -> slice:
    start = sum(sizes[:rank])
    return slice(start, start + sizes[rank])


def part_of(drawn: Drawn, rows: slice) -> Drawn:
    """As a rank has it; what is differentiated is a new leaf."""
    parts = {name: getattr(drawn, name) for name in BY_ROWS}
    parts = {name: None if part is None else part.detach()[rows] for name, part in parts.items()}
    return replace(drawn, **parts).to(drawn.hidden.dtype)


def solved_on_this_rank(drawn: Drawn, how: str, *, partial: bool = False, **options: object) -> dict[str, Tensor]:
    """Loss, statistics and gradients by name, all of the whole: those of rows are gathered."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    sizes = cut(len(drawn.weight), ranks, how)
    shard = VocabularyShard.of(sizes[rank], dist.group.WORLD, partial_hidden_gradient=partial)
    assert (shard.start, shard.vocab_size) == (sum(sizes[:rank]), len(drawn.weight))
    made = _solve(part_of(drawn, own_rows(sizes, rank)), shard=shard, **options)
    own = {name: made[name] for name in (f"d_{name}" for name in BY_ROWS) if name in made}
    of_all = [own] * ranks
    dist.all_gather_object(of_all, own)
    return made | {name: torch.cat([of_rank[name] for of_rank in of_all]) for name in own}


def errors(got: dict[str, Tensor], whole: dict[str, Tensor]) -> dict[str, float]:
    """Of each output, relative to its largest; infinite where what is exact differs."""
    assert got.keys() == whole.keys()

    def error(name: str) -> float:
        a, b = got[name], whole[name]
        assert (a.shape, a.dtype) == (b.shape, b.dtype), name
        if not a.is_floating_point():
            return 0.0 if torch.equal(a, b) else math.inf
        if not a.numel():
            return 0.0
        return float((a - b).abs().max() / b.abs().max().clamp(min=1e-30)) if bool((a != b).any()) else 0.0

    return {name: error(name) for name in whole}


def random_problem(seed: int, ranks: int) -> tuple[Drawn, str, dict[str, object]]:
    """(a problem in float64, its cut, options): whatever the op takes of a head that is cut."""
    among = random.Random(seed)
    N, D, V = among.choice([0, 1, 7, 40]), among.randint(1, 20), among.choice([ranks, 9, 31, 131, 1025])
    ways = ["chunk"] if V % ranks == 0 or V > 100 else []
    drawn = _draw(
        N,
        D,
        V,
        bias=among.random() < 0.5,
        weights=among.random() < 0.5,
        ignored=among.choice([0.0, 0.3, 0.3, 1.0]),
        seed=seed,
        per_row=among.choice([None, None, 1]),
        adapter=among.choice([None, None, "lora", "dora"]),
    )
    reduction = among.choice(["mean", "sum", "none"])
    top_k = among.choice([None, None, 1, min(9, V), min(40, V)])
    options = {
        "label_smoothing": among.choice([0.0, 0.1, 0.9]),
        "z_loss": among.choice([0.0, 1e-2]),
        "softcap": among.choice([None, 2.0, 30.0]),
        "logit_scale": among.choice([1.0, 0.25, -1.5]),
        "reduction": reduction,
        "divisor": among.choice([None, 3.0]) if reduction == "mean" else None,
        "ranks": among.random() < 0.5,
        "top_k": top_k,
        "memory_budget": among.choice([None, 1, 10_000, 200_000]),
        "backend": among.choice([None, "chunked", "vocabulary_major"]),
    }
    return drawn, among.choice([*ways, "first has one", f"at random {seed}"]), options


def worst_of_random_problems(ranks: object, first: int, count: int) -> dict[str, tuple[float, str]]:
    """Of each output the largest error beside the whole head's on one process, and the problem that has it."""
    worst: dict[str, tuple[float, str]] = {}
    for seed in range(first, first + count):
        drawn, how, options = random_problem(seed, dist.get_world_size())
        drawn = drawn.to(torch.float64)
        upstream = None
        if options["reduction"] == "none":
            upstream = torch.linspace(-1.0, 2.0, drawn.targets.numel()).reshape(drawn.targets.shape)
        got = solved_on_this_rank(drawn, how, upstream=upstream, **options)
        whole = _solve(drawn, upstream=upstream, **{**options, "backend": "reference", "memory_budget": None})
        for name, error in errors(got, whole).items():
            if error >= worst.get(name, (0.0, ""))[0]:
                worst[name] = error, f"seed {seed}: {how}, V = {len(drawn.weight)}, {options}"
    return worst
