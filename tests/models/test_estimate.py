"""The estimate against the modules that it describes."""

import itertools

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lmhead.labels.targets import Targets
from lmhead.models.config import GPTConfig
from lmhead.models.estimate import FurtherTokens, flop_count, memory_count, parameter_count
from lmhead.models.gpt import GPT
from lmhead.models.multi_token.multi_token_model import MultiTokenModel

GRID = [
    {"style": "course"},
    {"style": "course", "tie_weights": False, "mlp_dim": 40},
    *(
        {"num_kv_heads": kv, "qk_norm": qk, "gated": gated, "norm_weight": norm, "tie_weights": tied}
        for kv, qk, gated, norm, tied in itertools.product((None, 2), *[(False, True)] * 4)
    ),
    {"head_dim": 16, "mlp_dim": 50, "activation": "relu"},
]


def config_of(options, **sizes):
    return GPTConfig(
        **{"vocab_size": 101, "embed_dim": 32, "num_heads": 4, "num_layers": 3, "max_seq_len": 20, **sizes, **options}
    )


@pytest.mark.parametrize("options", GRID, ids=str)
def test_parameters_are_the_models(options):
    config = config_of(options)
    model = GPT.from_config(config)
    count = parameter_count(config)
    assert count.total == sum(parameter.numel() for parameter in model.parameters())
    layers = model.model.layers
    assert count.mlp == sum(p.numel() for layer in layers for p in layer.mlp.parameters())
    assert count.head == (0 if config.tie_weights else model.lm_head.weight.numel())


def test_the_chapters_tiny_gpt_has_736_parameters():
    config = GPTConfig(vocab_size=4, embed_dim=4, num_heads=2, num_layers=2, style="course")
    assert parameter_count(config).total == 736


@pytest.mark.parametrize("options", GRID[:6], ids=str)
def test_flops_are_those_that_torch_counts(options):
    config = config_of(options)
    model = GPT.from_config(config)
    T = config.max_seq_len
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        model(torch.zeros(1, T, dtype=torch.long))
    flops = flop_count(config)
    full_square = flops.scores * 2 * T / (T + 1)  # torch computes and counts the masked half too
    assert counter.get_total_flops() == pytest.approx(T * (flops.projections + flops.mlp + flops.head + full_square))


def test_the_heads_share_of_a_small_model_is_large():
    config = GPTConfig(vocab_size=50257, embed_dim=768, num_heads=12, num_layers=12, max_seq_len=1024)
    flops = flop_count(config)
    assert flops.training == pytest.approx(3 * flops.forward)
    assert flops.head_share == pytest.approx(0.28, abs=0.02)  # 2 * 38.6 M of GPT-2's 2 * 124 M and the scores


@pytest.mark.parametrize("compute_bytes", [2, 4])
@pytest.mark.parametrize("options", [*GRID[:2], GRID[2], GRID[17], *GRID[-3:]], ids=str)
def test_activations_are_within_a_tenth_of_what_torch_keeps(options, compute_bytes):
    config = config_of(options, vocab_size=64, embed_dim=128, max_seq_len=64)
    model = GPT.from_config(config)
    kept = bytes_kept(model, torch.zeros(7, 64, dtype=torch.long), compute_bytes)
    estimated = memory_count(config, rows=7, compute_bytes=compute_bytes).activations
    assert estimated == pytest.approx(kept, rel=0.1)


BEHIND = [
    FurtherTokens(depth=1),
    FurtherTokens(depth=3),
    FurtherTokens(depth=2, kind="recurrent"),
    FurtherTokens(depth=2, isolated=True),
    FurtherTokens(depth=2, isolated=True, frozen=True),
]


def built(config, mtp):
    model = MultiTokenModel.behind(
        GPT.from_config(config), depth=mtp.depth, kind=mtp.kind, isolated=mtp.isolated or mtp.frozen
    )
    model.main.requires_grad_(not mtp.frozen)
    return model


@pytest.mark.parametrize("mtp", [*BEHIND[:3], FurtherTokens(depth=2, kind="parallel")], ids=str)
@pytest.mark.parametrize("options", GRID, ids=str)
def test_parameters_behind_a_model_are_the_modules(options, mtp):
    config = config_of(options)
    model, count = built(config, mtp), parameter_count(config, mtp)
    assert count.mtp == sum(parameter.numel() for parameter in model.mtp.parameters())
    assert count.total == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("mtp", BEHIND, ids=str)
def test_flops_of_further_tokens_are_those_that_torch_counts(mtp):
    config, plain = config_of({}), torch.nn.attention.SDPBackend.MATH
    model, T = built(config, mtp), 20
    ids = torch.zeros(1, T, dtype=torch.long)
    behind = FlopCounterMode(display=False)
    with FlopCounterMode(display=False) as main, torch.nn.attention.sdpa_kernel(plain):
        trunk = model.main.trunk(ids)
        model.lm_head(trunk.hidden)
    with behind, torch.nn.attention.sdpa_kernel(plain):
        for states in model.mtp.behind(trunk):
            model.lm_head(states)
    flops, without = flop_count(config, mtp=mtp), flop_count(config)
    masked = flops.scores / config.num_layers * (2 * T / (T + 1) - 1)  # torch computes and counts that half too
    assert flops.head_share > without.head_share
    assert T * (flops.mtp + flops.mtp_head + mtp.depth * masked) == pytest.approx(behind.get_total_flops())
    assert T * (without.forward + config.num_layers * masked) == pytest.approx(main.get_total_flops())


