"""A vocabulary-parallel head in the kernels: ranks, each with its columns, against one process in float64."""

import math
from dataclasses import fields, replace

import pytest
import torch
from tests.ops.conftest import Drawn, _draw, _solve
from tests.ops.interpreter import set_up_the_interpreter
from tests.ranks.launched import on_ranks

from lmhead import ArgumentError, VocabularyShard, linear_cross_entropy

OF_VOCABULARY = ("weight", "bias", "up", "magnitude")
V = 41
TWO, FOUR = (0, 1, V), (0, 11, 22, 33, V)
ALL = {"label_smoothing": 0.1, "z_loss": 1e-2, "softcap": 3.0, "logit_scale": 0.5, "ranks": True, "top_k": 4}
TIES = {"whole_numbers": True, "bias": True}
CASES = [  # (what is drawn, options)
    ({"ignored": 0.3}, {"backend": "triton"}),
    ({"adapter": "dora", "bias": True, "weights": True, "ignored": 0.3}, ALL | {"backend": "triton_masked"}),
    ({"per_row": 3, "ignored": 0.3}, ALL | {"backend": "triton_low_memory", "reduction": "none", "memory_budget": 1}),
    (TIES, {"backend": "triton", "ranks": True, "top_k": 9}),
    ({"ignored": 1.0}, ALL | {"backend": "triton"}),
]


def drawn_of(seed: int, drawing: dict) -> Drawn:
    """Of whole numbers, where asked for: the first token is masked, tokens 5, 20 and 40 are the most probable alike."""
    drawing = dict(drawing)
    rounded = drawing.pop("whole_numbers", False)
    drawn = _draw(5, 4, V, seed=seed, **drawing)
    if not rounded:
        return drawn
    bias, weight = drawn.bias.round(), drawn.weight.round()
    bias[0], weight[[5, 20, 40]], bias[[5, 20, 40]] = -math.inf, 9.0, 2.0
    hidden = drawn.hidden.abs().round().clamp(min=1)
    return replace(drawn, hidden=hidden, weight=weight, bias=bias, targets=torch.tensor([40, 5, 20, 1, 39]))


def solved_by_parts(ranks, cuts, cases):
    """Of each case what this rank gives."""
    set_up_the_interpreter()
    rows = slice(cuts[ranks.rank], cuts[ranks.rank + 1])
    shard = VocabularyShard.of(rows.stop - rows.start, torch.distributed.group.WORLD)
    made = []
    for seed, (drawing, options) in enumerate(cases):
        drawn = drawn_of(seed, drawing)
        tensors = {field.name: getattr(drawn, field.name) for field in fields(drawn)}
        own = {name: None if tensors[name] is None else tensors[name][rows] for name in OF_VOCABULARY}
        made.append(_solve(Drawn(**tensors | own).to(torch.float32), shard=shard, **options))
    return made


def refused_or_nan(ranks, cuts):
    """What "triton" says, and the losses of "triton_masked", which waits for nothing, of what is wrong."""
    set_up_the_interpreter()
    rows = slice(cuts[ranks.rank], cuts[ranks.rank + 1])
    shard = VocabularyShard.of(rows.stop - rows.start, torch.distributed.group.WORLD)
    hidden, weight, targets = torch.ones(2, 3), torch.ones(V, 3)[rows], torch.tensor([3, 4])
    wrong = {
        "other targets": (targets + ranks.rank, shard),
        "out of range": (torch.tensor([3, V]), shard),
        "too few rows": (targets, VocabularyShard(shard.start, V + 1, shard.group)),
    }
    made = {}
    for name, (ids, of) in wrong.items():
        with pytest.raises(ArgumentError) as refused:
            linear_cross_entropy(hidden, weight, ids, shard=of, backend="triton")
        losses = linear_cross_entropy(hidden, weight, ids, shard=of, backend="triton_masked", reduction="none")
        made[name] = str(refused.value), losses.isnan().tolist()
    return made


def two_ranks(ranks):
    return solved_by_parts(ranks, TWO, CASES), refused_or_nan(ranks, TWO)


@pytest.fixture(scope="module")
def of_two():
    """(what each case gives, what is wrong) of both ranks, from one launch."""
    return on_ranks(2, two_ranks)


def test_what_is_wrong_is_refused_on_all_ranks_or_nan_where_nothing_is_waited_for(of_two):
    for _, made in of_two:
        assert {name: losses for name, (_, losses) in made.items()} == {
            "other targets": [True, True],
            "out of range": [False, True],
            "too few rows": [True, True],
        }
        assert made["other targets"][0].startswith("targets must be the same on all ranks that share a head")
        assert made["out of range"][0].startswith(f"targets must be in [0, {V}) or ignore_index=-100, got {V}")
        assert made["too few rows"][0].startswith(f"weight must have {V + 1} rows on all ranks of the group together")


def together(of_ranks: list[dict]) -> dict:
    """Parts of the vocabulary one after the other; all else each has alike."""
    made = dict(of_ranks[0])
    for name in made:
        if name.startswith("d_") and name.removeprefix("d_") in OF_VOCABULARY:
            made[name] = torch.cat([of_rank[name] for of_rank in of_ranks])
        else:
            assert all(torch.equal(other[name], made[name]) for other in of_ranks), name
    return made


def test_two_parts_one_of_them_a_masked_token_make_up_the_whole(of_two):
    assert_whole([made for made, _ in of_two], CASES)


def test_four_parts_make_up_the_whole():
    cases = CASES[3:4]
    assert_whole(on_ranks(4, solved_by_parts, FOUR, cases), cases)


def assert_whole(of_ranks, cases):
    for seed, (drawing, options) in enumerate(cases):
        got = together([made[seed] for made in of_ranks])
        exact = _solve(drawn_of(seed, drawing).to(torch.float64), **options | {"backend": "reference"})
        assert set(got) == set(exact)
        for name, value in exact.items():
            torch.testing.assert_close(got[name].to(value), value, rtol=2e-5, atol=2e-6, msg=f"{name}, {options}")
