"""What is counted of a vocabulary-parallel head's collectives is what goes through them."""

import pytest
import torch
import torch.distributed as dist
from tests.ops.conftest import _draw
from tests.ops.divergence.test_linear_divergence import draw_two, in_dtype
from tests.ops.divergence.test_shard import own_part
from tests.ops.sharded.cut_problems import cut, own_rows, part_of
from tests.ranks.launched import on_ranks

from lmhead import VocabularyShard, linear_cross_entropy, linear_divergence
from lmhead.ops.divergence import sweep as divergence_sweep
from lmhead.ops.sharded import row_exchange
from lmhead.ops.sharded.payload import Payload, of_cross_entropy, of_divergence, of_own_rows, weight_gathered

N, D, V = 23, 6, 61
CALLS = {
    "plain": {},
    "of 16 bits": {"dtype": torch.bfloat16},
    "of 64 bits": {"dtype": torch.float64},
    "statistics": {"statistics": True},
    "all": {"statistics": True, "smoothing": True, "ranks": True, "top_k": 3},
    "little memory": {"memory_budget": 1, "statistics": True},
    "a frozen body": {"trained": False},
    "LoRA": {"adapter_rank": 3},
    "sequence-parallel LoRA": {"adapter_rank": 3, "partial_hidden_gradient": True},
    "some ignored": {"ignored": 0.4, "ranks": True, "statistics": True},
    "nothing scored": {"ignored": 1.0, "ranks": True, "statistics": True},
}
DIVERGENCES = {
    "forward": {},
    "reverse": {"kind": "reverse_kl"},
    "reverse, little memory": {"kind": "reverse_kl", "memory_budget": 4_000},
    "forward of 16 bits, little memory": {"memory_budget": 4_000, "dtype": torch.bfloat16},
    "nothing scored": {"ignored": 1.0},
}


class Spy:
    """Counts what passes through torch's collectives; what runs them is untouched."""

    def __init__(self, patch):
        self.counted = Payload(collectives=0, reduced=0)
        reduce, gather = dist.all_reduce, dist.all_gather
        gather_rows, scatter = row_exchange._ALL_GATHER, row_exchange._REDUCE_SCATTER

        def all_reduce(tensor, *arguments, **options):
            assert tensor.is_contiguous()  # else gloo sums something else, in silence
            self.counted += Payload(collectives=1, reduced=tensor.nbytes)
            return reduce(tensor, *arguments, **options)

        def all_gather(parts, tensor, *arguments, **options):
            self.counted += Payload(collectives=1, reduced=0, gathered=tensor.nbytes)
            return gather(parts, tensor, *arguments, **options)

        def all_gather_rows(whole, part, *arguments, **options):
            self.counted += Payload(collectives=1, reduced=0, gathered=part.nbytes)
            return gather_rows(whole, part, *arguments, **options)

        def reduce_scatter(part, rows, *arguments, **options):
            self.counted += Payload(collectives=1, reduced=0, gathered=part.nbytes)
            return scatter(part, rows, *arguments, **options)

        patch.setattr(row_exchange, "_ALL_GATHER", all_gather_rows)
        patch.setattr(row_exchange, "_REDUCE_SCATTER", reduce_scatter)
        patch.setattr(dist, "all_reduce", all_reduce)
        patch.setattr(dist, "all_gather", all_gather)


def of_call(how, *, dtype=torch.float32, ignored=0.0, memory_budget=None, **counted):
    """(counted by a spy, by the formula)"""
    sizes = cut(V, dist.get_world_size(), how)
    partial = counted.get("partial_hidden_gradient", False)
    shard = VocabularyShard.of(sizes[dist.get_rank()], dist.group.WORLD, partial_hidden_gradient=partial)
    drawn = _draw(N, D, V, ignored=ignored, adapter="lora" if "adapter_rank" in counted else None).to(dtype)
    own = part_of(drawn, own_rows(sizes, dist.get_rank()))
    hidden = own.hidden.detach().requires_grad_(counted.get("trained", True))
    with pytest.MonkeyPatch.context() as patch:
        spy = Spy(patch)
        made = linear_cross_entropy(
            hidden,
            own.weight,
            own.targets,
            adapter=own.adapter,
            label_smoothing=0.1 if counted.get("smoothing") else 0.0,
            return_stats=counted.get("statistics", False),
            ranks=counted.get("ranks", False),
            top_k=counted.get("top_k"),
            memory_budget=memory_budget,
            shard=shard,
        )
        (made if isinstance(made, torch.Tensor) else made[0]).backward()
    scored = int((drawn.targets != -100).sum())
    return spy.counted, of_cross_entropy(N, D, itemsize=dtype.itemsize, scored=scored, **counted)


