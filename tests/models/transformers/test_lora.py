"""LoRA: what is trained, what is saved, and that PEFT and transformers load it."""

import copy
import json

import pytest
import torch
from peft import PeftModel
from tests.models.transformers.causal_lms.build import CLASSES, build
from torch import Tensor
from transformers import AutoModelForCausalLM

import lmhead
from lmhead.errors import ArgumentError, InputError
from lmhead.inspection.isolation.mixed_documents import why_documents_mix
from lmhead.models.transformers.lora import add_lora
from lmhead.models.transformers.lora_options import LoraOptions
from lmhead.models.transformers.pretrained_causal_lm import PretrainedCausalLM

IDS = torch.randint(4, 88, (2, 12), generator=torch.Generator().manual_seed(0))
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # PEFT's


@pytest.fixture
def base(tmp_path):
    """The folder of a type's tiny model."""

    def folder(kind: str = "llama", **fields: object) -> str:
        build(kind, **fields).eval().save_pretrained(tmp_path / "base")
        return str(tmp_path / "base")

    return folder


def adapted(folder: str, *, grown: int | None = None, **options) -> PretrainedCausalLM:
    torch.manual_seed(0)
    model = PretrainedCausalLM.load(folder, lora=LoraOptions(rank=4, **options))
    if grown is not None:
        model.grow_vocabulary(grown)
    return model


def step(model: PretrainedCausalLM, rate: float = 1.0) -> None:
    """One step of gradient descent for all that is trained, twice: an adapter begins with a product of 0."""
    for _ in range(2):
        model.loss(IDS, IDS.roll(-1, 1)).backward()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter.sub_(parameter.grad, alpha=rate)
                    parameter.grad = None


def trained(model: PretrainedCausalLM) -> dict[str, Tensor]:
    return {name: each for name, each in model.named_parameters() if each.requires_grad}


# What is trained.


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_every_linear_layer_but_the_head_gets_an_adapter_and_nothing_else_is_trained(kind, base):
    model = adapted(base(kind))
    assert all(".lora_A." in name or ".lora_B." in name for name in trained(model))
    kinds = ("Linear", "Conv1D")
    layers = [name for name, each in build(kind).named_modules() if type(each).__name__ in kinds and name != "lm_head"]
    assert len(trained(model)) == 2 * len(layers)


def test_fresh_adapters_change_nothing(base):
    folder = base()
    assert torch.equal(adapted(folder)(IDS), PretrainedCausalLM.load(folder)(IDS))


def test_only_the_named_layers_get_adapters_where_they_are_named(base):
    model = adapted(base(), targets=("q_proj", "v_proj"))
    assert {name.split(".")[-4] for name in trained(model)} == {"q_proj", "v_proj"}


def test_the_head_can_be_named(base):
    model = adapted(base(), targets=("lm_head",))
    step(model)
    want = lmhead.cross_entropy(model(IDS), IDS)
    torch.testing.assert_close(model.loss(IDS, IDS), want, rtol=1e-5, atol=0)


def test_the_gradients_of_adapters_are_those_of_peft(base):
    model = adapted(base())
    step(model)
    stock = copy.deepcopy(model.model)
    lmhead.unpatch(stock)
    stock(input_ids=IDS, labels=IDS, use_cache=False).loss.backward()
    model.loss(IDS, lmhead.Targets.from_labels(IDS)).backward()
    for got, want in zip(model.model.parameters(), stock.parameters(), strict=True):
        assert (got.grad is None) == (want.grad is None)
        if want.grad is not None:
            torch.testing.assert_close(got.grad, want.grad, rtol=1e-4, atol=1e-6)


def test_adapters_are_float32_beside_narrow_weights(base):
    model = PretrainedCausalLM.load(base(), dtype=torch.bfloat16, lora=LoraOptions(rank=4))
    assert {each.dtype for each in trained(model).values()} == {torch.float32}
    assert model.lm_head.weight.dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        model.loss(IDS, IDS).backward()


# What is saved.


