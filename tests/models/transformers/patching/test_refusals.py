"""What is refused: one line that says the rule, what was got and what to do; the model stays stock."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.models.transformers.patching.small_models import (
    IDS_OF_SPECIAL_TOKENS,
    D,
    V,
    assert_same_step,
    drawn,
    gpt2,
    llama,
    step,
)
from torch import nn

import lmhead
from lmhead import ArgumentError, ArgumentTypeError
from lmhead.models.transformers.patching.patch import is_patched


def musicgen() -> nn.Module:
    from transformers import MusicgenForCausalLM
    from transformers.models.musicgen import MusicgenDecoderConfig

    sizes = {"hidden_size": D, "num_hidden_layers": 1, "num_attention_heads": 4, "ffn_dim": 48, "vocab_size": V}
    return MusicgenForCausalLM(MusicgenDecoderConfig(**sizes, **IDS_OF_SPECIAL_TOKENS, num_codebooks=2))


def prophetnet() -> nn.Module:
    from transformers import ProphetNetConfig, ProphetNetForCausalLM

    sizes = {"encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "num_encoder_layers": 1, "num_decoder_layers": 1}
    heads = {"num_encoder_attention_heads": 4, "num_decoder_attention_heads": 4, "vocab_size": V, "hidden_size": D}
    return ProphetNetForCausalLM(
        ProphetNetConfig(**sizes, **heads, **IDS_OF_SPECIAL_TOKENS, decoder_start_token_id=1, is_decoder=True)
    )


def without_head() -> nn.Module:
    return llama().model


def on_meta() -> nn.Module:
    with torch.device("meta"):
        return llama()


def partly_on_meta() -> nn.Module:
    model = llama()
    model.model.layers[0].to("meta")
    return model


def with_head(head: nn.Module) -> nn.Module:
    model = llama()
    model.lm_head = head
    return model


class Scaled(nn.Linear):
    """An output layer of somebody's own."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return 2.0 * super().forward(hidden)


def patched() -> nn.Module:
    return lmhead.patch(llama()).model


def around_a_patched_one() -> nn.Module:
    model = llama()
    model.draft = patched()
    return model


def with_anothers_head() -> nn.Module:
    model = llama()
    model.lm_head = patched().lm_head
    return model


def in_inference_mode() -> nn.Module:
    with torch.inference_mode():
        return llama()


