"""A step's window: one mean over all its scored tokens, however it is cut; compiled, one graph for every step."""

import dataclasses

import numpy as np
import pytest
import torch

from lmhead.labels.example import Example
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.labels.packing.packed_rows import PackedRows, pack
from lmhead.labels.packing.wrapped_rows import DocumentStream, WrappedRows
from lmhead.models.config import GPTConfig
from lmhead.models.gpt import GPT
from lmhead.training.step.window import WindowCounts, WindowLoss, backward

LENGTH = 8


@pytest.fixture
def model() -> GPT:
    torch.manual_seed(0)
    return GPT.from_config(GPTConfig(vocab_size=40, embed_dim=8, num_heads=2, num_layers=1, max_seq_len=LENGTH))


def conversations(*, weighted: bool) -> PackedRows:
    draw = np.random.default_rng(0)
    examples = []
    for size in (2, 3, 5, 4, 3, 6, 2, 7, 3, 4):
        example = Example.of(draw.integers(0, 40, size).tolist(), trained=[t > size // 3 for t in range(size)])
        weight = draw.choice([0.0, 0.5, 2.0], size).astype(np.float32) if weighted else None
        examples.append(dataclasses.replace(example, weight=weight))
    return pack(examples, length=LENGTH, overflow="drop", untrained="keep")


def rows(kind: str) -> WrappedRows | PackedRows:
    if kind == "texts":
        return WrappedRows(DocumentStream.of([range(11), range(20, 39), range(5)]), length=LENGTH, seed=0)
    return conversations(weighted=kind == "weighted conversations")


def gradient(model: GPT, window: list[PackedBatch], loss_of: object = None) -> tuple[WindowLoss, torch.Tensor]:
    model.zero_grad()
    made = backward(
        loss_of or model.loss,  # type: ignore[arg-type]
        window,
        WindowCounts.of(window),
        device=torch.device("cpu"),
        dtype=torch.float32,
        label_smoothing=0.0,
        z_loss=0.0,
    )
    return made, torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])


KINDS = pytest.mark.parametrize("kind", ["texts", "conversations", "weighted conversations"])


@KINDS
def test_micro_batches_of_unequal_weight_give_the_gradient_of_the_whole(model: GPT, kind: str) -> None:
    taken = rows(kind)
    whole, expected = gradient(model, [taken.take(0, 4)])
    parts, got = gradient(model, [taken.take(0, 1), taken.take(1, 3)])
    assert (parts.scored, parts.read) == (whole.scored, whole.read) == (taken.take(0, 4).targets.count, 4 * LENGTH)
    assert parts.weight == whole.weight
    assert parts.loss == pytest.approx(whole.loss, rel=1e-5)
    torch.testing.assert_close(got, expected)


def test_a_window_of_which_nothing_is_scored_has_no_weight_and_a_loss_of_0(model: GPT) -> None:
    silent = pack([Example.of([1, 2, 3], trained=[False] * 3)], length=LENGTH, overflow="drop", untrained="keep")
    made, zero = gradient(model, [silent.take(0, 1)])
    assert (made.loss, made.weight, made.scored, made.read) == (0.0, 0.0, 0, LENGTH)
    assert not zero.any()


@KINDS
@pytest.mark.filterwarnings(
    "ignore:.*should not be instantiated:DeprecationWarning"
)  # Dynamo's own, of autograd functions
def test_a_compiled_window_has_one_graph_for_all_steps(model: GPT, kind: str) -> None:
    graphs = []

    def counted(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> object:
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    compiled, taken = torch.compile(model.loss, fullgraph=True, backend=counted), rows(kind)
    for step in range(3):
        window = [taken.take(4 * step, 2), taken.take(4 * step + 2, 2)]
        made, got = gradient(model, window, compiled)
        exact, expected = gradient(model, window)
        assert made.loss == pytest.approx(exact.loss, rel=1e-6)
        torch.testing.assert_close(got, expected)
    assert len(graphs) == 1
