"""The custom ops with a shard, by torch's own opcheck and compiled whole, in a group of one."""

from dataclasses import astuple

import pytest
import torch
import torch.distributed as dist

from lmhead import VocabularyShard, linear_cross_entropy, linear_divergence, token_logprobs
from lmhead.ops.divergence.problem import KINDS
from lmhead.ops.loss_options import LossOptions, loss_keywords
from lmhead.ops.problem import ROW_OUTPUTS
from lmhead.ops.sharded.vocabulary_shard import held_rows

N, D, V, R = 7, 6, 11, 3
LOSS = loss_keywords(LossOptions(label_smoothing=0.1, z_loss=1e-3))


@pytest.fixture(scope="module")
def shard():
    """Of a group that this process makes up alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield VocabularyShard.of(V, dist.group.WORLD)
    finally:
        dist.destroy_process_group()


@pytest.fixture
def tensors():
    """hidden, weight, targets, bias, adapter_hidden, adapter_weight, column_scale"""
    torch.manual_seed(0)
    shapes = [(N, D), (V, D), (V,), (N, R), (V, R), (V,)]
    hidden, weight, *others = (torch.randn(*shape, requires_grad=True) for shape in shapes)
    targets = torch.randint(V, (N, 1))
    targets[2] = -100
    return hidden, weight, targets, *others


def options(tensors, shard):
    """ignore_index, options, softcap, logit_scale, compute_dtype, memory_budget, shard"""
    return (-100, *LOSS.values(), 5.0, 0.5, torch.float32, 2**20, *astuple(held_rows(shard, tensors[1])))


@pytest.mark.parametrize("backend", ["chunked", "triton"])
def test_the_loss_and_its_gradients_alone(tensors, shard, backend):
    asked = [1] * len(ROW_OUTPUTS)
    coefficient, how = torch.full((N, 1), 1 / N), options(tensors, shard)
    torch.library.opcheck(
        torch.ops.lmhead.cross_entropy.default, (*tensors, coefficient, *how, backend, asked + [1] * 6)
    )
    frozen, ones = [tensor.detach() for tensor in tensors], torch.ones(N)
    torch.library.opcheck(
        torch.ops.lmhead.cross_entropy_gradients.default,
        (*frozen, coefficient, ones, ones, *how, backend, [1] * 6),
    )


@pytest.mark.parametrize("kind", KINDS[:2])
def test_the_divergence(tensors, shard, kind):
    hidden, weight, _, *others = tensors
    student = (hidden, weight, torch.zeros(N, 1, dtype=torch.int64), *others)
    teacher = [torch.randn(*shape) for shape in [(N, 4), (V, 4), (V,), (N, R), (V, R), (V,)]]
    of_student = (5.0, 0.5, torch.float32, 2**20, *astuple(held_rows(shard, weight)))
    how = (*of_student, None, 1.0, torch.float32, kind, 0.3)
    arguments = (*student, *teacher, torch.full((N, 1), 1 / N), *how, "chunked", [1] * 6)
    torch.library.opcheck(torch.ops.lmhead.divergence.default, arguments)
    frozen = [tensor.detach() for tensor in (*student, *teacher)]
    arguments = (*frozen, torch.ones(N, 1), *how, "chunked", [1] * 6)
    torch.library.opcheck(torch.ops.lmhead.divergence_gradients.default, arguments)


def test_compiled_whole_they_are_the_same(tensors, shard):
    hidden, weight, targets, *_ = tensors
    teacher_hidden, teacher_weight = torch.randn(N, 4), torch.randn(V, 4)

    def call(hidden, weight, targets):
        how = {"return_stats": True, "ranks": True, "top_k": 2}
        loss, made = linear_cross_entropy(hidden, weight, targets, shard=shard, **how)
        rows = token_logprobs(hidden, weight, targets, entropy=True, shard=shard)
        divergence = linear_divergence(hidden, weight, teacher_hidden, teacher_weight, kind="reverse_kl", shard=shard)
        total = loss + rows.logprobs.sum() + rows.entropy.sum() + divergence
        return total, divergence, rows.lse, made.entropy, made.rank, made.top_logprobs

    outcomes = []
    for run in (call, torch.compile(call, fullgraph=True, backend="aot_eager")):
        made = run(hidden, weight, targets[:, 0])
        outcomes.append([*made, *torch.autograd.grad(made[0], (hidden, weight))])
    torch._dynamo.reset()
    for got, expected in zip(*outcomes, strict=True):
        torch.testing.assert_close(got, expected)
