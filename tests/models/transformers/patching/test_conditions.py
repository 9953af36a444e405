"""Under checkpointing, autocast, accelerate, quantised trunks, functional calls and threads: stock's step."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.models.transformers.patching.small_models import assert_same_step, drawn, gemma2, llama, phi, step
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import lmhead
from lmhead.models.transformers.patching.lazy_logits import LazyLogits

BFLOAT16 = {"rtol": 3e-2, "atol": 1e-2}  # the model rounds its logits, the op does not


# ---- checkpointing


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable. is deprecated")
@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing(reentrant):
    model = llama()
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    model.enable_input_require_grads()  # a reentrant one needs it
    right = step(model)
    lmhead.patch(model)
    assert_same_step(step(model), right)


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_model_that_is_checkpointed_as_a_whole(reentrant):
    def loss(model: nn.Module) -> Tensor:
        embedded = model.get_input_embeddings()(drawn()["input_ids"])
        return checkpoint(
            lambda hidden: model(inputs_embeds=hidden, labels=drawn()["labels"]).loss, embedded, use_reentrant=reentrant
        )

    def gradients(model: nn.Module) -> dict[str, Tensor]:
        model.zero_grad()
        loss(model).backward()
        return {name: each.grad for name, each in model.named_parameters()}

    model = llama()
    right = gradients(model)
    lmhead.patch(model)
    found = gradients(model)
    for name, gradient in right.items():
        torch.testing.assert_close(found[name], gradient, rtol=2e-6, atol=2e-7)


# ---- dtypes


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", [llama, gemma2, phi])
@pytest.mark.parametrize("training", [True, False])
def test_autocast(family, dtype, training):
    model = family().float().train(training)
    with torch.autocast("cpu", dtype=dtype):
        right = step(model)
        lmhead.patch(model)
        found = step(model)
    assert_same_step(found, right, **BFLOAT16)
    if not training:
        assert torch.equal(found[0].logits, right[0].logits)


@pytest.mark.parametrize("early", [True, False], ids=["patched first", "prepared first"])
def test_accelerates_mixed_precision(early):
    """It wraps the forward: autocast within, and everything that comes out is made float32."""
    accelerate = pytest.importorskip("accelerate")
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = accelerate.Accelerator(mixed_precision="bf16", cpu=True)
    right = accelerator.prepare(llama().float())
    stepped, evaluated = step(right), right.eval()(**drawn())
    model = llama().float()
    if early:
        lmhead.patch(model)
    model = accelerator.prepare(model)
    if not early:
        lmhead.patch(model)
    assert_same_step(step(model), stepped, **BFLOAT16)
    lmhead.last_statistics(model)
    assert "logits" not in model(**drawn())
    assert torch.equal(model.eval()(**drawn()).logits, evaluated.logits)
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("early", [True, False], ids=["patched first", "dispatched first"])
def test_accelerates_hooks_of_the_output_layer_stay(early):
    """`device_map` puts one on each layer, which moves what it is given."""
    accelerate = pytest.importorskip("accelerate")
    from accelerate.hooks import remove_hook_from_submodules

    model = llama()
    right = step(model)
    if early:
        lmhead.patch(model)
    accelerate.dispatch_model(model, {"": "cpu"}, force_hooks=True)
    if not early:
        lmhead.patch(model)
    found = step(model)
    assert_same_step(found, right)
    assert "logits" not in found[0]
    assert "logits" in model.eval()(**drawn())
    lmhead.unpatch(model.train())
    assert hasattr(model.lm_head, "_hf_hook")
    assert_same_step(step(model), right)
    assert "logits" in model(**drawn())
    lmhead.patch(model)
    step(model)
    remove_hook_from_submodules(model)
    assert_same_step(step(model), right)
    assert "logits" not in model(**drawn())
    lmhead.unpatch(model)
    remove_hook_from_submodules(model)
    assert_same_step(step(model), right)
    lmhead.patch(model)
    assert_same_step(step(model), right)


def quantized(folder: Path, bits: str) -> nn.Module:
    from transformers import BitsAndBytesConfig, LlamaForCausalLM

    torch.manual_seed(0)
    llama().to(torch.bfloat16).save_pretrained(folder)
    config = BitsAndBytesConfig(
        load_in_4bit=bits == "4bit", load_in_8bit=bits == "8bit", bnb_4bit_compute_dtype=torch.bfloat16
    )
    return LlamaForCausalLM.from_pretrained(folder, quantization_config=config, dtype=torch.bfloat16)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("bits", ["4bit", "8bit"])
@pytest.mark.parametrize("early", [True, False], ids=["patched first", "adapted first"])
def test_quantised_trunks_with_lora(bits, early, tmp_path):
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: pip install 'lmhead[quantized]'")
    peft = pytest.importorskip("peft")
    lora = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)

    def adapted(model: nn.Module) -> nn.Module:
        torch.manual_seed(1)
        return peft.get_peft_model(model, lora)

    right = step(adapted(quantized(tmp_path, bits)).train())
    model = quantized(tmp_path, bits)
    if early:
        lmhead.patch(model)
    model = adapted(model).train()
    if not early:
        lmhead.patch(model)
    found = step(model)
    assert_same_step(found, right, **BFLOAT16)
    assert "logits" not in found[0]


# ---- functional calls, threads, modes


def test_functional_call_and_its_gradient():
    model = llama()
    lmhead.patch(model)
    weights = {name: 0.5 * each.detach() for name, each in model.named_parameters()}

    def loss(weights: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(model, weights, (), drawn()).loss

    gradients, value = torch.func.grad_and_value(loss)(weights)
    lmhead.unpatch(model)
    rights, right = torch.func.grad_and_value(loss)(weights)
    torch.testing.assert_close(value.float(), right)
    for name, gradient in rights.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=2e-6, atol=2e-7)


@pytest.mark.filterwarnings("ignore:LlamaForCausalLM's forward must call its output layer")  # one forward hides another
def test_threads_at_once_get_no_lazy_logits():
    """Their statistics are whose ever came last; their losses and logits are their own."""
    model = llama()
    right = step(model)[0].loss
    stock = model(input_ids=drawn()["input_ids"]).logits
    lmhead.patch(model)
    wrong: list[Any] = []

    def train() -> None:
        for _ in range(15):
            output = model(**drawn())
            if any(isinstance(each, LazyLogits) for each in output.values()) or not torch.allclose(
                output.loss.float(), right
            ):
                wrong.append(output)

    def read() -> None:
        for _ in range(15):
            output = model(input_ids=drawn()["input_ids"])
            if not isinstance(output.logits, Tensor) or not torch.equal(output.logits, stock):
                wrong.append(output)

    threads = [threading.Thread(target=each) for each in (train, read, train, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("training", [True, False])
def test_without_gradients(mode, training):
    model = llama().train(training)
    with mode():
        right = model(**drawn())
        lmhead.patch(model)
        output = model(**drawn())
    assert not output.loss.requires_grad
    torch.testing.assert_close(output.loss.float(), right.loss)
    if not training:
        assert torch.equal(output.logits, right.logits)


def test_a_second_backward_and_an_accumulated_one():
    model = llama()

    def accumulated() -> dict[str, Tensor]:
        model.zero_grad()
        for seed in (1, 2):
            loss = model(**drawn(seed=seed)).loss
            loss.backward(retain_graph=True)
            loss.backward()
        return {name: each.grad for name, each in model.named_parameters()}

    right = accumulated()
    lmhead.patch(model)
    found = accumulated()
    for name, gradient in right.items():
        torch.testing.assert_close(found[name], gradient, rtol=2e-6, atol=2e-7)