@pytest.mark.filterwarnings("ignore:The following (rank|alpha)_pattern keys did not:RuntimeWarning")  # PEFT's own keys
@pytest.mark.parametrize("kind", ["llama", "gpt2", "mixtral"])
def test_adapters_are_loaded_by_peft_and_by_transformers_and_here(kind, base, tmp_path):
    folder, made = base(kind), tmp_path / "made"
    model = adapted(folder)
    step(model)
    model.save(made)
    with torch.no_grad():
        expected = model(IDS)
        assert not torch.allclose(expected, PretrainedCausalLM.load(folder)(IDS))
        assert torch.equal(PretrainedCausalLM.load(made)(IDS), expected)
        assert torch.equal(AutoModelForCausalLM.from_pretrained(made).eval()(input_ids=IDS).logits, expected)
        whole = AutoModelForCausalLM.from_pretrained(folder)
        assert torch.equal(PeftModel.from_pretrained(whole, made).eval()(input_ids=IDS).logits, expected)
    assert json.loads((made / "adapter_config.json").read_text())["base_model_name_or_path"] == folder
    assert not (made / "model.safetensors").exists()


def test_loaded_adapters_are_trained_on(base, tmp_path):
    model = adapted(base())
    step(model)
    model.save(tmp_path / "made")
    again = PretrainedCausalLM.load(tmp_path / "made")
    assert trained(again).keys() == trained(model).keys()
    step(model)
    step(again)
    assert torch.equal(again(IDS), model(IDS))


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2"])
def test_new_tokens_are_trained_and_saved_beside_adapters(kind, base, tmp_path):
    folder, made = base(kind), tmp_path / "made"
    model = adapted(folder, grown=103)
    tied = kind != "llama"
    assert sum("modules_to_save" in name for name in trained(model)) == (1 if tied else 2)
    before = model.lm_head.weight[100].clone()
    ids = torch.tensor([[5, 100, 102, 6]])
    model.loss(ids, ids.roll(-1, 1)).backward()
    with torch.no_grad():
        for parameter in trained(model).values():
            parameter.sub_(parameter.grad)
    assert not torch.equal(model.lm_head.weight[100], before)
    model.save(made)
    again = PretrainedCausalLM.load(made)
    assert again.vocab_size == 103
    assert torch.equal(again(ids), model(ids))
    torch.testing.assert_close(again.loss(ids, ids), lmhead.cross_entropy(again(ids), ids), rtol=1e-5, atol=0)
    whole = AutoModelForCausalLM.from_pretrained(folder)
    whole.resize_token_embeddings(103, mean_resizing=False)
    assert torch.equal(PeftModel.from_pretrained(whole, made).eval()(input_ids=ids).logits, model(ids))


# What is refused.


def test_adapters_beside_adapters_are_refused(base, tmp_path):
    model = adapted(base())
    model.save(tmp_path / "made")
    with pytest.raises(ArgumentError, match="lora must be left out where adapters are trained on"):
        PretrainedCausalLM.load(tmp_path / "made", lora=LoraOptions())
    with pytest.raises(ArgumentError, match="must not change beside trained adapters"):
        PretrainedCausalLM.load(tmp_path / "made").grow_vocabulary(120)


def test_a_vocabulary_does_not_grow_beside_adapters_that_were_trained_meanwhile(base):
    model = adapted(base())
    step(model)
    before = model(IDS)
    with pytest.raises(ArgumentError, match="must not change beside trained adapters"):
        model.grow_vocabulary(120)
    assert torch.equal(model(IDS), before)


def test_a_layer_that_is_not_there_is_named_with_those_that_are(base):
    with pytest.raises(ArgumentError, match=r"targets must name layers of the model, got q: .*; it has .*q_proj"):
        adapted(base(), targets=("q",))


def test_adapters_without_their_model_are_told(base, tmp_path):
    model = adapted(base())
    model.save(tmp_path / "made")
    file = tmp_path / "made" / "adapter_config.json"
    said = json.loads(file.read_text())
    file.write_text(json.dumps(said | {"base_model_name_or_path": "/gone/away"}))
    with pytest.raises(InputError, match=r"the adapters in .* got none at /gone/away: bring it back to that place"):
        PretrainedCausalLM.load(tmp_path / "made")
    file.write_text(json.dumps(said | {"base_model_name_or_path": None}))
    with pytest.raises(InputError, match="must name its model by base_model_name_or_path, got None"):
        PretrainedCausalLM.load(tmp_path / "made")


