"""PEFT before the patch or after it: the loss follows the output layer that the model has at each call."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.models.transformers.patching.small_models import assert_same_step, drawn, gemma2, llama, phi, step
from torch import nn

import lmhead
from lmhead.models.transformers.patching.head_override import HeadOverride

peft = pytest.importorskip("peft", reason="PEFT is not installed: pip install 'lmhead[lora]'")

from peft import LoraConfig, PromptTuningConfig, get_peft_model  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated"),  # PEFT's call of transformers
    pytest.mark.filterwarnings("ignore:Model has .tie_word_embeddings=True."),
    pytest.mark.filterwarnings("ignore:Setting .save_embedding_layers. to"),
    pytest.mark.filterwarnings("ignore:Model with .tie_word_embeddings=True."),
]
Change = Callable[[Any], Any]


def lora(*targets: str, **options: Any) -> Change:
    """Adapters that do something, PEFT's begin at 0."""

    def change(model: nn.Module) -> nn.Module:
        chosen = LoraConfig(r=4, lora_alpha=8, target_modules=[*targets], **options)
        return filled(get_peft_model(model, chosen))

    return change


def filled(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return model


def with_two_adapters(model: nn.Module) -> nn.Module:
    model = lora("q_proj", "lm_head")(model)
    model.add_adapter("other", LoraConfig(r=2, target_modules=["lm_head"]))
    model.base_model.set_adapter(["default", "other"])
    return filled(model)


def merged(model: nn.Module) -> nn.Module:
    model = lora("q_proj", "lm_head", modules_to_save=["embed_tokens"])(model)
    model.merge_adapter()
    return model


def trained_all(model: nn.Module) -> nn.Module:
    return model.requires_grad_()


def resized(model: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    model.resize_token_embeddings(111)
    return model


FORMS: dict[str, tuple[Change, Change]] = {
    "q and v": (llama, lora("q_proj", "v_proj")),
    "head": (llama, lora("q_proj", "lm_head")),
    "head alone, with dropout": (llama, lora("lm_head", lora_dropout=0.1)),
    "head and trunk with dropout": (llama, lora("q_proj", "lm_head", lora_dropout=0.1)),
    "DoRA": (llama, lora("q_proj", "lm_head", use_dora=True)),
    "rsLoRA with a bias": (phi, lora("q_proj", "lm_head", use_rslora=True)),
    "saved head": (llama, lora("q_proj", modules_to_save=["lm_head"])),
    "saved head with a bias": (phi, lora("q_proj", modules_to_save=["lm_head"])),
    "capped": (gemma2, lora("q_proj", "lm_head")),
    "two adapters": (llama, with_two_adapters),
    "merged": (llama, merged),
    "merged and unloaded": (llama, lambda model: trained_all(lora("q_proj", "lm_head")(model).merge_and_unload())),
    "saved head unloaded": (
        llama,
        lambda model: trained_all(lora("q_proj", modules_to_save=["lm_head"])(model).merge_and_unload()),
    ),
    "unloaded": (llama, lambda model: trained_all(lora("lm_head")(model).unload())),
    "resized": (llama, resized),
    "resized, tied": (gemma2, resized),
    "resized, with a bias": (phi, resized),
    "resized, then adapted": (llama, lambda model: lora("q_proj", "lm_head")(resized(model))),
    "prompt tuning": (
        llama,
        lambda model: get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)),
    ),
}


def stepped(model: nn.Module) -> Any:
    torch.manual_seed(0)  # of the dropout
    return step(model)


@pytest.mark.parametrize("form", FORMS)
def test_patched_before_or_after_the_step_is_stocks(form):
    made, change = FORMS[form]
    stock = change(made())
    right = stepped(stock)

    before = made()
    lmhead.patch(before)
    step(before)
    before = change(before)

    after = change(made())
    lmhead.patch(after)

    for model in (before, after):
        found = stepped(model)
        assert_same_step(found, right)
        assert "logits" not in found[0]
        assert lmhead.last_statistics(model).scored.sum() == (drawn()["labels"][:, 1:] != -100).sum()
        assert [*model.state_dict()] == [*stock.state_dict()]
        lmhead.unpatch(model)
        assert_same_step(stepped(model), right)
        assert not any(isinstance(vars(each).get("forward"), HeadOverride) for each in model.modules())


def test_adapters_may_be_disabled_chosen_and_rescaled_between_steps():
    stock, model = (with_two_adapters(llama()) for _ in range(2))
    lmhead.patch(model)
    for change in (
        lambda each: each.set_adapter("other"),
        lambda each: each.set_adapter("default"),
        lambda each: each.get_output_embeddings().set_scale("default", 0.3),
        lambda each: each.base_model.merge_adapter(),
        lambda each: each.base_model.unmerge_adapter(),
        lambda each: each.delete_adapter("other"),
    ):
        change(stock)
        change(model)
        with torch.no_grad():
            torch.testing.assert_close(model(**drawn()).loss.float(), stock(**drawn()).loss)
    with model.disable_adapter(), torch.no_grad():
        torch.testing.assert_close(model(**drawn()).loss.float(), llama()(**drawn()).loss)


def test_an_adapter_is_saved_and_loaded_as_without_the_patch(tmp_path):
    model = lora("q_proj", "lm_head")(llama())
    right = step(model)
    lmhead.patch(model)
    model.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(llama(), tmp_path, is_trainable=True)
    lmhead.patch(loaded)
    assert_same_step(step(loaded), right)


def test_a_patched_model_takes_an_adapter_that_is_loaded(tmp_path):
    model = lora("q_proj", modules_to_save=["lm_head"])(llama())
    right = step(model)
    model.save_pretrained(tmp_path)
    base = llama()
    lmhead.patch(base)
    loaded = peft.PeftModel.from_pretrained(base, tmp_path, is_trainable=True)
    assert_same_step(step(loaded), right)


def test_transformers_own_adapters_are_followed():
    """`model.add_adapter`, which puts PEFT's layers into the model without a PeftModel."""
    stock, model = llama(), llama()
    lmhead.patch(model)
    for each in (stock, model):
        each.add_adapter(LoraConfig(r=4, target_modules=["q_proj", "lm_head"], init_lora_weights=False))
    model.load_state_dict(stock.state_dict())
    assert_same_step(step(model), step(stock))


def test_a_tuner_that_the_op_does_not_know_is_refused_in_a_line():
    model = get_peft_model(llama(), peft.IA3Config(target_modules=["lm_head"], feedforward_modules=[]))
    with pytest.raises(
        lmhead.ArgumentTypeError, match=r"^layer must be an nn.Linear or PEFT's LoRA around one, got peft"
    ):
        lmhead.patch(model)
    base = llama()
    lmhead.patch(base)
    after = get_peft_model(base, peft.IA3Config(target_modules=["lm_head"], feedforward_modules=[]))
    with pytest.raises(lmhead.ArgumentTypeError, match="got peft"):
        after(**drawn())
    lmhead.unpatch(after)
    assert "logits" in after(**drawn())
