"""The estimate against the modules that it describes."""

import itertools

import pytest
import torch

from lmhead.models.config import GPTConfig
from lmhead.models.estimate import flop_count, memory_count, parameter_count
from lmhead.models.gpt import GPT

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
    from torch.utils.flop_counter import FlopCounterMode

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
