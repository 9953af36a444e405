"""This library's heads as targets of PEFT: which it can adapt, and which only save."""

import pytest
import torch
from torch import nn

from lmhead import LanguageModelingHead, WrappedHead, causal_lm_loss

pytest.importorskip("peft", reason="PEFT is not installed: pip install 'lmhead[test]'")

from peft import LoraConfig, get_peft_model

V, D = 37, 16
IDS = torch.arange(24).reshape(2, 12) % V


class Ours(nn.Module):
    """A model whose head is this library's."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, D)
        self.mix = nn.Linear(D, D)
        self.own = LanguageModelingHead(D, V)
        self.wrapped = WrappedHead(nn.Linear(D, V, bias=False))

    def hidden(self, ids: torch.Tensor) -> torch.Tensor:
        return self.mix(self.embedding(ids))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.own(self.hidden(ids)) + self.wrapped(self.hidden(ids))


def test_a_wrapped_head_inside_a_model_is_seen_by_peft():
    model = get_peft_model(Ours(), LoraConfig(r=3, target_modules=["wrapped.layer"], init_lora_weights=False))
    inside = model.get_base_model()
    hidden = inside.hidden(IDS)
    assert type(inside.wrapped.layer).__module__ == "peft.tuners.lora.layer"
    loss = inside.wrapped.loss(hidden, labels=IDS)
    torch.testing.assert_close(loss, causal_lm_loss(inside.wrapped(hidden), IDS))
    loss.backward()
    names = [name for name, parameter in model.named_parameters() if parameter.grad is not None]
    assert [name.split(".")[-3] for name in names] == ["lora_A", "lora_B"]


def test_a_head_that_owns_its_weight_is_no_target_but_may_be_saved():
    with pytest.raises(ValueError, match=r"Target module LanguageModelingHead.* is not supported"):
        get_peft_model(Ours(), LoraConfig(target_modules=["own"]))
    inside = get_peft_model(Ours(), LoraConfig(target_modules=["mix"], modules_to_save=["own"])).get_base_model()
    hidden = inside.hidden(IDS)
    loss = inside.own.loss(hidden, labels=IDS)
    loss.backward()
    torch.testing.assert_close(loss, causal_lm_loss(inside.own(hidden), IDS))
    assert inside.own.modules_to_save["default"].weight.grad is not None
    assert inside.own.original_module.weight.grad is None
