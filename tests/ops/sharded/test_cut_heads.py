"""A head cut over ranks gives what the whole one gives on one process: losses, statistics, gradients, refusals."""

import math
from functools import cache

import pytest
import torch
import torch.distributed as dist
from tests.ops.conftest import _draw, _solve
from tests.ops.plain_arithmetic import FEW_NUMBERS, Plain
from tests.ops.sharded.cut_problems import (
    cut,
    errors,
    own_rows,
    part_of,
    solved_on_this_rank,
    worst_of_random_problems,
)
from tests.ranks.launched import on_ranks

from lmhead import ArgumentError, ArgumentTypeError, VocabularyShard, linear_cross_entropy, token_logprobs

EXACT = 1e-12
OPTIONS = {
    "plain": {},
    "bias": {"bias": True},
    "capped": {"bias": True, "softcap": 5.0},
    "scaled": {"logit_scale": 0.3},
    "smoothed": {"bias": True, "label_smoothing": 0.2},
    "z-loss": {"z_loss": 1e-2},
    "weighted": {"weights": True},
    "LoRA": {"adapter": "lora"},
    "DoRA": {"adapter": "dora", "bias": True},
    "divided": {"divisor": 17.0},
    "summed": {"reduction": "sum"},
    "of each token": {"reduction": "none"},
    "little memory": {"memory_budget": 1, "bias": True},
    "all": {
        "bias": True,
        "softcap": 7.0,
        "logit_scale": 1.3,
        "label_smoothing": 0.1,
        "z_loss": 1e-3,
        "weights": True,
        "adapter": "lora",
    },
}


def problem(V, *, ignored=0.2, bias=False, weights=False, adapter=None, **options):
    drawn = _draw(33, 16, V, bias=bias, weights=weights, adapter=adapter, ignored=ignored, seed=V)
    return drawn.to(torch.float64), {"ranks": True, "top_k": 5, **options}


def every_option(ranks, vocabularies):
    worst = {}
    for V, how in vocabularies:
        for name, options in OPTIONS.items():
            drawn, options = problem(V, **options)
            upstream = torch.linspace(-1.0, 2.0, 33) if options.get("reduction") == "none" else None
            got = solved_on_this_rank(drawn, how, upstream=upstream, **options)
            whole = _solve(drawn, upstream=upstream, **{**options, "memory_budget": None})
            worst[name, V, how] = max(errors(got, whole).values())
    return worst


@pytest.mark.parametrize(
    ("size", "vocabularies"),
    [
        (2, [(1003, "first has one"), (5, "chunk")]),
        (4, [(1003, "chunk"), (7, "chunk")]),
    ],
)
def test_every_option_at_any_cut_as_of_the_whole_head(size, vocabularies):
    for worst in on_ranks(size, every_option, vocabularies):
        assert len(worst) == len(OPTIONS) * len(vocabularies)
        assert {key: error for key, error in worst.items() if error > EXACT} == {}


@pytest.mark.parametrize(("size", "count"), [(2, 50), (3, 30)])
def test_whatever_is_drawn_as_of_the_whole_head(size, count):
    for worst in on_ranks(size, worst_of_random_problems, 1000 * size, count):
        assert {"loss", "rank", "top_ids", "d_hidden", "d_weight", "d_up", "d_magnitude", "d_down"} <= worst.keys()
        assert {name: found for name, found in worst.items() if found[0] > 1e-11} == {}  # of a log p near 0, too


def everything_else(ranks):
    return {
        "ties": ties(),
        "nothing scored": nothing_scored(),
        "log-probabilities": log_probabilities(),
        "partial gradients": partial_gradients(),
        "masked": masked(),
    }


@cache
def on_two_ranks():
    return on_ranks(2, everything_else)


@pytest.mark.parametrize("name", ["ties", "nothing scored", "log-probabilities", "partial gradients", "masked"])
def test_of_a_cut_head(name):
    for made in on_two_ranks():
        assert made[name]
        assert {key: error for key, error in made[name].items() if error > EXACT} == {}


