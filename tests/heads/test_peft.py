"""PEFT's layers as heads: whatever state PEFT puts a layer in, the loss and its gradients are those of its logits."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from lmhead import ArgumentError, ArgumentTypeError, WrappedHead, causal_lm_loss

peft = pytest.importorskip("peft", reason="PEFT is not installed: pip install 'lmhead[test]'")
transformers = pytest.importorskip("transformers", reason="PEFT's models are transformers'")

from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated"),  # PEFT's call of transformers
    pytest.mark.filterwarnings("ignore:.lora_bias=True. was passed"),
    pytest.mark.filterwarnings("ignore:Model has .tie_word_embeddings=True."),
    pytest.mark.filterwarnings("ignore:Model with .tie_word_embeddings=True."),
]
V, D = 37, 16
IDS = torch.arange(24).reshape(2, 12) % V


def llama(*, tied: bool = False, bias: bool = False) -> nn.Module:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=V,
        hidden_size=D,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        tie_word_embeddings=tied,
    )
    model = LlamaForCausalLM(config).double()
    if bias:
        model.lm_head = nn.Linear(D, V, dtype=torch.float64)
    return model


def gpt2() -> nn.Module:
    """Its head is tied to the embedding."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=V, n_embd=D, n_layer=1, n_head=2, n_positions=16, attn_pdrop=0, resid_pdrop=0)
    return GPT2LMHeadModel(config).double().eval()


def lora(**options: object) -> LoraConfig:
    return LoraConfig(r=3, lora_alpha=5, **{"target_modules": ["lm_head"], **options})


def drawn(model: nn.Module) -> nn.Module:
    """With adapters that do something: PEFT starts `up` at 0."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return model


def adapted(config: LoraConfig, model: nn.Module | None = None) -> nn.Module:
    return drawn(get_peft_model(llama() if model is None else model, config))


def two() -> nn.Module:
    model = get_peft_model(llama(), lora())
    model.add_adapter("other", LoraConfig(r=2, lora_alpha=1, use_rslora=True, target_modules=["lm_head"]))
    model.base_model.set_adapter(["default", "other"])
    return drawn(model)


def one_of_two() -> nn.Module:
    model = two()
    model.set_adapter("other")
    return model


def rescaled() -> nn.Module:
    model = adapted(lora())
    model.get_output_embeddings().set_scale("default", 0.1)
    return model


def merged(model: nn.Module) -> nn.Module:
    model.merge_adapter()
    return model


def with_trained_head() -> nn.Module:
    model = adapted(lora())
    model.get_output_embeddings().base_layer.weight.requires_grad_()
    return model


FORMS: dict[str, Callable[[], nn.Module]] = {
    "lora": lambda: adapted(lora()),
    "lora-and-decoder": lambda: adapted(lora(target_modules=["q_proj", "lm_head"])),
    "rslora": lambda: adapted(lora(use_rslora=True)),
    "dora": lambda: adapted(lora(use_dora=True)),
    "dora-without-active-dropout": lambda: adapted(lora(use_dora=True, lora_dropout=0.5)).eval(),
    "bias": lambda: adapted(lora(), llama(bias=True)),
    "dora-bias": lambda: adapted(lora(use_dora=True), llama(bias=True)),
    "lora-bias": lambda: adapted(lora(lora_bias=True), llama(bias=True)),
    "lora-bias-alone": lambda: adapted(lora(lora_bias=True)),
    "trained-head": with_trained_head,
    "two": two,
    "one-of-two": one_of_two,
    "rescaled": rescaled,
    "merged": lambda: merged(adapted(lora(target_modules=["q_proj", "lm_head"], modules_to_save=["embed_tokens"]))),
    "merged-dora": lambda: merged(adapted(lora(use_dora=True, modules_to_save=["embed_tokens"]))),
    "saved": lambda: adapted(lora(target_modules=["q_proj"], modules_to_save=["lm_head"])),
    "not-adapted": lambda: adapted(lora(target_modules=["q_proj"])),
    "tied": lambda: adapted(lora(), llama(tied=True)),
    "tied-adapters": lambda: adapted(
        lora(target_modules=["lm_head", "embed_tokens"], ensure_weight_tying=True), llama(tied=True)
    ),
    "dropout-evaluated": lambda: adapted(lora(lora_dropout=0.5)).eval(),
    "gpt2": lambda: adapted(lora(target_modules=["c_attn", "lm_head"], fan_in_fan_out=True), gpt2()),
    "gpt2-dora": lambda: adapted(lora(use_dora=True), gpt2()),
}


def hidden_of(model: nn.Module) -> torch.Tensor:
    return model.get_base_model().base_model(IDS).last_hidden_state


def assert_same(model: nn.Module) -> None:
    """The loss from hidden states, and the gradient of every parameter that trains, are those of the model itself."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    expected = model(IDS).logits.double()
    layer = model.get_output_embeddings()
    hidden = hidden_of(model)
    torch.testing.assert_close(WrappedHead(layer)(hidden), expected)
    loss, of_logits = WrappedHead(layer).loss(hidden, labels=IDS), causal_lm_loss(expected, IDS)
    torch.testing.assert_close(loss, of_logits)
    if not loss.requires_grad:
        return
    ours, theirs = (torch.autograd.grad(value, trained, allow_unused=True) for value in (loss, of_logits))
    assert any(gradient is not None for gradient in theirs)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to True but")
@pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)
def test_the_loss_and_every_gradient_are_those_of_the_model(make):
    model = make()
    trains = any(parameter.requires_grad for parameter in model.parameters())
    assert trains
    assert_same(model)


@pytest.mark.parametrize("make", [FORMS["lora"], FORMS["dora"], FORMS["saved"], FORMS["lora-and-decoder"], two])
def test_disabled_and_enabled_again_under_one_head(make):
    model = make()
    head, hidden = WrappedHead(model.get_output_embeddings()), hidden_of(model)
    if make is FORMS["saved"]:
        nn.init.zeros_(model.get_output_embeddings().modules_to_save["default"].weight)
    before = head.loss(hidden, labels=IDS)
    with model.disable_adapter():
        assert_same(model)
        assert head.loss(hidden, labels=IDS) != before
    assert torch.equal(head.loss(hidden, labels=IDS), before)
    assert_same(model)


@pytest.mark.parametrize("config", [{}, {"use_dora": True}])
def test_disabled_while_merged_is_unmerged_as_the_layer_does_itself(config):
    model = adapted(lora(**config))
    layer, hidden = model.get_output_embeddings(), hidden_of(model)
    untouched = layer.base_layer.weight.clone()
    model.merge_adapter()
    head = WrappedHead(layer)
    with model.disable_adapter():
        loss = head.loss(hidden, labels=IDS)
    torch.testing.assert_close(layer.base_layer.weight, untouched)
    torch.testing.assert_close(loss, causal_lm_loss(layer.base_layer(hidden), IDS))


@pytest.mark.filterwarnings("ignore:Adapter default was active which is now deleted")
def test_one_head_follows_its_layer_from_state_to_state():
    model = two()
    layer, hidden = model.get_output_embeddings(), hidden_of(model)
    head = WrappedHead(layer)

    def states() -> Iterator[str]:
        yield "both"
        model.set_adapter("default")
        yield "first"
        layer.scale_layer(3.0)
        yield "scaled"
        layer.unscale_layer()
        model.merge_adapter()
        yield "merged"
        model.unmerge_adapter()
        model.delete_adapter("default")
        yield "second"

    losses = {}
    for state in states():
        losses[state] = head.loss(hidden, labels=IDS).detach()
        torch.testing.assert_close(losses[state], causal_lm_loss(layer(hidden), IDS).detach())
    torch.testing.assert_close(losses["merged"], losses["first"])
    assert len({round(loss.item(), 6) for loss in losses.values()}) == 4


def test_dropout_is_the_layers_and_only_in_training_mode():
    model = adapted(lora(lora_dropout=0.5)).train()
    layer, hidden = model.get_output_embeddings(), hidden_of(model).detach()
    head = WrappedHead(layer)
    trained = [parameter for parameter in layer.parameters() if parameter.requires_grad]
    torch.manual_seed(7)
    loss = head.loss(hidden, labels=IDS)
    torch.manual_seed(7)
    expected = causal_lm_loss(layer(hidden), IDS)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, trained), torch.autograd.grad(expected, trained))
    assert head.loss(hidden, labels=IDS) != head.loss(hidden, labels=IDS)
    model.eval()
    assert head.loss(hidden, labels=IDS) == head.loss(hidden, labels=IDS)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("config", [{}, {"use_dora": True}])