def test_adapters_of_another_model_are_told(base, tmp_path):
    model = adapted(base())
    model.save(tmp_path / "made")
    build("llama", hidden_size=64).save_pretrained(tmp_path / "base")
    with pytest.raises(InputError, match=r"the adapters in .*made cannot be loaded: "):
        PretrainedCausalLM.load(tmp_path / "made")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rank": 0}, "rank must be an integer >= 1, got 0"),
        ({"alpha": 0.0}, "alpha must be finite and > 0"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ({"targets": "q_proj"}, "targets must be a tuple of names of layers, got 'q_proj'"),
    ],
)
def test_options_that_make_no_adapter_are_refused(options, said):
    with pytest.raises(ArgumentError, match=said):
        LoraOptions(**options)


# Few bits.


@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_adapters_are_trained_beside_weights_of_few_bits(bits, base, tmp_path):
    pytest.importorskip("bitsandbytes", reason="quantised weights need bitsandbytes")
    folder = base(hidden_size=64, intermediate_size=128, head_dim=16)  # bitsandbytes needs multiples of 32 on a CPU
    torch.manual_seed(0)
    model = PretrainedCausalLM.load(folder, quantize=bits, dtype=torch.bfloat16, lora=LoraOptions(rank=4))
    kinds = {"4bit": "Linear4bit", "8bit": "Linear8bitLt"}
    assert type(model.base.model.layers[0].mlp.up_proj.base_layer).__name__ == kinds[bits]
    assert type(model.lm_head) is torch.nn.Linear
    assert all("lora" in name for name in trained(model))
    assert why_documents_mix(model, length=40) is None
    step(model, rate=3.0)
    model.loss(IDS, IDS).backward()  # in evaluation mode, and after a reading in it
    assert all(each.grad is not None and each.grad.any() for each in trained(model).values())
    model.save(tmp_path / "made")
    again = PretrainedCausalLM.load(tmp_path / "made", quantize=bits, dtype=torch.bfloat16)
    assert torch.equal(again(IDS), model(IDS))
    whole = PretrainedCausalLM.load(tmp_path / "made")
    assert whole.base.dtype == torch.float32


def test_vocabulary_grows_beside_weights_of_few_bits(base, tmp_path):
    pytest.importorskip("bitsandbytes", reason="quantised weights need bitsandbytes")
    folder = base(hidden_size=64, intermediate_size=128, head_dim=16)
    model = PretrainedCausalLM.load(folder, quantize="4bit", dtype=torch.bfloat16, lora=LoraOptions(rank=4))
    model.grow_vocabulary(103)
    model.loss(torch.tensor([[5, 102]]), torch.tensor([[102, 5]])).backward()
    assert all(each.grad is not None for each in trained(model).values())
    model.save(tmp_path / "made")
    again = PretrainedCausalLM.load(tmp_path / "made", quantize="4bit", dtype=torch.bfloat16)
    assert torch.equal(again(IDS), model(IDS))


def test_learnt_prompts_are_refused(base):
    from peft import PromptTuningConfig, get_peft_model

    model = AutoModelForCausalLM.from_pretrained(base())
    prompted = get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    with pytest.raises(ArgumentError, match=r"must have adapters in its layers, got .*PROMPT_TUNING"):
        PretrainedCausalLM(prompted)


@pytest.mark.parametrize("kind", ["gemma3", "llama4"])
def test_what_no_text_passes_and_routers_get_no_adapters(kind):
    if kind not in CLASSES:
        pytest.skip(f"this transformers has no {kind}")
    model = PretrainedCausalLM(add_lora(build(kind), LoraOptions(rank=4)))
    assert not [name for name in trained(model) if "vision" in name or "router" in name]
    model.loss(IDS, IDS).backward()
    assert all(each.grad is not None for each in trained(model).values())