def ties():
    """Whole numbers: many logits are equal, in whatever order they are summed."""
    drawn = _draw(200, 6, 301, bias=True, seed=5)
    for tensor in (drawn.hidden, drawn.weight, drawn.bias):
        tensor.round_()
    drawn = drawn.to(torch.float64)
    with torch.no_grad():
        logits = drawn.hidden @ drawn.weight.T + drawn.bias
        drawn.targets[::2] = logits.argmax(1)[::2]
        drawn.targets[1::2] = 300 - logits.flip(1).argmax(1)[1::2]  # the last of equals
        assert int((logits == logits.amax(1, keepdim=True)).sum()) > 260
    whole = _solve(drawn, ranks=True, top_k=40)
    assert int(whole["hit"].sum()) >= 100
    return {
        (how, name): error
        for how in ("chunk", "first has one")
        for name, error in errors(solved_on_this_rank(drawn, how, ranks=True, top_k=40), whole).items()
    }


def nothing_scored():
    drawn, options = problem(31, ignored=1.0, bias=True, adapter="lora")
    assert not (drawn.targets >= 0).any()
    return errors(solved_on_this_rank(drawn, "chunk", **options), _solve(drawn, **options))


def masked():
    """One rank's columns are all masked; another's are all but one."""
    drawn, options = problem(40, bias=True)
    with torch.no_grad():
        drawn.bias[:20], drawn.bias[21:] = -math.inf, -math.inf
        drawn.targets[drawn.targets >= 0] = 20
    options = {**options, "ranks": True, "top_k": 30}
    whole = _solve(drawn, **options)
    got = solved_on_this_rank(drawn, "chunk", **options)
    infinite = {name: value.isinf() for name, value in whole.items()}
    assert all(torch.equal(got[name].isinf(), where) for name, where in infinite.items())
    assert infinite["top_logprobs"].any()
    return errors(*({n: v.masked_fill(infinite[n], 0) for n, v in each.items()} for each in (got, whole)))


def log_probabilities():
    drawn, _ = problem(1003, bias=True, adapter="lora")

    def made(of, **more):
        out = token_logprobs(
            of.hidden,
            of.weight,
            of.targets,
            bias=of.bias,
            adapter=of.adapter,
            temperature=0.7,
            entropy=True,
            softcap=9.0,
            **more,
        )
        c = torch.arange(1.0, 34, dtype=torch.float64)
        (out.logprobs * c + out.entropy * c.flip(0) + 0.3 * out.lse).sum().backward()
        leaves = {"d_hidden": of.hidden, "d_weight": of.weight, "d_bias": of.bias, "d_down": of.down, "d_up": of.up}
        gradients = {name: leaf.grad for name, leaf in leaves.items()}
        return {"logprobs": out.logprobs, "entropy": out.entropy, "lse": out.lse, **gradients}

    sizes, rank = cut(1003, 2, "first has one"), dist.get_rank()
    rows = own_rows(sizes, rank)
    whole, own = made(drawn), made(part_of(drawn, rows), shard=VocabularyShard.of(sizes[rank], dist.group.WORLD))
    for name in ("d_weight", "d_bias", "d_up"):
        whole[name] = whole[name][rows]
    return errors(own, whole)


def partial_gradients():
    """They add up to the hidden states', an adapter's part of them among them; the adapter's own are whole."""
    found = {}
    for adapter in (None, "lora", "dora"):
        drawn, options = problem(101, bias=True, adapter=adapter)
        made = solved_on_this_rank(drawn, "chunk", partial=True, **options)
        whole = _solve(drawn, **options)
        assert max(errors({"d": made["d_hidden"]}, {"d": whole["d_hidden"]}).values()) > 0.01
        dist.all_reduce(made["d_hidden"])
        found |= {(adapter, name): error for name, error in errors(made, whole).items()}
    return found


def narrow(ranks, dtype):
    drawn = _draw(64, 64, 2000, bias=True, ignored=0.2, seed=4).to(dtype)
    got = solved_on_this_rank(drawn, "chunk", label_smoothing=0.1)
    return got if ranks.first else None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_as_exact_as_plain_arithmetic(dtype):
    got = on_ranks(2, narrow, dtype)[0]
    drawn = _draw(64, 64, 2000, bias=True, ignored=0.2, seed=4).to(dtype)
    exact = _solve(drawn.to(torch.float64), backend="reference", label_smoothing=0.1)
    plain = Plain(lambda: _solve(drawn, backend="reference", label_smoothing=0.1))
    for name in ("loss", "nll", "lse", "entropy", "d_hidden", "d_weight", "d_bias"):
        plain.assert_as_exact(name, got[name], exact[name], slack=FEW_NUMBERS if name == "loss" else 1.5)


