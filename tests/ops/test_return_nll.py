"""return_stats="nll": each token's nll beside the loss, the statistics' own, with the same loss and gradient."""

from typing import Any

import pytest
import torch

from lmhead import linear_cross_entropy
from lmhead.errors import ArgumentTypeError
from lmhead.labels.targets import Targets
from lmhead.models.config import GPTConfig
from lmhead.models.gpt import GPT

N, D, V = 37, 8, 53
OPTIONS = [{}, {"label_smoothing": 0.1, "z_loss": 1e-3}, {"softcap": 5.0}, {"divisor": torch.tensor(11.0)}]


def drawn(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, V, (N,), generator=draw)
    targets[torch.rand(N, generator=draw) < 0.3] = -100
    return torch.randn(N, D, generator=draw), torch.randn(V, D, generator=draw), targets


@pytest.mark.parametrize("backend", ["chunked", "row_major", "vocabulary_major", "reference"])
@pytest.mark.parametrize("options", OPTIONS)
def test_it_is_the_statistics_nll_and_changes_nothing_else(backend: str, options: dict[str, Any]) -> None:
    made = []
    wanted: Any
    for wanted in (True, "nll"):
        hidden, weight, targets = drawn(0)
        hidden.requires_grad_(), weight.requires_grad_()
        loss, found = linear_cross_entropy(hidden, weight, targets, return_stats=wanted, backend=backend, **options)
        loss.backward()
        made.append((loss.detach(), found if wanted == "nll" else found.nll, hidden.grad, weight.grad))
    for one, other in zip(*made, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)
    nll = made[1][1]
    assert nll.shape == (N,)
    assert not nll.requires_grad
    assert not nll[drawn(0)[2] == -100].any()


def test_it_is_float64s() -> None:
    hidden, weight, targets = drawn(1)
    _, nll = linear_cross_entropy(hidden, weight, targets, return_stats="nll", label_smoothing=0.2)
    logits = hidden.double() @ weight.double().T
    exact = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    torch.testing.assert_close(nll.double(), exact, rtol=1e-5, atol=1e-6)


def test_a_model_gives_it_in_the_shape_of_its_ids() -> None:
    torch.manual_seed(0)
    model = GPT.from_config(GPTConfig(vocab_size=V, embed_dim=8, num_heads=2, num_layers=1, max_seq_len=16))
    ids = torch.randint(0, V, (3, 16))
    targets = Targets.from_labels(ids)
    loss, nll = model.loss(ids, targets, return_stats="nll")
    assert nll.shape == (3, 16)
    torch.testing.assert_close(nll, model.loss(ids, targets, return_stats=True)[1].nll)
    assert float(nll.sum() / targets.count) == pytest.approx(float(loss.detach()), rel=1e-6)


def test_another_word_is_refused() -> None:
    hidden, weight, targets = drawn(0)
    with pytest.raises(ArgumentTypeError, match="return_stats must be True or False"):
        linear_cross_entropy(hidden, weight, targets, return_stats="entropy")  # type: ignore[call-overload]
