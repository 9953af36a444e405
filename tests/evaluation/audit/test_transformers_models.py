"""An audit of transformers' models: right ones pass, whatever their positions, windows and caps; faults are named."""

import pytest
import torch
from tests.evaluation.audit.mutants import documents

import lmhead
from lmhead.evaluation.audit.audit_documents import audit_documents
from lmhead.evaluation.scores.windows import Windows

transformers = pytest.importorskip("transformers", reason="transformers is not installed: pip install 'lmhead[hf]'")

V, CONTEXT = 40, 32
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
SIZES = {
    "vocab_size": V,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    **SPECIAL,
}
MODELS = {
    "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES)),
    "gpt2": lambda: transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=V, n_embd=32, n_layer=2, n_head=4, n_positions=CONTEXT, resid_pdrop=0.3, **SPECIAL
        )
    ),
    "gemma2": lambda: transformers.Gemma2ForCausalLM(
        transformers.Gemma2Config(**SIZES, head_dim=8, sliding_window=8, attn_implementation="eager")
    ),
    "mixtral": lambda: transformers.MixtralForCausalLM(transformers.MixtralConfig(**SIZES, num_local_experts=4)),
}


def model(name, dtype=torch.float32):
    torch.manual_seed(0)
    made = MODELS[name]().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    made.loss_type = "ForCausalLM"
    return lmhead.PretrainedCausalLM(made.to(dtype).eval())


def audit(made, **options):
    windows = Windows(window=CONTEXT, stride=CONTEXT // 2)
    return audit_documents(made, documents(count=9), windows, device=torch.device("cpu"), **options)


@pytest.mark.parametrize("name", MODELS)
def test_a_right_model_has_no_fault(name):
    made = model(name)
    report = audit(made)
    assert report.ok, str(report)
    found = {probe.name: probe for probe in report.probes}
    assert found["padding left, mask"].verdict in ("exact", "rounding")
    assert found["3 documents in a row"].verdict in ("exact", "rounding")
    other = "sdpa" if name == "gemma2" else "eager"
    assert found[f"attention {other}"].verdict in ("exact", "rounding", "not run"), str(report)
    assert made.base.config._attn_implementation == ("eager" if other == "sdpa" else "sdpa")


def test_weights_of_16_bits_are_judged_by_their_own_rounding():
    report = audit(model("llama", torch.bfloat16))
    assert report.ok, str(report)
    assert report.tolerance > 1e-2
    assert {probe.name: probe.verdict for probe in report.probes}["bfloat16 autocast"] == "not run"


def test_a_model_with_absolute_positions_is_told_of_padding_at_the_left():
    alone = {
        name: next(probe for probe in audit(model(name)).probes if probe.name == "padding left, mask alone")
        for name in ("llama", "gpt2")
    }
    assert alone["llama"].verdict in ("exact", "rounding")
    assert alone["gpt2"].verdict == "depends"
    assert "absolute" in alone["gpt2"].note


def test_a_mask_that_a_model_forgets_is_named():
    made = model("llama")

    def forget(_, arguments, keywords):
        return arguments, keywords | {"attention_mask": None}

    made.base.model.register_forward_pre_hook(forget, with_kwargs=True)
    report = audit(made)
    assert "padding_seen" in report, str(report)
    assert "batch_dependent" not in report


def test_positions_that_a_model_forgets_are_named():
    made = model("gpt2")

    def forget(_, arguments, keywords):
        return arguments, keywords | {"position_ids": None}

    made.base.transformer.register_forward_pre_hook(forget, with_kwargs=True)
    report = audit(made)
    assert "positions_not_restarted" in report, str(report)
    assert "padding_seen" not in report


def test_dropout_left_on_is_named():
    made = model("gpt2")
    for module in made.modules():
        if isinstance(module, torch.nn.Dropout):
            module.eval = lambda: None
            module.train = lambda mode=True: None
            module.training = True
    assert "not_deterministic" in audit(made)


def test_a_model_that_cannot_keep_documents_apart_is_named_and_one_attention_is_told():
    torch.manual_seed(0)
    sizes = {"vocab_size": V, "hidden_size": 32, "n_layer": 2, "n_head": 4}
    bloom = transformers.BloomForCausalLM(transformers.BloomConfig(**sizes, **SPECIAL)).eval()
    with torch.no_grad():
        for parameter in bloom.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    report = audit(lmhead.PretrainedCausalLM(bloom))
    assert {finding.code for finding in report.errors} == {"documents_leak"}, str(report)
    attention = next(probe for probe in report.probes if probe.name.startswith("attention"))
    assert attention.note == "the model has one implementation alone"


def test_an_attention_that_is_not_the_other_is_named(monkeypatch):
    from transformers.models.llama import modeling_llama

    own = modeling_llama.eager_attention_forward

    def cooler(module, query, *arguments, **keywords):
        return own(module, query / 2, *arguments, **keywords)

    monkeypatch.setattr(modeling_llama, "eager_attention_forward", cooler)
    report = audit(model("llama"))
    assert {finding.code for finding in report.errors} == {"attention_differs"}, str(report)