def compiled(ranks):
    drawn, _ = problem(101, bias=True)
    sizes = cut(101, 2, "chunk")
    own = part_of(drawn, own_rows(sizes, ranks.rank))
    shard = VocabularyShard.of(sizes[ranks.rank], dist.group.WORLD)

    def loss(hidden, weight, bias, targets):
        return linear_cross_entropy(hidden * 1.0, weight, targets, bias=bias, shard=shard, z_loss=0.1)

    def solved(run):
        made = run(own.hidden, own.weight, own.bias, own.targets)
        gradients = torch.autograd.grad(made, (own.hidden, own.weight, own.bias))
        return dict(zip(("loss", "d_hidden", "d_weight", "d_bias"), (made.detach(), *gradients), strict=True))

    return errors(solved(torch.compile(loss, backend="aot_eager", fullgraph=True)), solved(loss))


def test_compiled_whole_it_is_the_same():
    for found in on_ranks(2, compiled):
        assert len(found) == 4
        assert {name: error for name, error in found.items() if error > EXACT} == {}


def refused(make):
    try:
        made = make()
    except (ArgumentError, ArgumentTypeError) as error:
        return str(error)
    return f"not refused: {made}"


def refusals(ranks):
    drawn, rank = _draw(9, 8, 40, adapter="lora").to(torch.float32), ranks.rank
    own = part_of(drawn, slice(20 * rank, 20 * rank + 20))
    shard, world = VocabularyShard.of(20, dist.group.WORLD), dist.group.WORLD

    def loss(targets=own.targets, shard=shard, **options):
        return linear_cross_entropy(own.hidden, own.weight, targets, shard=shard, **options)

    fewer = own.targets.clone()
    fewer[:3] = fewer[:3].where(torch.tensor(rank == 0), -100)
    return {
        "others on some rank": refused(lambda: loss(own.targets + rank)),
        "targets must be the same on all ranks": refused(lambda: loss(fewer)),
        "for a rank that scores nothing": refused(lambda: loss(own.targets.where(torch.tensor(rank == 0), -100))),
        "weight must have 45 rows on all ranks of the group together, as shard.vocab_size says, got 40": refused(
            lambda: loss(shard=VocabularyShard(20 * rank, 45, world))
        ),
        "rows of rank 1 must be > 0, got 0": refused(lambda: VocabularyShard.of(0 if rank else 3, world)),
        "rows of rank 1 must be an integer, got float": refused(lambda: VocabularyShard.of(0.5 if rank else 3, world)),
        "2 targets for a row of a head that is cut over ranks": refused(
            lambda: loss(torch.stack([own.targets] * 2, -1))
        ),
        "which row_major refuses, got its head is cut over ranks": refused(lambda: loss(backend="row_major")),
        "which reference refuses, got its head is cut over ranks": refused(lambda: loss(backend="reference")),
        "top_k must be <= 40, the number of tokens, got 41": refused(lambda: loss(return_stats=True, top_k=41)),
        "targets must be in [0, 40)": refused(lambda: loss(own.targets + 40)),
        "class_weight must have the shape (40,), got (20,)": refused(lambda: loss(class_weight=torch.ones(20))),
        "weight must have at most 10 rows from shard.start on, got 20": refused(
            lambda: loss(shard=VocabularyShard(30, 40, world))
        ),
        "adapter.dropout must be 0 where the head is cut over ranks, got 0.1": refused(
            lambda: loss(adapter=with_dropout(own.adapter))
        ),
        "shard must be a VocabularyShard, got int": refused(lambda: loss(shard=3)),
        "group must be a ProcessGroup, got str": refused(lambda: VocabularyShard(0, 40, "tp")),
        "start must be < 40, the number of tokens, got 40": refused(lambda: VocabularyShard(40, 40, world)),
        "partial_hidden_gradient must be a bool, got int": refused(
            lambda: VocabularyShard(0, 40, world, partial_hidden_gradient=1)
        ),
    }


def with_dropout(adapter):
    from dataclasses import replace

    return replace(adapter, dropout=0.1)


def test_what_cannot_be_is_refused_on_all_ranks():
    first, second = on_ranks(2, refusals)
    assert first == second
    first["targets must be the same on all ranks"] = first.pop("for a rank that scores nothing")
    assert {rule: said for rule, said in first.items() if rule not in said} == {}