def test_float32_adapters_of_a_bfloat16_model(autocast, config):
    """PEFT's default for a 16-bit model."""
    model = drawn(get_peft_model(llama().bfloat16(), lora(**config)))
    layer, hidden = model.get_output_embeddings(), hidden_of(model)
    trained = [parameter for parameter in layer.parameters() if parameter.requires_grad]
    assert {parameter.dtype for parameter in trained} == {torch.float32}
    with torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext():
        loss = WrappedHead(layer).loss(hidden, labels=IDS)
        expected = causal_lm_loss(layer(hidden), IDS)
    torch.testing.assert_close(loss, expected, rtol=1e-2, atol=0)
    for ours, theirs in zip(torch.autograd.grad(loss, trained), torch.autograd.grad(expected, trained), strict=True):
        assert ours.dtype == torch.float32
        assert (ours - theirs).norm() < 0.03 * theirs.norm()


def test_training_moves_the_adapter_and_nothing_else():
    model = adapted(lora(use_dora=True))
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    head = WrappedHead(model.get_output_embeddings())
    optimizer = torch.optim.SGD([parameter for parameter in head.parameters() if parameter.requires_grad], lr=0.5)
    losses = []
    for _ in range(5):
        loss = head.loss(hidden_of(model), labels=IDS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert {name.split(".")[-3] for name in moved} == {"lora_A", "lora_B", "lora_magnitude_vector"}


@pytest.mark.parametrize("make", [FORMS["lora"], FORMS["dora"]])
def test_logprobs_and_all_depths(make):
    model = make()
    layer, hidden = model.get_output_embeddings(), hidden_of(model).detach()
    head, logits = WrappedHead(layer), layer(hidden)
    expected = logits.log_softmax(-1)[:, :-1].gather(-1, IDS[:, 1:, None])[..., 0]
    torch.testing.assert_close(head.token_logprobs(hidden, labels=IDS).logprobs[:, :-1], expected)
    total, _ = head.multi_token_loss([hidden, hidden], labels=IDS)
    ahead = nn.functional.cross_entropy(logits[:, :-2].flatten(0, 1), IDS[:, 2:].flatten())
    torch.testing.assert_close(total, causal_lm_loss(logits, IDS) + 0.3 * ahead)


@pytest.mark.parametrize("make", [FORMS["lora"], FORMS["dora"]])
def test_compiled_without_a_break(make):
    model = make()
    head, hidden = WrappedHead(model.get_output_embeddings()), hidden_of(model).detach()
    trained = [parameter for parameter in head.parameters() if parameter.requires_grad]
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda hidden, labels: head.loss(hidden, labels=labels), fullgraph=True, backend="aot_eager"
    )
    loss, expected = compiled(hidden, IDS), head.loss(hidden, labels=IDS)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, trained), torch.autograd.grad(expected, trained))


def others() -> dict[str, tuple[Callable[[], nn.Module], str]]:
    """How a layer is made, and what names it in the refusal."""

    def with_tuner(config: object) -> Callable[[], nn.Module]:
        return lambda: get_peft_model(llama(), config).get_output_embeddings()

    head = {"target_modules": ["lm_head"]}
    tokens = LoraConfig(target_modules=["q_proj"], trainable_token_indices=[1, 2])
    return {
        "ia3": (with_tuner(peft.IA3Config(**head, feedforward_modules=[])), "peft.tuners.ia3.layer.Linear"),
        "loha": (with_tuner(peft.LoHaConfig(**head)), "peft.tuners.loha.layer.Linear"),
        "lokr": (with_tuner(peft.LoKrConfig(**head)), "peft.tuners.lokr.layer.Linear"),
        "vera": (with_tuner(peft.VeraConfig(**head, r=2)), "peft.tuners.vera.layer.Linear"),
        "adalora": (with_tuner(peft.AdaLoraConfig(**head, total_step=5)), "peft.tuners.adalora.layer.SVDLinear"),
        "tokens": (
            lambda: get_peft_model(llama(tied=True), tokens).get_output_embeddings(),
            "peft.utils.other.TrainableTokensWrapper",
        ),
        "model": (lambda: adapted(lora()), r"peft\.peft_model\.\w+: give its output layer"),
    }


