"""Shard groups against the modules that they describe, and against the estimate of one process."""

import pytest
import torch

from lmhead.models.config import GPTConfig
from lmhead.models.estimate import FurtherTokens, memory_count, parameter_count
from lmhead.models.gpt import GPT
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.ranks.mesh import MeshPlan
from lmhead.ranks.sharding import blocks
from lmhead.scaling.shard_group import shard_groups

OPTIONS = [
    {"style": "course"},
    {"style": "course", "tie_weights": False},
    {"num_kv_heads": 2, "qk_norm": True, "tie_weights": False},
    {"gated": False, "norm_weight": False, "head_dim": 16, "mlp_dim": 50},
]
BEHIND = [
    None,
    FurtherTokens(depth=2),
    FurtherTokens(depth=2, kind="recurrent"),
    FurtherTokens(depth=2, kind="parallel"),
    FurtherTokens(depth=1, isolated=True, frozen=True),
]


def config_of(options):
    return GPTConfig(
        **{"vocab_size": 101, "embed_dim": 32, "num_heads": 4, "num_layers": 3, "max_seq_len": 20, **options}
    )


def shapes_of(parameters):
    return sorted((p.shape[0], p[0].numel()) for p in parameters)


@pytest.mark.parametrize("mtp", BEHIND[:4], ids=str)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_groups_are_the_blocks_that_are_sharded_and_the_rest(options, mtp):
    config = config_of(options)
    with torch.device("meta"):
        model = GPT.from_config(config)
        if mtp is not None:
            model = MultiTokenModel.behind(model, depth=mtp.depth, kind=mtp.kind)
    sharded = blocks(model)
    root, *groups = shard_groups(config, MeshPlan(), mtp)
    assert sum(group.count for group in groups) == len(sharded)
    for block in sharded:
        assert shapes_of(block.parameters()) == sorted(groups[0].trained)
    inside = {id(parameter) for block in sharded for parameter in block.parameters()}
    assert shapes_of(p for p in model.parameters() if id(p) not in inside) == sorted(root.trained)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("mtp", BEHIND, ids=str)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_one_rank_holds_what_one_process_is_estimated_to(options, mtp, optimizer):
    config = config_of(options)
    groups = shard_groups(config, MeshPlan(), mtp, optimizer=optimizer, compute_bytes=2)
    count = memory_count(config, rows=1, optimizer=optimizer, compute_bytes=2, mtp=mtp)
    assert sum(group.parameters for group in groups) == parameter_count(config, mtp).total
    assert sum(group.count * (group.weights() + 2 * group.cast) for group in groups) == count.weights
    assert sum(group.count * group.gradients() for group in groups) == count.gradients
    assert sum(group.count * group.states() for group in groups) == count.optimizer


@pytest.mark.parametrize("ranks", [2, 3, 8, 50])
@pytest.mark.parametrize("options", OPTIONS[:3], ids=str)
def test_the_parts_of_all_ranks_are_the_whole_and_its_padding(ranks, options):
    config = config_of(options)
    parameters = list(GPT.from_config(config).parameters())
    first = sum(parameter.chunk(ranks)[0].numel() for parameter in parameters)
    whole = sum(parameter.numel() for parameter in parameters)
    groups = shard_groups(config, MeshPlan(shard=ranks))
    assert sum(group.count * group.weights(ranks) for group in groups) == 4 * first
    assert sum(group.count * group.gathered(ranks) for group in groups) == 4 * ranks * first >= 4 * whole


def test_parts_that_are_even_are_the_whole():
    config = config_of({"vocab_size": 96, "tie_weights": False})
    groups = shard_groups(config, MeshPlan(shard=16))
    assert 16 * sum(group.count * group.weights(16) for group in groups) == 4 * parameter_count(config).total


def test_blocks_are_gathered_as_they_compute_on_several_ranks_alone():
    config = config_of({})
    root, body = shard_groups(config, MeshPlan(shard=2), compute_bytes=2)
    alone = shard_groups(config, MeshPlan(), compute_bytes=2)[1]
    assert (body.gather_bytes, body.cast, root.gather_bytes) == (2, 0, 4)
    assert (alone.gather_bytes, alone.cast) == (4, 4 * 32 * 32 + 3 * 32 * config.mlp_width)


def test_tables_are_cut_along_tp():
    config = config_of({"tie_weights": False})
    root, embedding, head, body = shard_groups(config, MeshPlan(shard=2, tp=4))
    assert embedding.trained == head.trained == ((32, 26),)  # a quarter of 101, as torch.chunk cuts; then along D
    assert (embedding.stays, head.stays, root.stays, embedding.late, head.late) == (True, True, False, 26 * 32, 0)
    assert (root.trained, root.late, body.held) == (((32, 1),), 0, "body")
    odd = shard_groups(config_of({}), MeshPlan(shard=3, tp=4))[1]
    assert odd.trained == ((26, 32),)  # 3 do not divide 32