def test_gradients_that_nobody_takes_are_no_work():
    config, head = config_of({}), 2 * 101 * 32
    both, apart, modules = (flop_count(config, mtp=mtp) for mtp in (BEHIND[1], BEHIND[3], BEHIND[4]))
    assert both.training == pytest.approx(3 * both.forward)
    assert apart.training == pytest.approx(3 * apart.forward - 2 * head)
    assert modules.training == pytest.approx(3 * modules.forward - 2 * head - 2 * flop_count(config).forward)


def test_what_the_model_says_and_the_statistics_of_labels_are_a_product_more_each():
    config, head = config_of({}), 2 * 101 * 32
    labels, model = (flop_count(config, mtp=FurtherTokens(depth=2, against=each)) for each in ("labels", "model"))
    assert model.mtp_head == pytest.approx(3 * labels.mtp_head) == pytest.approx(6 * head)
    assert model.training == pytest.approx(labels.training + 4 * head)  # they have no gradient


@pytest.mark.parametrize("compute_bytes", [2, 4])
@pytest.mark.parametrize("mtp", BEHIND, ids=str)
@pytest.mark.parametrize("options", [GRID[0], GRID[2], GRID[-1]], ids=str)
def test_activations_of_further_tokens_are_within_a_tenth_of_what_torch_keeps(options, mtp, compute_bytes):
    config = config_of(options, vocab_size=64, embed_dim=128, max_seq_len=64)
    kept = bytes_kept(built(config, mtp), torch.zeros(7, 64, dtype=torch.long), compute_bytes)
    estimated = memory_count(config, rows=7, compute_bytes=compute_bytes, mtp=mtp).activations
    assert estimated == pytest.approx(kept, rel=0.1)


def test_what_is_frozen_has_neither_gradients_nor_an_optimisers_state():
    config, mtp = config_of({}), BEHIND[4]
    count, memory = parameter_count(config, mtp), memory_count(config, rows=1, optimizer="muon", mtp=mtp)
    matrices = 2 * (2 * 32 * 32 + 4 * 32 * 32 + 3 * 32 * config.mlp_width)
    assert (memory.weights, memory.gradients) == (4 * count.total, 4 * count.mtp)
    assert memory.optimizer == 8 * count.mtp - 4 * matrices


def bytes_kept(model, ids, compute_bytes):
    """Bytes that autograd saves in one forward, each storage once, without the weights, their copies and gradients."""
    constants = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    shapes = {tuple(parameter.shape) for parameter in model.parameters()}
    seen = {}

    def keep(tensor):
        of_a_weight = {tuple(tensor.shape), tuple(tensor.shape)[::-1]} & shapes
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in constants and not of_a_weight:
            seen[storage.data_ptr()] = (storage.nbytes(), tensor)  # the tensor is held: its address stays its own
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=compute_bytes == 2),
    ):
        if isinstance(model, MultiTokenModel):
            loss, _ = model.multi_token_loss(ids, Targets.from_targets(ids))
        else:
            loss = model.loss(ids, ids)
    assert loss.requires_grad
    return sum(size for size, _ in seen.values())


def test_memory_is_counted_in_bytes_by_hand():
    config = config_of({}, num_layers=1)
    total = parameter_count(config).total
    matrices = 4 * 32 * 32 + 3 * 32 * config.mlp_width
    adamw, muon = (memory_count(config, rows=5, optimizer=name) for name in ("adamw", "muon"))
    assert (adamw.weights, adamw.gradients, adamw.optimizer) == (4 * total, 4 * total, 8 * total)
    assert muon.optimizer == 8 * total - 4 * matrices
    assert adamw.logits_avoided == 5 * 20 * 101 * 4
    assert memory_count(config, rows=5, compute_bytes=2).weights == 4 * total + 2 * matrices
    assert adamw.total == adamw.weights + adamw.gradients + adamw.optimizer + adamw.activations


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"rows": 0}, "rows must be >= 1"),
        ({"rows": 1, "optimizer": "sgd"}, "optimizer must be adamw or muon"),
        ({"rows": 1, "compute_bytes": 8}, "compute_bytes must be 2 or 4"),
        ({"rows": 1, "sequence_length": 21}, r"sequence_length must be in \[1, 20\]"),
    ],
)
def test_an_estimate_of_nonsense_is_refused(options, rule):
    with pytest.raises(ValueError, match=rule):
        memory_count(config_of({}), **options)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"depth": 0}, "depth must be >= 1"),
        ({"kind": "medusa"}, "kind must be"),
        ({"against": "data"}, "against must be"),
    ],
)
def test_further_tokens_that_cannot_be_are_refused(options, rule):
    with pytest.raises(ValueError, match=rule):
        FurtherTokens(**{"depth": 1, **options})
