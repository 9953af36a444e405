"""A checkpoint holds what is trained, and knows again what stood beside it."""

import pytest
import torch
from torch import nn

from lmhead.training.weights.trained_state import frozen_fingerprint, load_trained_state, trained_state


def model(*, frozen: bool) -> nn.Sequential:
    torch.manual_seed(0)
    built = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2, bias=False))
    built[0].requires_grad_(not frozen)
    return built


def test_all_of_a_model_that_is_trained_in_full_is_kept_buffers_too() -> None:
    built = model(frozen=False)
    assert trained_state(built).keys() == built.state_dict().keys()
    assert frozen_fingerprint(built) is None


def test_beside_frozen_weights_what_is_trained_alone_is_kept_and_put_back() -> None:
    built, other = model(frozen=True), model(frozen=True)
    with torch.no_grad():
        built[2].weight.add_(1.0)
    state = {name: tensor.clone() for name, tensor in trained_state(built).items()}
    assert state.keys() == {"1.weight", "1.bias", "2.weight"}
    load_trained_state(other, state)
    assert torch.equal(other[2].weight, built[2].weight)


@pytest.mark.parametrize("change", ["other names", "another shape"])
def test_a_state_of_another_model_is_refused(change: str) -> None:
    state = dict(trained_state(model(frozen=True)))
    if change == "other names":
        state.pop("1.bias")
    else:
        state["2.weight"] = torch.zeros(2, 5)
    with pytest.raises(RuntimeError, match="1.bias is in one of the two alone" if change == "other names" else "shape"):
        load_trained_state(model(frozen=True), state)


def test_a_fingerprint_follows_frozen_weights_and_no_others() -> None:
    built, other = model(frozen=True), model(frozen=True)
    assert frozen_fingerprint(built) == frozen_fingerprint(other) is not None
    with torch.no_grad():
        other[2].weight.add_(1.0)
    assert frozen_fingerprint(built) == frozen_fingerprint(other)
    with torch.no_grad():
        other[0].weight[0, 0] += 1e-3
    assert frozen_fingerprint(built) != frozen_fingerprint(other)
    other[0].bfloat16()
    narrow = frozen_fingerprint(other)
    other[0].float()
    assert narrow != frozen_fingerprint(other)
