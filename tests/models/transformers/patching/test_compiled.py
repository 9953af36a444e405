"""Under torch.compile: one graph where stock has one, patched before or after, and never bypassed."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from tests.models.transformers.patching.small_models import assert_same_step, drawn, gemma2, step, toy
from torch import nn

import lmhead

# it looks at the hooks' input, the loss
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch.compiler.reset()


def graphs() -> int:
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def test_a_whole_graph_of_a_model_gives_stocks_step():
    """Of the other families: tests/nightly/patching/compiled.py."""
    model = gemma2()
    right = step(model)
    lmhead.patch(model)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    output = compiled(**drawn())
    output.loss.backward()
    assert_same_step((output, {name: each.grad for name, each in model.named_parameters()}), right)
    assert "logits" not in output
    assert graphs() == 1
    assert lmhead.last_statistics(model).scored.sum() == (drawn()["labels"][:, 1:] != -100).sum()


def compiled_in_place_after(model: nn.Module, **options: Any) -> nn.Module:
    lmhead.patch(model)
    model.compile(**options)
    return model


def has_run(model: nn.Module, **options: Any) -> nn.Module:
    compiled = torch.compile(model, **options)
    assert "logits" in compiled(**drawn())
    lmhead.patch(compiled)
    return compiled


def has_run_in_place(model: nn.Module, **options: Any) -> nn.Module:
    model.compile(**options)
    assert "logits" in model(**drawn())
    lmhead.patch(model)
    return model


WAYS = [compiled_in_place_after, has_run, has_run_in_place]  # patched, then compiled: the test above


@pytest.mark.parametrize("way", WAYS, ids=lambda each: each.__name__)
def test_in_whatever_order_the_patch_is_not_bypassed(way: Callable[..., nn.Module]):
    right = toy()(**drawn()).loss
    model = way(toy(), backend="eager", fullgraph=True)
    for _ in range(2):
        output = model(**drawn())
        assert "logits" not in output
        torch.testing.assert_close(output.loss.float(), right)
    first = lmhead.last_statistics(model).nll
    model(**drawn(seed=3))
    assert not torch.equal(lmhead.last_statistics(model).nll, first)
    lmhead.unpatch(model)
    assert "logits" in model(**drawn())


def test_lengths_modes_and_steps_take_as_many_graphs_as_stocks():
    def count(model: nn.Module) -> list[int]:
        torch.compiler.reset()
        torch._dynamo.utils.counters.clear()
        compiled, counts = torch.compile(model, backend="eager", fullgraph=True), []
        for length in (12, 9, 17):
            compiled(**drawn(length=length))
            counts.append(graphs())
        return counts

    stock, model = toy(), toy()
    lmhead.patch(model)
    assert count(model) == count(stock)


def test_in_evaluation_and_without_labels_a_compiled_model_gives_its_logits():
    model = toy().eval()
    stock = model(**drawn())
    lmhead.patch(model)
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        assert torch.equal(compiled(**drawn()).logits, stock.logits)
        assert torch.equal(compiled(input_ids=drawn()["input_ids"]).logits, stock.logits)
    assert "logits" not in compiled.train()(**drawn())


def test_autocast_within_a_graph():
    model = toy().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        right = model(**drawn()).loss
    lmhead.patch(model)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = compiled(**drawn())
    torch.testing.assert_close(output.loss, right, rtol=1e-2, atol=1e-2)
    assert "logits" not in output