def of_divergence_call(how, *, dtype=torch.float32, ignored=0.2, memory_budget=None, **counted):
    two = in_dtype(draw_two(N, D, V, ignored=ignored), dtype)
    _, own, shard = own_part(two, how)
    chunks = []
    with pytest.MonkeyPatch.context() as patch:
        agreed = divergence_sweep._agreed

        def noted(*arguments):
            chunks.append(agreed(*arguments))
            return chunks[-1]

        patch.setattr(divergence_sweep, "_agreed", noted)
        spy = Spy(patch)
        linear_divergence(**own, shard=shard, memory_budget=memory_budget, **counted).backward()
    scored = int((two["token_weight"] != 0).sum())
    expected = of_divergence(N, D, itemsize=dtype.itemsize, scored=scored, chunks=chunks[0].chunks, **counted)
    return spy.counted, expected, chunks[0].chunks


def of_own_rows_call(*, dtype=torch.float32, lora=False, teacher=False):
    """Of rank 0's N rows and rank 1's N - 4."""
    count = N - 4 * dist.get_rank()
    sizes = cut(V, 2, "chunk")
    shard = VocabularyShard.of(sizes[dist.get_rank()], dist.group.WORLD, own_rows=True)
    own = part_of(_draw(count, D, V, adapter="lora" if lora else None).to(dtype), own_rows(sizes, dist.get_rank()))
    counted = {"adapter_rank": 3 if lora else 0, "itemsize": dtype.itemsize}
    with pytest.MonkeyPatch.context() as patch:
        spy = Spy(patch)
        if teacher:
            of_teacher = torch.ones(count, D - 1, dtype=dtype), torch.ones(len(own.weight), D - 1, dtype=dtype)
            linear_divergence(own.hidden, own.weight, *of_teacher, shard=shard).backward()
        else:
            loss = linear_cross_entropy(own.hidden, own.weight, own.targets, adapter=own.adapter, shard=shard)
            loss.backward()
    call = of_divergence if teacher else of_cross_entropy
    of_call = call(2 * N, D, scored=2 * N - 4, partial_hidden_gradient=True, **counted)
    return spy.counted, of_call + of_own_rows(N, D, teacher_width=D - 1 if teacher else 0, **counted)


def every_call(ranks, how):
    made = {name: of_call(how, **options) for name, options in CALLS.items()}
    for options in ({}, {"dtype": torch.bfloat16}, {"lora": True}, {"teacher": True}):
        made["own rows", str(options)] = of_own_rows_call(**options)
    return made, {name: of_divergence_call(how, **options) for name, options in DIVERGENCES.items()}


def test_every_call_gives_the_collectives_what_is_counted():
    for made, divergences in on_ranks(2, every_call, "first has one"):
        assert {name: counted for name, (counted, _) in made.items()} == {name: of for name, (_, of) in made.items()}
        for name, (counted, formula, chunks) in divergences.items():
            assert counted == formula, name
            assert (chunks > 1) == ("little memory" in name)


def test_a_ring_of_one_sends_nothing_and_a_large_one_twice_what_it_reduces():
    call = Payload(collectives=2, reduced=1_000, gathered=10)
    assert call.sent(1) == 0
    assert call.sent(2) == 1_010
    assert call.sent(1_000) == pytest.approx(2_000 + 9_990, rel=1e-3)
    assert weight_gathered(100, 10, itemsize=2, ranks=1) == 0
