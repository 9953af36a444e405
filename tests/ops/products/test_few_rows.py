"""A product of few rows is F.linear's, whichever side the weight is on."""

import pytest
import torch
import torch.nn.functional as F

from lmhead.models.activation import squared_relu
from lmhead.models.rms_norm import rms_norm
from lmhead.ops.products.few_rows import Linear, linear


@pytest.mark.parametrize("shape", [(7,), (1, 1, 7), (1, 2, 7), (2, 3, 7), (8, 7), (9, 7), (0, 7)])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_the_linear_map(shape, bias, dtype):
    torch.manual_seed(0)
    x, weight = torch.randn(shape, dtype=dtype), torch.randn(5, 7, dtype=dtype)
    b = torch.randn(5, dtype=dtype) if bias else None
    with torch.no_grad():
        made = linear(x, weight, b)
    assert made.dtype == dtype
    exact = F.linear(x.double(), weight.double(), None if b is None else b.double())
    torch.testing.assert_close(made.double(), exact, rtol=0, atol=2e-6 if dtype == torch.float32 else 0.1)


def test_rows_that_are_no_contiguous_tensor_are_multiplied():
    x, weight = torch.randn(7, 3).t(), torch.randn(5, 7)
    with torch.no_grad():
        torch.testing.assert_close(linear(x, weight), x @ weight.t())


def test_gradients_are_those_of_the_linear_map():
    layer, x = Linear(7, 5), torch.randn(3, 7, requires_grad=True)
    layer(x).sum().backward()
    torch.testing.assert_close(x.grad, layer.weight.detach().sum(0).expand(3, -1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norm_and_activation_are_the_same_to_the_bit_without_gradients(dtype):
    x = torch.randn(3, 7, dtype=dtype)
    with torch.no_grad():
        alone = rms_norm(x, None, 1e-5), squared_relu(x)
    assert torch.equal(rms_norm(x, None, 1e-5), alone[0])
    assert torch.equal(squared_relu(x), alone[1])
