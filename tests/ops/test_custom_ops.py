"""The custom ops themselves, by torch's own opcheck: schema, fakes, autograd registration, dynamic shapes."""

from dataclasses import astuple

import pytest
import torch
from tests.pairwise import pairwise

from lmhead.ops.loss_options import LossOptions, loss_keywords
from lmhead.ops.problem import ROW_OUTPUTS
from lmhead.ops.sharded.held_rows import ALL_ROWS

SWEEPS = ["chunked", "row_major", "vocabulary_major", "triton"]  # Triton's other forms have nothing of their own here
N, K, D, V, R = 13, 2, 6, 11, 3
LOSS = loss_keywords(LossOptions(label_smoothing=0.1, z_loss=1e-3))
# ignore_index, options, softcap, logit_scale, compute_dtype, memory_budget, shard
OPTIONS = (-100, *LOSS.values(), 5.0, 0.5, torch.float32, 2**20, *astuple(ALL_ROWS))


def asked(statistics):
    """Which row outputs: all, or those that come for nothing."""
    return [
        0 if not statistics and output.wanted_by is not None else 3 if output.of_each == "count" else 1
        for output in ROW_OUTPUTS
    ]


@pytest.fixture
def tensors():
    """hidden, weight, targets, bias, adapter_hidden, adapter_weight, column_scale"""
    torch.manual_seed(0)
    shapes = [(N, D), (V, D), (V,), (N, R), (V, R), (V,)]
    hidden, weight, *others = (torch.randn(*shape, requires_grad=True) for shape in shapes)
    targets = torch.randint(V, (N, K))
    targets[2] = targets[3, 1] = -100
    return hidden, weight, targets, *others


@pairwise(sweep=SWEEPS, per_row=[False, True], statistics=[False, True])
def test_the_loss(tensors, per_row, statistics, sweep):
    coefficient = None if per_row else torch.full((N, K), 1 / N)
    arguments = (*tensors, coefficient, *OPTIONS, sweep, asked(statistics) + [int(not per_row)] * 6)
    torch.library.opcheck(torch.ops.lmhead.cross_entropy.default, arguments)


@pytest.mark.parametrize("sweep", SWEEPS)
@pytest.mark.parametrize("of_rows", [False, True], ids=["losses", "losses, lse and entropy"])
def test_the_gradients_alone(tensors, of_rows, sweep):
    frozen = [tensor.detach() for tensor in tensors]
    coefficients = (torch.ones(N, K), *((torch.ones(N), torch.ones(N)) if of_rows else (None, None)))
    arguments = (*frozen, *coefficients, *OPTIONS, sweep, [1] * 6)
    torch.library.opcheck(torch.ops.lmhead.cross_entropy_gradients.default, arguments)


def test_a_transposed_hidden_state(tensors):
    """Its gradient is contiguous, as the fake says."""
    hidden, *others = tensors
    transposed = hidden.detach().t().contiguous().t().requires_grad_()
    arguments = (
        transposed,
        *others,
        torch.full((N, K), 1 / N),
        *OPTIONS,
        "chunked",
        asked(False) + [1] * 6,
    )
    torch.library.opcheck(torch.ops.lmhead.cross_entropy.default, arguments)
