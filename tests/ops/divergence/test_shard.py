"""linear_divergence of two vocabulary-parallel heads: ranks, each with its rows of both, against one process."""

import math
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
from tests.ops.divergence.test_linear_divergence import (
    KINDS,
    OF_SECOND_ORDER,
    OPTIONS,
    TINY,
    draw_two,
    in_dtype,
    solve_two,
)
from tests.ops.sharded.cut_problems import cut, own_rows
from tests.ranks.launched import on_ranks

from lmhead import ArgumentError, LowRankAdapter, VocabularyShard, linear_divergence

OF_ROWS = ("weight", "bias", "teacher_weight", "teacher_bias")
SHAPE = (11, 6, 61)  # N, D, V


def own_part(two, how):
    """This rank's arguments, the shard among them."""
    V = two["weight"].shape[0]
    sizes = cut(V, dist.get_world_size(), how)
    rows = own_rows(sizes, dist.get_rank())
    parts = {name: two[name] if two[name] is None else two[name].detach()[rows] for name in OF_ROWS}
    return (
        rows,
        in_dtype(two | parts, two["hidden"].dtype),
        VocabularyShard.of(sizes[dist.get_rank()], dist.group.WORLD),
    )


def error(how, two, **options):
    """The largest of loss and gradients, relative, beside the definition of the whole in float64."""
    rows, own, shard = own_part(two, how)
    got = solve_two(own, shard=shard, **options)
    options = {name: value for name, value in options.items() if name != "memory_budget"}
    exact = solve_two(in_dtype(two, torch.float64), backend="reference", **options)
    for name in ("d_weight", "d_bias"):
        if name in exact:
            exact[name] = exact[name][rows]
    scale = {name: value.abs().max().clamp(min=1e-30) for name, value in exact.items()}
    assert all(value.isfinite().all() for value in got.values())
    return max(float((got[name] - value).abs().max() / scale[name]) for name, value in exact.items())


def with_masks(V):
    """Models that mask the first tokens, all of some rank's; logits that are whole numbers, so that many are equal."""
    two = draw_two(*SHAPE[:2], V)
    two = {name: tensor if tensor is None or name == "token_weight" else tensor.round() for name, tensor in two.items()}
    two["bias"][:3] = two["teacher_bias"][:3] = -math.inf
    return in_dtype(two, torch.float64)


def every_kind(ranks, how, option_sets):
    drawn = in_dtype(draw_two(*SHAPE), torch.float64)
    made = {
        (str(kind), str(options)): error(how, drawn, **kind, **options) for kind in KINDS for options in option_sets
    }
    for kind in KINDS:
        made[str(kind), "masks and ties"] = error(how, with_masks(13), **kind)
        made[str(kind), "nothing scored"] = error(how, in_dtype(draw_two(4, 3, 7, ignored=1.0), torch.float64), **kind)
    return made


def two_ranks(ranks):
    option_sets = [*OPTIONS, {"memory_budget": TINY, "softcap": 5.0}]
    return {
        "kinds": every_kind(ranks, "first has one", option_sets),
        "float32": in_float32(ranks),
        "adapters": adapters_and_refusals(ranks),
        "own rows": rows_of_their_own(ranks),
    }


@pytest.fixture(scope="module")
def of_two():
    """What two ranks found, from one launch."""
    return on_ranks(2, two_ranks)


def test_is_the_whole_heads_in_float64_where_a_rank_has_one_token(of_two):
    for made in of_two:
        assert {case: off for case, off in made["kinds"].items() if off > 1e-12} == {}


def test_is_the_whole_heads_in_float64_on_four_ranks():
    for made in on_ranks(4, every_kind, "at random", [{"memory_budget": 4_000}]):
        assert {case: off for case, off in made.items() if off > 1e-12} == {}


