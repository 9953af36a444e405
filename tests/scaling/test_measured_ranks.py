"""What is estimated beside what ranks do: bytes of every step, and the memory that stays, to the byte."""

import pytest
import torch
from benchmarks.ranks.wire import counted_collectives
from tests.ranks.launched import on_ranks

from lmhead.models.config import GPTConfig
from lmhead.models.device import autocast
from lmhead.models.gpt import GPT
from lmhead.ranks.mesh import MeshPlan
from lmhead.ranks.own_part import own_part
from lmhead.ranks.sharding import shard
from lmhead.scaling.scaling_plan import PlannedDecoder, ScalingPlan
from lmhead.training.config.optimizer_config import OptimizerConfig
from lmhead.training.optimizers.optimizer import Optimizers

SIZES = {"vocab_size": 101, "embed_dim": 36, "num_heads": 3, "num_layers": 3, "max_seq_len": 10}
RUNS = [
    ({}, torch.float32, "adamw", 1),
    ({"tie_weights": False, "num_kv_heads": 1, "qk_norm": True}, torch.bfloat16, "adamw", 2),
    ({"style": "course"}, torch.float32, "muon", 1),
]


def sent_and_held(ranks, sizes, dtype, optimizer, accumulate):
    """(bytes that the collectives of a step send, bytes of parameters, gradients and states) of a rank."""
    torch.manual_seed(0)
    model = GPT.from_config(GPTConfig(**sizes))
    shard(model, ranks, dtype=dtype)
    optimizers = Optimizers(model, OptimizerConfig(name=optimizer).resolved("drawn"))
    ids = torch.randint(0, 101, (2, 10))

    def backward():
        for _ in range(accumulate):
            with autocast(torch.device("cpu"), dtype):
                loss = model.loss(ids, ids)
            loss.backward()

    backward()
    optimizers.step(1.0)
    with counted_collectives() as sent:
        backward()
        gradients = [parameter.grad for parameter in model.parameters()]
        optimizers.step(1.0)
    states = [each for part in optimizers.parts for state in part.state.values() for each in state.values()]
    held = [own_part(each) for each in (*model.parameters(), *gradients, *states)]
    return sum(sent.values()), sum(each.numel() * each.element_size() for each in held if each.dim())


def several(ranks):
    return [sent_and_held(ranks, {**SIZES, **options}, *how) for options, *how in RUNS]


@pytest.mark.parametrize(("size", "mesh"), [(2, "shard=2"), (4, "dp=2,shard=2"), (2, "cp=2"), (4, "shard=2,tp=2")])
def test_a_step_sends_and_holds_what_is_estimated(size, mesh):
    found = on_ranks(size, several, mesh=mesh)[0]
    for (options, dtype, optimizer, accumulate), (sent, held) in zip(RUNS, found, strict=True):
        model = PlannedDecoder.of(GPTConfig(**{**SIZES, **options}), optimizer=optimizer, compute_bytes=dtype.itemsize)
        of = MeshPlan.of(mesh, size)
        plan = ScalingPlan(model=model, mesh=of, rows=2 * of.readers, accumulate=accumulate)
        assert held == plan.memory.lasting
        estimated = sum(each.sent for each in plan.traffic)
        if (
            optimizer == "muon" or of.tp > 1
        ):  # matrices are dealt whole, two of three to one rank; counts of rows go around
            assert sent == pytest.approx(estimated, rel=0.05)
        else:
            assert sent == estimated
