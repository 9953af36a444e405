"""The product of a few rows is F.linear's, in every shape; where a graph is made, it is F.linear."""

import pytest
import torch
import torch.nn.functional as F

from lmhead.models.activation import squared_relu
from lmhead.models.rms_norm import rms_norm
from lmhead.ops.products.few_rows import Linear, linear


@pytest.mark.parametrize("shape", [(5,), (1, 5), (2, 5), (2, 4, 5), (9, 5), (0, 5), (3, 0)], ids=str)
@pytest.mark.parametrize("has_bias", [False, True])
def test_it_is_the_linear_layer_of_torch(shape, has_bias):
    torch.manual_seed(0)
    x, weight = torch.randn(shape), torch.randn(7, shape[-1])
    bias = torch.randn(7) if has_bias else None
    with torch.no_grad():
        made = linear(x, weight, bias)
    torch.testing.assert_close(made, F.linear(x, weight, bias))
    assert made.is_contiguous()


def test_rows_that_are_not_contiguous_are_read_as_they_are():
    x, weight = torch.randn(5, 3).t(), torch.randn(7, 5)
    with torch.no_grad():
        torch.testing.assert_close(linear(x, weight), F.linear(x, weight))


def test_gradients_flow():
    layer, x = Linear(5, 7), torch.randn(3, 5, requires_grad=True)
    layer(x).sum().backward()
    torch.testing.assert_close(x.grad, layer.weight.detach().sum(0).expand(3, 5))


def test_a_graph_is_of_any_number_of_rows():
    rows = torch.export.Dim("rows", min=2, max=512)
    with torch.no_grad():
        graph = torch.export.export(Linear(5, 7), (torch.randn(12, 5),), dynamic_shapes=({0: rows},)).module()
        assert [tuple(graph(torch.randn(count, 5)).shape) for count in (3, 40)] == [(3, 7), (40, 7)]


def test_a_weight_with_products_of_its_own_keeps_them():
    seen = []

    class Quantized(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            seen.append(func)
            return super().__torch_function__(func, types, args, kwargs or {})

    with torch.no_grad():
        linear(torch.randn(3, 5), torch.randn(7, 5).as_subclass(Quantized))
    assert F.linear in seen
    assert torch.mm not in seen


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norm_and_activation_are_the_same_to_the_bit_without_gradients(dtype):
    x = torch.randn(3, 7, dtype=dtype)
    recorded = rms_norm(x.requires_grad_(), None, 1e-5), squared_relu(x)
    with torch.no_grad():
        assert torch.equal(rms_norm(x, None, 1e-5), recorded[0])
        assert torch.equal(squared_relu(x), recorded[1])
