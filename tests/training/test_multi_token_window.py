"""The loss of further tokens in a step: exact means at every depth however the window is cut; compiled, one graph."""

import pytest
import torch
from tests.training.test_window import LENGTH, rows

from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.losses.depth_weighting import DepthWeighting
from lmhead.models.config import GPTConfig
from lmhead.models.gpt import GPT
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.models.multi_token.style import KINDS, Kind
from lmhead.training.step.multi_token_window import backward_of_depths
from lmhead.training.step.window import WindowCounts, WindowLoss, backward

DATA = pytest.mark.parametrize("data", ["texts", "conversations", "weighted conversations"])
HOW = {"device": torch.device("cpu"), "dtype": torch.float32, "label_smoothing": 0.0, "z_loss": 0.0}


def model_of(kind: Kind, *, depth: int = 2, isolated: bool = False) -> MultiTokenModel:
    torch.manual_seed(0)
    config = GPTConfig(vocab_size=40, embed_dim=8, num_heads=2, num_layers=1, max_seq_len=LENGTH)
    return MultiTokenModel.behind(GPT.from_config(config), depth=depth, kind=kind, isolated=isolated)


def gradient(
    model: MultiTokenModel, window: list[PackedBatch], loss_of: object = None, **weighting: object
) -> tuple[WindowLoss, torch.Tensor]:
    model.zero_grad()
    made = backward_of_depths(
        loss_of or model.multi_token_loss,  # type: ignore[arg-type]
        window,
        WindowCounts.of(window, mtp_depth=model.depth),
        depth=model.depth,
        weighting=DepthWeighting(**weighting),  # type: ignore[arg-type]
        **HOW,  # type: ignore[arg-type]
    )
    return made, torch.cat([each.grad.flatten() for each in model.parameters() if each.grad is not None])


@DATA
@pytest.mark.parametrize("kind", KINDS)
def test_micro_batches_of_unequal_weight_give_the_gradient_of_the_whole(kind: Kind, data: str) -> None:
    model, taken = model_of(kind), rows(data)
    whole, expected = gradient(model, [taken.take(0, 4)])
    parts, got = gradient(model, [taken.take(0, 1), taken.take(1, 3)])
    assert (parts.scored, parts.weight) == (whole.scored, whole.weight)
    assert (parts.loss, *parts.depths) == pytest.approx((whole.loss, *whole.depths), rel=1e-5)
    assert parts.differentiated == pytest.approx(whole.differentiated, rel=1e-5)
    torch.testing.assert_close(got, expected)


@DATA
def test_the_losses_are_each_depths_mean_and_the_total_what_they_weigh(data: str) -> None:
    model, batch = model_of("sequential"), rows(data).take(0, 4)
    made, _ = gradient(model, [batch], mtp_lambda=[0.5, 0.25])
    document = batch.attention_document
    hidden = model.main.trunk(batch.ids, document=document)
    means = []
    for k, states in enumerate([hidden.hidden, *model.mtp.behind(hidden)]):
        ahead = batch.targets.at(1 + k)
        weight = ahead.scored.float() if ahead.weight is None else ahead.weight
        nll = -model.lm_head(states).log_softmax(-1).gather(-1, ahead.ids.clamp(0)[..., None])[..., 0]
        means.append(((nll * weight).sum() / weight.sum()).item())
    assert (made.loss, *made.depths) == pytest.approx(means, rel=1e-5)
    assert made.differentiated == pytest.approx(means[0] + 0.5 * means[1] + 0.25 * means[2], rel=1e-5)


def test_the_next_tokens_loss_is_that_of_a_model_without_modules() -> None:
    model, batch = model_of("sequential", isolated=True), rows("texts").take(0, 4)
    made, _ = gradient(model, [batch])
    own = [parameter.grad.clone() for parameter in model.main.parameters() if parameter.grad is not None]
    model.zero_grad()
    alone = backward(model.main.loss, [batch], WindowCounts.of([batch]), **HOW)  # type: ignore[arg-type]
    assert made.loss == pytest.approx(alone.loss, rel=1e-6)
    assert all(torch.equal(one, each.grad) for one, each in zip(own, model.main.parameters(), strict=True))


@pytest.mark.parametrize("kind", ["recurrent", "parallel"])
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_a_compiled_window_has_one_graph_for_all_steps(kind: Kind) -> None:
    graphs = []

    def counted(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> object:
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    model, taken = model_of(kind), rows("conversations")
    compiled = torch.compile(model.multi_token_loss, backend=counted)
    for step in range(3):
        window = [taken.take(2 * step, 1), taken.take(2 * step + 1, 1)]
        made, got = gradient(model, window, compiled)
        exact, expected = gradient(model, window)
        assert made.depths == pytest.approx(exact.depths, rel=1e-6)
        torch.testing.assert_close(got, expected)
    assert len(graphs) == 1
