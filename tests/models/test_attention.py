"""The way that short bfloat16 rows take on a CPU equals torch's attention; ReLU^2 equals its definition."""

import pytest
import torch
import torch.nn.functional as F

from lmhead.models.activation import squared_relu
from lmhead.models.attention import attention


def inputs(T: int, dtype: torch.dtype) -> list[torch.Tensor]:
    torch.manual_seed(T)
    shape = (2, T, 3, 8)  # transposed below, as the projections give them
    return [torch.randn(shape, dtype=torch.float64).to(dtype).requires_grad_() for _ in range(3)]


def run(T: int, dtype: torch.dtype, *, fused: bool) -> list[torch.Tensor]:
    leaves = inputs(T, dtype)
    q, k, v = (leaf.transpose(1, 2) for leaf in leaves)
    if fused:
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    else:
        out = attention(q, k, v, mask=None, causal=True, dropout=0.0)
    gradients = torch.autograd.grad((out.double() * torch.linspace(-1, 1, 8)).sum(), leaves)
    return [out.detach().double(), *(gradient.double() for gradient in gradients)]


@pytest.mark.parametrize("T", [1, 2, 33, 512, 513])
def test_bfloat16_training_is_as_good_as_torchs_attention(T: int) -> None:
    exact = run(T, torch.float64, fused=True)
    ours = run(T, torch.bfloat16, fused=False)
    theirs = run(T, torch.bfloat16, fused=True)
    for got, peer, true in zip(ours, theirs, exact, strict=True):
        assert (got - true).norm() <= 1.5 * (peer - true).norm() + 1e-3 * true.norm()


def test_the_future_is_not_seen() -> None:
    q, k, v = (leaf.transpose(1, 2) for leaf in inputs(16, torch.bfloat16))
    before = attention(q, k, v, mask=None, causal=True, dropout=0.0)
    k2, v2 = k.detach().clone(), v.detach().clone()
    k2[:, :, 9:] += 5
    v2[:, :, 9:] += 5
    after = attention(q, k2, v2, mask=None, causal=True, dropout=0.0)
    assert torch.equal(before[:, :, :9], after[:, :, :9])
    assert not torch.equal(before[:, :, 9:], after[:, :, 9:])


def test_squared_relu_is_its_definition() -> None:
    x = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    assert torch.equal(squared_relu(x), x.relu().square())
    assert torch.autograd.gradcheck(squared_relu, (x + 0.01,))
