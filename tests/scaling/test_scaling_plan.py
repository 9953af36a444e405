"""Scaling plans: identities between meshes, and one small case by hand."""

from dataclasses import replace

import pytest

from lmhead.errors import ArgumentError
from lmhead.models.config import GPTConfig
from lmhead.models.estimate import flop_count, memory_count
from lmhead.ranks.mesh import MeshPlan
from lmhead.scaling.hardware import hardware_named
from lmhead.scaling.scaling_plan import PlannedDecoder, ScalingPlan
from lmhead.scaling.step_time import Assumed, checkpoint_bytes, newton_schulz_flops, published_bytes

CONFIG = GPTConfig(
    vocab_size=64,
    embed_dim=32,
    num_heads=4,
    num_layers=3,
    max_seq_len=16,
    mlp_dim=64,
    norm_weight=False,
    tie_weights=False,
)
BLOCK = 4 * 32 * 32 + 3 * 32 * 64
ROOT = 2 * 64 * 32


def plan_of(mesh="", *, size=None, rows=8, optimizer="adamw", compute_bytes=4, config=CONFIG, **options):
    count = size or 1
    model = PlannedDecoder.of(config, optimizer=optimizer, compute_bytes=compute_bytes)
    return ScalingPlan(
        **{"model": model, "mesh": MeshPlan.of(mesh or None, count), "rows": rows, "accumulate": 1, **options}
    )


def sent(plan):
    found = {}
    for each in plan.traffic:
        found[each.name, each.kind] = found.get((each.name, each.kind), 0) + each.sent
    return found


def test_one_rank_takes_what_one_process_is_estimated_to_and_the_heads_budget():
    for compute_bytes in (2, 4):
        count = memory_count(CONFIG, rows=8, compute_bytes=compute_bytes, cpu=False)
        memory = plan_of(compute_bytes=compute_bytes).memory
        assert memory.peak - memory.loss.head == count.total
        assert memory.loss.head == 8 * 16 * 64 * 4  # a copy of the logits, which are fewer than its budget
    assert plan_of().traffic == []


def test_memory_and_bytes_of_two_ranks_by_hand():
    plan = plan_of("shard=2", size=2)
    loss, end = plan.memory.loss, plan.memory.end
    half = 4 * (ROOT + 3 * BLOCK) / 2
    assert (end.weights, end.gradients, end.optimizer, loss.gradients) == (half, half, 2 * half, 0)
    assert loss.gathered == 4 * (ROOT + 2 * BLOCK)
    assert loss.unreduced == 4 * ROOT / 2 + 8 * BLOCK  # the head's gradient; a block's, and its buffer
    assert (end.gathered, end.unreduced) == (4 * (ROOT + BLOCK), max(8 * ROOT, 4 * ROOT / 2 + 8 * BLOCK))
    assert sent(plan) == {
        ("weights of the root, forward", "all-gather"): 4 * ROOT / 2,
        ("gradients of the root", "reduce-scatter"): 4 * ROOT / 2,
        ("weights of the blocks, forward", "all-gather"): 3 * 4 * BLOCK / 2,
        ("weights of the blocks, backward", "all-gather"): 3 * 4 * BLOCK / 2,
        ("gradients of the blocks", "reduce-scatter"): 3 * 4 * BLOCK / 2,
    }


def test_bfloat16_halves_the_weights_of_blocks_that_are_sent_and_nothing_else():
    wide, narrow = sent(plan_of("shard=4", size=4)), sent(plan_of("shard=4", size=4, compute_bytes=2))
    assert {name for name in wide if narrow[name] != wide[name]} == {
        (f"weights of the blocks, {way}", "all-gather") for way in ("forward", "backward")
    }
    assert narrow["weights of the blocks, forward", "all-gather"] == 3 * 2 * BLOCK * 3 / 4


def test_twice_the_replicas_leave_a_ranks_memory_and_add_an_all_reduce_of_its_gradients():
    few, many = plan_of("shard=2", size=2, rows=8), plan_of("dp=4,shard=2", size=8, rows=32)
    assert many.memory == few.memory
    more = {name: value for name, value in sent(many).items() if name not in sent(few)}
    assert sum(more.values()) == 2 * 3 / 4 * 4 * (ROOT + 3 * BLOCK) / 2
    assert {kind for _, kind in more} == {"all-reduce"}


def test_micro_batches_send_as_often_and_keep_gradients_through_the_next():
    one, three = plan_of("shard=2", size=2), plan_of("shard=2", size=2, accumulate=3)
    assert {name: 3 * value for name, value in sent(one).items()} == sent(three)
    assert three.memory.loss.gradients == one.memory.end.gradients == three.memory.end.gradients


def test_muon_sends_its_matrices_and_their_updates_once_a_step():
    plan = plan_of("shard=2", size=2, optimizer="muon", accumulate=3)
    held = 3 * BLOCK / 2
    found = sent(plan)
    assert found["Muon's matrices, there", "all-to-all"] == 4 * held / 2
    assert found["Muon's updates, back", "all-to-all"] == 2 * held / 2
    assert plan.memory.end.optimizer == 4 * (2 * ROOT + 3 * BLOCK) / 2