def with_a_nan_in_its_head() -> nn.Module:
    model = llama()
    model.lm_head.weight.data[3, 3] = torch.nan
    return model


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "no model": (lambda: "gpt2", ArgumentTypeError, r"model must be a causal LM of transformers, got str"),
    "a module": (
        lambda: nn.Linear(2, 2),
        ArgumentTypeError,
        r"model must be a causal LM of transformers, with get_output_embeddings\(\), got Linear: for a module of your "
        r"own take lmhead.WrappedHead\(output layer\).loss\(hidden, labels=...\)",
    ),
    "no head": (
        without_head,
        ArgumentError,
        r"model must have an output layer, got None from LlamaModel.get_output_embeddings\(\): it has no head",
    ),
    "a list of heads": (
        musicgen,
        ArgumentError,
        r"model must have one output layer, got 2 of them in MusicgenForCausalLM: its loss is of several codebooks; "
        r"take lmhead.WrappedHead\(layer\).loss for each",
    ),
    "a loss of its own kind": (
        prophetnet,
        ArgumentError,
        r"model must ask nothing of its logits in training but one cross entropy, got their \w+ in "
        r"ProphetNetForCausalLM: its loss needs them, and the patch would save nothing; train it as it is",
    ),
    "meta": (
        on_meta,
        ArgumentError,
        r"model must have its weights in memory, got some on the meta device in LlamaForCausalLM: load it without "
        r"offloading \(device_map to one device\), or patch it after it is materialised",
    ),
    "offloaded": (
        partly_on_meta,
        ArgumentError,
        r"model must have its weights in memory, got some on the meta device in .*",
    ),
    "data parallel": (
        lambda: nn.DataParallel(llama()),
        ArgumentError,
        r"model must not be an nn.DataParallel, whose replicas share what a patched model remembers, got one: use "
        r"DistributedDataParallel, a process for each GPU",
    ),
    "patched": (
        patched,
        ArgumentError,
        r"model must not be patched twice, got one that is: lmhead.unpatch\(model\) takes it off",
    ),
    "patched within": (
        around_a_patched_one,
        ArgumentError,
        r"model must have an output layer and modules that no other patched model has, got LlamaForCausalLM within "
        r"LlamaForCausalLM: patch the one that you call, and lmhead.unpatch the other first",
    ),
    "another's head": (
        with_anothers_head,
        ArgumentError,
        r".*, got a model that shares its output layer within Llama.*",
    ),
    "inference mode": (
        in_inference_mode,
        ArgumentError,
        r"model must have weights that can be trained, got some of torch.inference_mode in LlamaForCausalLM: make or "
        r"load it outside of inference_mode",
    ),
    "not a number": (
        with_a_nan_in_its_head,
        ArgumentError,
        r"model must have weights that are finite, got a loss of nan in LlamaForCausalLM, as stock: they are "
        r"damaged, or too large for their dtype; load them anew, or in float32",
    ),
    "another layer": (
        lambda: with_head(Scaled(D, V).double()),
        ArgumentTypeError,
        r"layer must be an nn.Linear or PEFT's LoRA around one, got .*Scaled: .*",
    ),
    "a sequence": (
        lambda: with_head(nn.Sequential(nn.Linear(D, V)).double()),
        ArgumentTypeError,
        r"layer must be an nn.Linear or PEFT's LoRA around one, got torch.nn.modules.container.Sequential: .*",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_is_refused_in_a_line(case):
    make, kind, said = REFUSED[case]
    model = make()
    with pytest.raises(kind, match=f"^{said}$") as error:
        lmhead.patch(model)
    assert type(error.value) is kind
    assert "\n" not in str(error.value)
    if isinstance(model, nn.Module) and case != "patched":
        others = [each for each in model.modules() if "_lmhead_patch" in vars(each)]  # whose patch stays
        assert not any(each._forward_hooks for each in model.modules() if each not in others)


def test_an_unknown_choice_of_logits_is_refused():
    with pytest.raises(ArgumentError, match=r"^logits must be eval, always or never, got 'no'"):
        lmhead.patch(llama(), logits="no")


@pytest.mark.parametrize("make", [llama, lambda: nn.DataParallel(llama()), lambda: nn.Linear(1, 1), lambda: 3])
def test_unpatch_of_what_is_not_patched_is_refused(make):
    with pytest.raises((ArgumentError, ArgumentTypeError), match=r"^model must "):
        lmhead.unpatch(make())


def test_a_patched_model_refuses_to_be_a_replica_of_data_parallel():
    model = llama()
    lmhead.patch(model)
    replica = model._replicate_for_data_parallel()
    with pytest.raises(
        ArgumentError, match=r"^a patched model must not be run by nn.DataParallel, .*: use Distributed"
    ):
        replica(**drawn())
    assert is_patched(model)
    assert "logits" not in model(**drawn())


@pytest.mark.parametrize("label", [V, -1, V + 10**6])
def test_labels_out_of_range_are_refused_in_a_line(label):
    model = llama()
    lmhead.patch(model)
    batch = drawn()
    batch["labels"][0, 5] = label
    with pytest.raises(ArgumentError, match=rf"^targets must .*{label}") as error:
        model(**batch)
    assert "\n" not in str(error.value)
    assert_same_step(step(model), step(llama()))


def test_labels_of_the_wrong_length_are_refused():
    model = llama()
    lmhead.patch(model)
    batch = drawn()
    with pytest.raises(ArgumentError, match=r"^targets must "):
        model(input_ids=batch["input_ids"], labels=batch["labels"][:, :5])


def test_a_head_that_is_replaced_by_another_kind_is_refused_at_the_next_forward():
    model = gpt2()
    lmhead.patch(model)
    model.lm_head = Scaled(D, V).double()
    with pytest.raises(ArgumentTypeError, match=r"^layer must be an nn.Linear"):
        model(**drawn())
    lmhead.unpatch(model)
    assert "logits" in model(**drawn())


def test_a_head_that_is_replaced_by_a_linear_layer_is_followed():
    model, head = llama(), nn.Linear(D, V + 3).double()
    model.lm_head = head
    model.config.vocab_size = V + 3
    right = step(model)
    other = llama()
    lmhead.patch(other)
    other.lm_head = nn.Linear(D, V + 3).double()
    other.lm_head.load_state_dict(head.state_dict())
    other.config.vocab_size = V + 3
    assert_same_step(step(other), right)


def test_buffers_that_to_empty_left_undefined_are_refused():
    with torch.device("meta"):
        model = llama()
    model.to_empty(device="cpu")
    for garbage in ([0.0, 0.0, 0.0, 0.0], [-1.1e33, 3.1e-41, 0.0, 0.0], [3.4e-44, 0.0, 0.0, 0.0], [math.nan] * 4):
        model.model.rotary_emb.inv_freq.copy_(torch.tensor(garbage))
        with pytest.raises(
            ArgumentError,
            match=r"^model must have the buffers that no checkpoint has, got inv_freq from .* in LlamaRotaryEmbedding: "
            r"after model.to_empty\(device=...\) call model.init_weights\(\), and then load its weights$",
        ):
            lmhead.patch(model)
    model.init_weights()
    model.load_state_dict(llama().state_dict())
    lmhead.patch(model)
    assert_same_step(step(model), step(llama()))