def in_float32(ranks):
    """What rounding must not cost: digits of close models, and the tails of two that are sure."""
    close = draw_two(64, 32, 2000, bias=False, weights=False)
    noise = torch.randn(64, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    close |= {"teacher_hidden": close["hidden"] + 1e-4 * noise, "teacher_weight": close["weight"]}
    close = in_dtype(close, torch.float32)
    _, own, shard = own_part(close, "chunk")
    rows = [
        (
            linear_divergence(**own, shard=shard, reduction="none", **kind).detach().double(),
            linear_divergence(**in_dtype(close, torch.float64), backend="chunked", reduction="none", **kind).detach(),
        )
        for kind in OF_SECOND_ORDER
    ]
    student, teacher, one = torch.zeros(8192, 1), torch.zeros(8192, 1), torch.ones(1, 1)
    student[5], teacher[5] = 30.0, 28.0
    sure = {"hidden": one, "weight": student, "bias": None}
    sure = in_dtype(sure | {"teacher_hidden": one, "teacher_weight": teacher, "teacher_bias": None}, torch.float32)
    held, own, shard = own_part(sure, "chunk")
    tails = []
    for kind in KINDS:
        exact = solve_two(in_dtype(sure, torch.float64), backend="chunked", **kind)
        exact["d_weight"] = exact["d_weight"][held]
        tails.append((solve_two(own, shard=shard, **kind), exact))
    return rows, tails


def test_keeps_the_digits_that_one_process_keeps(of_two):
    for rows, tails in (made["float32"] for made in of_two):
        for got, exact in rows:
            assert (got >= 0).all()
            torch.testing.assert_close(got, exact, rtol=0.01, atol=0)
        for got, exact in tails:
            for name, value in exact.items():
                torch.testing.assert_close(got[name].double(), value, rtol=1e-4, atol=0)


def adapters_and_refusals(ranks):
    two = in_dtype(draw_two(12, 6, 17), torch.float64)
    rows, own, shard = own_part(two, "first has one")
    generator = torch.Generator().manual_seed(2)
    shapes = {"down": (3, 6), "up": (17, 3), "magnitude": (17,), "teacher_down": (3, 9), "teacher_up": (17, 3)}
    parts = {
        name: torch.rand(*shape, generator=generator, dtype=torch.float64).requires_grad_()
        for name, shape in shapes.items()
    }
    made = []
    for kind in KINDS[:2]:
        results = []
        for arguments, held, more in [(own, rows, {"shard": shard}), (two, slice(None), {"backend": "reference"})]:
            of = {name: part[held] if "down" not in name else part for name, part in parts.items()}
            adapter = LowRankAdapter(down=of["down"], up=of["up"], scale=0.5, magnitude=of["magnitude"])
            of_teacher = LowRankAdapter(down=of["teacher_down"], up=of["teacher_up"])
            loss = linear_divergence(**arguments, adapter=adapter, teacher_adapter=of_teacher, **kind, **more)
            leaves = (arguments["hidden"], arguments["weight"], parts["down"], parts["up"], parts["magnitude"])
            results.append([loss.detach(), *torch.autograd.grad(loss, leaves)])
        for name, got, exact in zip(("loss", "hidden", "weight", *list(shapes)[:3]), *results, strict=True):
            if name in ("weight", "up", "magnitude"):
                got, exact = got[rows] if len(got) == 17 else got, exact[rows]
            made.append((name, float((got - exact).abs().max() / exact.abs().max())))

    return made, refusals(ranks, own, shard)


def refusals(ranks, own, shard):
    weights = own["token_weight"] + 1.0
    weights[: ranks.rank] = 0
    refused = {}
    for name, wrong in {
        "other rows": {"token_weight": weights},
        "dropout": {
            "teacher_adapter": LowRankAdapter(down=torch.ones(2, 9).double(), up=torch.ones(1, 2).double(), dropout=0.1)
        },
        "the definition": {"backend": "reference"},
        "no shard": {"shard": 3},
    }.items():
        with pytest.raises((ArgumentError, TypeError)) as error:
            linear_divergence(**own | {"shard": shard} | wrong)
        refused[name] = str(error.value)
    return refused


def test_adapters_of_both_models_and_what_is_refused_on_every_rank(of_two):
    for made, refused in (made["adapters"] for made in of_two):
        assert {name: off for name, off in made if off > 1e-12} == {}
        assert (
            "token_weight must leave the same rows on all ranks that share a head, got 11 rows" in refused["other rows"]
        )
        assert "teacher_adapter.dropout must be 0 where the head is cut over ranks" in refused["dropout"]
        assert "no rank has a whole row of logits" in refused["the definition"]
        assert "shard must be" in refused["no shard"]


def rows_of_their_own(ranks):
    """Ranks with rows of their own: the mean of their losses, and gradients as those of data parallel ranks."""
    worst = {}
    for counts in [(5, 5), (1, 7), (0, 3)]:
        for kind in KINDS:
            every = [in_dtype(draw_two(count, 4, 13, seed=place), torch.float64) for place, count in enumerate(counts)]
            heads = {name: every[0][name] for name in OF_ROWS}
            every = [in_dtype(two | heads, torch.float64) for two in every]
            alone = [solve_two(two, backend="reference", **kind) for two in every]
            rows, own, shard = own_part(every[ranks.rank], "first has one")
            got = solve_two(own, shard=replace(shard, own_rows=True), **kind)
            mean = {name: (alone[0][name] + alone[1][name]) / 2 for name in ("loss", "d_weight", "d_bias")}
            expected = {
                "loss": mean["loss"],
                "d_hidden": alone[ranks.rank]["d_hidden"],
                "d_weight": mean["d_weight"][rows],
                "d_bias": mean["d_bias"][rows],
            }
            for name, value in expected.items():
                assert got[name].shape == value.shape
                error = float((got[name] - value).abs().max() / value.abs().max()) if value.numel() else 0.0
                worst[name] = max(worst.get(name, 0.0), error)
    return worst


def test_ranks_with_rows_of_their_own_are_as_data_parallel_ones(of_two):
    for worst in (made["own rows"] for made in of_two):
        assert {name: error for name, error in worst.items() if error > 1e-12} == {}