def test_what_tp_sends_by_hand():
    plan = plan_of("tp=4", size=4, rows=8, compute_bytes=2)  # 2 rows of 16 tokens a rank
    found, tokens = sent(plan), 4 * 32
    assert found["embeddings along tp", "reduce-scatter"] == tokens * 32 * 4 * 3 / 4
    assert found["hidden states along tp", "all-gather"] == tokens * 32 * 2 * 3 / 4
    assert found["softmax joined: MAX", "all-reduce"] == 2 * tokens * 4 * 3 / 4
    assert found["softmax joined: SUM", "all-reduce"] == 4 * 2 * tokens * 4 * 3 / 4
    assert not any(name.startswith("weights of the vocabulary") for name, _ in found)  # no other rank has the same part
    tables = sum(group.weights(1) for group in plan.groups if group.held == "vocabulary")
    assert tables == 4 * ROOT / 4


def test_what_cp_sends_by_hand_and_what_a_rank_keeps():
    plan, whole = plan_of("cp=2", size=2, rows=2), plan_of("shard=2", size=2, rows=4)
    assert plan.rows_of_a_rank == whole.rows_of_a_rank == 2  # of which a rank has half the tokens
    keys = 2 * 32 * 16 * 2 * 4  # keys and values, of all tokens of both rows, float32
    found = sent(plan)
    assert found["keys and values along cp", "all-gather"] == 3 * keys / 2
    assert found["their gradients along cp", "reduce-scatter"] == 3 * keys / 2
    assert plan.activations.whole == whole.activations.whole / 2 + 3 * keys / 2


def test_products_of_a_step_by_hand():
    hardware = hardware_named("h100")
    flops = flop_count(CONFIG).training
    plan = plan_of("dp=2,shard=2", size=4, compute_bytes=2, hardware=hardware, accumulate=2)
    time = plan.time
    assert time.tokens == 8 * 16 * 2
    assert time.products == pytest.approx(flops * (2 * 16 * 2) / (989e12 * 0.4))
    assert time.best == pytest.approx(max(time.products, time.communication) + time.optimizer)
    assert time.worst == pytest.approx(time.products + time.communication + time.optimizer)
    assert time.utilization(1.0) == pytest.approx(flops * 256 / (4 * 989e12))
    assert time.tokens_per_second(2.0) == 128
    sure = replace(plan, assumed=Assumed(products=1.0)).time
    assert sure.products == pytest.approx(0.4 * time.products)


def test_communication_is_the_sum_of_every_collectives_time():
    hardware = hardware_named("cpu")
    plan = plan_of("shard=2", size=2, hardware=hardware, assumed=Assumed(links=0.5, hop=0.0))
    assert plan.time.communication == pytest.approx(sum(sent(plan).values()) / (hardware.link * 0.5))


def test_layers_computed_twice_cost_time_and_no_utilization():
    hardware = hardware_named("h100")
    plain = plan_of(compute_bytes=2, hardware=hardware)
    again = replace(plain, checkpointing=True)
    flops = flop_count(CONFIG)
    more = flops.projections + flops.scores + flops.mlp
    assert again.time.products / plain.time.products == pytest.approx(1 + more / flops.training)
    assert again.time.model_flops == plain.time.model_flops
    assert again.memory.peak < plain.memory.peak


def test_newton_schulz_of_a_wide_matrix_is_that_of_the_tall_one():
    assert newton_schulz_flops((2, 3)) == newton_schulz_flops((3, 2)) == 5 * (4 * 2 * 2 * 3 + 2 * 8)


def test_a_checkpoint_has_weights_and_states():
    groups = plan_of().groups
    assert checkpoint_bytes(groups) == 3 * published_bytes(groups) == 3 * 4 * (ROOT + 3 * BLOCK)


LARGE = GPTConfig(
    vocab_size=128256,
    embed_dim=8192,
    num_heads=64,
    num_kv_heads=8,
    num_layers=80,
    mlp_dim=28672,
    max_seq_len=8192,
    tie_weights=False,
)


def test_what_does_not_fit_names_what_would():
    hardware = hardware_named("h100")
    plan = plan_of("shard=8", size=8, rows=8, config=LARGE, compute_bytes=2, hardware=hardware)
    assert not plan.fits
    other = plan.that_fits()
    assert other.fits
    assert other.mesh.size % 8 == 0
    assert other.memory.peak <= 0.92 * 80e9 < plan.memory.peak


def test_nothing_that_fits_is_said_too():
    hardware = hardware_named("rtx4090")
    plan = plan_of("shard=8", size=8, config=replace(LARGE, max_seq_len=2**20), compute_bytes=2, hardware=hardware)
    assert plan.that_fits() is None


@pytest.mark.parametrize(
    ("mesh", "size", "options", "rule"),
    [
        ("tp=33", 33, {}, "mesh must leave each of its tp ranks a part of the vocabulary of 64, got tp=33: lower tp"),
        ("cp=3", 3, {}, "mesh must cut rows of 16 tokens into equal parts, got cp=3"),
        ("shard=12", 12, {}, "nproc must be a multiple of the 8 of a host, or fewer, got 12: or give per_host"),
        ("shard=12", 12, {"per_host": 5}, "nproc must be a multiple of the 5 of a host"),
    ],
)
def test_a_mesh_that_cannot_be_is_refused_in_one_line(mesh, size, options, rule):
    with pytest.raises(ArgumentError) as raised:
        plan_of(mesh, size=size, **options)
    assert str(raised.value).startswith(rule)
    assert "\n" not in str(raised.value)


def test_ranks_without_a_row_are_counted():
    assert plan_of("shard=8", size=8, rows=8).idle == 0
    plan = plan_of("shard=4,cp=2", size=8, rows=3)
    assert (plan.rows_of_a_rank, plan.idle) == (1, 2)