@pytest.mark.parametrize(("make", "name"), others().values(), ids=others())
def test_other_tuners_are_refused_by_name(make, name):
    with pytest.raises(ArgumentTypeError, match=f"layer must be an nn.Linear or PEFT's LoRA around one, got {name}"):
        WrappedHead(make())


def test_a_quantised_base_is_refused_by_name():
    """PEFT has a layer of its own for each way to quantise, most of them no subclass of its Linear."""

    class Linear4bit(nn.Linear):
        def forward(self, input):
            return input

    layer = adapted(lora()).get_output_embeddings()
    layer.base_layer = Linear4bit(D, V)
    with pytest.raises(ArgumentTypeError, match=r"layer\.base_layer must be an nn\.Linear, got .*Linear4bit"):
        WrappedHead(layer)
    layer.__class__ = type("Linear8bitLt", (type(layer),), {"__module__": "peft.tuners.lora.bnb"})
    with pytest.raises(ArgumentTypeError, match=r"got peft\.tuners\.lora\.bnb\.Linear8bitLt"):
        WrappedHead(layer)


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False but")
def test_a_transposed_base_is_refused_by_name():
    """GPT-2's Conv1D keeps its weight as [D, V]."""
    model = llama()
    model.lm_head = transformers.pytorch_utils.Conv1D(V, D).double()
    with pytest.raises(ArgumentTypeError, match=r"layer\.base_layer must be an nn\.Linear, got .*Conv1D"):
        WrappedHead(adapted(lora(), model).get_output_embeddings())


def test_another_variant_of_lora_is_refused_by_name():
    layer = adapted(lora(alora_invocation_tokens=[1], task_type="CAUSAL_LM")).get_output_embeddings()
    with pytest.raises(ArgumentError, match=r"must have adapters of LoRA or DoRA, got ALoraLinearVariant for"):
        WrappedHead(layer)


def test_another_dropout_is_refused_by_name():
    layer = adapted(lora()).get_output_embeddings()
    layer.lora_dropout["default"] = nn.AlphaDropout()
    with pytest.raises(ArgumentError, match=r"layer\.lora_dropout must be an nn\.Dropout, got .*AlphaDropout"):
        WrappedHead(layer)


def test_dora_with_active_dropout_is_refused_when_it_gets_active():
    model = adapted(lora(use_dora=True, lora_dropout=0.5)).eval()
    head, hidden = WrappedHead(model.get_output_embeddings()), hidden_of(model)
    head.loss(hidden, labels=IDS)
    model.train()
    with pytest.raises(ArgumentError, match=r"no active dropout with DoRA, got lora_dropout=0\.5 for 'default'"):
        head.loss(hidden, labels=IDS)
    model.get_output_embeddings().lora_dropout.eval()
    torch.testing.assert_close(head.loss(hidden, labels=IDS), causal_lm_loss(head(hidden), IDS))


def test_dora_beside_another_adapter_is_refused():
    model = get_peft_model(llama(), lora(use_dora=True))
    model.add_adapter("other", lora())
    model.base_model.set_adapter(["default", "other"])
    head = WrappedHead(model.get_output_embeddings())
    with pytest.raises(ArgumentError, match=r"adapter must be one where it has a magnitude \(DoRA\)"):
        head.loss(hidden_of(model), labels=IDS)


def test_a_mixed_batch_is_refused():
    model = two().eval()
    head, hidden = WrappedHead(model.get_output_embeddings()), hidden_of(model)
    mixed = model.base_model._enable_peft_forward_hooks(adapter_names=["default", "other"])
    with mixed, pytest.raises(ArgumentError, match="a mixed batch"):
        head.loss(hidden, labels=IDS)
    head.loss(hidden, labels=IDS)
