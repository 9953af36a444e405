"""Patched models of several families under torch.compile, with Inductor too.

python -m pytest tests/nightly/patching/compiled.py
"""

from collections.abc import Iterator

import pytest
import torch
from tests.models.transformers.patching.small_models import (
    assert_same_step,
    bart,
    cohere,
    drawn,
    gemma2,
    gpt2,
    llama,
    phi,
    step,
)

import lmhead

# it looks at the hooks' input, the loss
pytestmark = [
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
    pytest.mark.filterwarnings("ignore:.torch.jit.script"),  # of Inductor itself
]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.parametrize("family", [llama, gemma2, cohere, phi, gpt2])
def test_a_whole_graph_gives_stocks_step(family, backend):
    model = family()
    right = step(model)
    lmhead.patch(model)
    model.compile(backend=backend, fullgraph=True)
    for _ in range(2):
        found = step(model)
        assert_same_step(found, right)
        assert "logits" not in found[0]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert lmhead.last_statistics(model).scored.sum() == (drawn()["labels"][:, 1:] != -100).sum()


def test_a_loss_of_the_models_own_takes_graph_breaks_and_is_right():
    model = bart()
    right = step(model)
    lmhead.patch(model)
    model.compile(backend="eager")
    assert_same_step(step(model), right)


@pytest.mark.parametrize("family", [llama, gemma2])
def test_lengths_take_as_many_graphs_as_stocks(family):
    def count(model: torch.nn.Module) -> list[int]:
        torch.compiler.reset()
        torch._dynamo.utils.counters.clear()
        compiled, counts = torch.compile(model, backend="eager", fullgraph=True), []
        for length in (12, 9, 17, 12, 20):
            compiled(**drawn(length=length))
            counts.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
        return counts

    stock, model = family(), family()
    lmhead.patch(model)
    assert count(model) == count(stock)
