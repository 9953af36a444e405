"""Modules of multi-token prediction behind a model of transformers: their loss, their gradients, who gets none."""

import copy

import pytest
import torch
from tests.models.transformers.causal_lms.build import build
from tests.models.transformers.multi_token.plain import plain_losses
from torch import Tensor

from lmhead.errors import ArgumentError
from lmhead.labels.targets import Targets
from lmhead.losses.depth_weighting import DepthWeighting
from lmhead.losses.token_mean import depth_weights
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.models.multi_token.style import MultiTokenStyle
from lmhead.models.transformers.lora import add_lora
from lmhead.models.transformers.lora_options import LoraOptions
from lmhead.models.transformers.multi_token.cached_draft_reader import CachedDraftReader
from lmhead.models.transformers.pretrained_causal_lm import PretrainedCausalLM

FAMILIES = ["llama", "qwen3", "gemma2", "gpt2", "mixtral"]
LAMBDA = 0.3


def drawn(rows: int = 2, length: int = 11, seed: int = 0) -> Tensor:
    return torch.randint(4, 88, (rows, length), generator=torch.Generator().manual_seed(seed))


def labelled(ids: Tensor) -> Tensor:
    labels = ids.clone()
    labels[0, 2:4] = labels[1, 8:] = -100
    return labels


PACKED = torch.tensor([[0] * 11, [0] * 4 + [1] * 6 + [2]])


def pair(kind: str, *, depth: int, dtype=torch.float64, isolated=False, mtp_kind="sequential", style=None, **fields):
    """The stock model with a copy of the modules, and the two as one of this library."""
    stock = build(kind, **fields).to(dtype).eval()
    if kind == "mixtral":
        stock.set_experts_implementation("eager")  # the grouped product is of 32 bits at most
    torch.manual_seed(1)
    main = PretrainedCausalLM(copy.deepcopy(stock))
    model = MultiTokenModel.behind(main, depth=depth, kind=mtp_kind, style=style, isolated=isolated).eval()
    for norm in (each for name, each in model.mtp.named_parameters() if "norm" in name):
        torch.nn.init.normal_(norm, 1.0, 0.1)
    return stock, copy.deepcopy(model.mtp), model


def total(losses: list[Tensor], counts: Tensor) -> Tensor:
    means = [loss / count.clamp(min=1) for loss, count in zip(losses, counts, strict=True)]
    return means[0] + LAMBDA / (len(means) - 1) * sum(means[1:])


def gradients(*models: torch.nn.Module) -> dict[str, Tensor]:
    found = ((name, each.grad) for model in models for name, each in model.named_parameters())
    return {name: grad for name, grad in found if grad is not None}


def assert_same(got: dict[str, Tensor], want: dict[str, Tensor], within: float = 1e-9):
    assert got.keys() == want.keys()
    for name, gradient in want.items():
        assert float((got[name] - gradient).norm()) <= within * float(gradient.norm()) + 1e-15, name


def loss_of(model: MultiTokenModel, ids: Tensor, document: Tensor | None = None, **options) -> Tensor:
    targets = Targets.from_labels(labelled(ids), document=document)
    return model.multi_token_loss(
        ids, targets, document=document, weighting=DepthWeighting(mtp_lambda=LAMBDA), **options
    )[0]


def plain_loss(stock, mtp, ids: Tensor, document: Tensor | None = None, *, depth: int) -> Tensor:
    style = mtp.style
    losses = plain_losses(stock, mtp, ids, labelled(ids), document, depth=depth, order=style.order, chain=style.chain)
    targets = Targets.from_labels(labelled(ids), document=document)
    return total(losses, depth_weights(targets, mtp_depth=depth))


def assert_as_plain(kind: str, *, depth: int, document: Tensor | None = None, mtp_kind="sequential", style=None):
    stock, mtp, model = pair(kind, depth=depth, mtp_kind=mtp_kind, style=style)
    want, got = (
        plain_loss(stock, mtp, drawn(), document, depth=depth),
        loss_of(model, drawn(), document),
    )
    torch.testing.assert_close(got, want, rtol=1e-12, atol=0)
    want.backward()
    got.backward()
    assert_same(gradients(model.main.base), gradients(stock))
    assert_same(gradients(model.mtp), gradients(mtp))
    assert all(each.any() for name, each in gradients(model.mtp).items() if "eh_proj" in name)


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("document", [None, PACKED], ids=["one document", "packed"])
def test_gradients_are_those_of_full_logits(kind, document):
    assert_as_plain(kind, depth=2, document=document)


@pytest.mark.parametrize("depth", [1, 3, 4])
def test_gradients_at_every_depth(depth):
    assert_as_plain("llama", depth=depth, document=PACKED)


def test_gradients_of_one_module_run_at_every_depth():
    assert_as_plain("qwen3", depth=3, mtp_kind="recurrent", document=PACKED)


def test_gradients_of_modules_that_read_the_hidden_states_first_and_chain_before_the_norm():
    style = MultiTokenStyle(order="hidden_first", chain="unnormed")
    assert_as_plain("llama", depth=2, style=style)


def test_documents_told_by_masks_mean_what_positions_mean():
    _, _, model = pair("qwen3", depth=2)
    by_positions = loss_of(model, drawn(), PACKED)
    model.main.tells_documents_by = "masks"
    torch.testing.assert_close(loss_of(model, drawn(), PACKED), by_positions, rtol=1e-12, atol=0)


def test_micro_batches_add_up_to_the_whole():
    _, _, model = pair("mixtral", depth=2)
    ids = drawn()
    whole = Targets.from_labels(labelled(ids), document=PACKED)
    loss_of(model, ids, PACKED).backward()
    want = gradients(model)
    model.zero_grad()
    for row in range(2):
        part = Targets.from_labels(labelled(ids)[row : row + 1], document=PACKED[row : row + 1])
        model.multi_token_loss(
            ids[row : row + 1],
            part,
            document=PACKED[row : row + 1],
            weighting=DepthWeighting(mtp_lambda=LAMBDA),
            divisor=depth_weights(whole, mtp_depth=2),
        )[0].backward()
    assert_same(gradients(model), want)


def test_the_loss_of_a_router_is_added_once():
    _, _, model = pair("mixtral", depth=1, output_router_logits=True, router_aux_loss_coef=0.5)
    targets = Targets.from_labels(labelled(drawn()))
    weighting = DepthWeighting(mtp_lambda=0.0)
    got = model.multi_token_loss(drawn(), targets, weighting=weighting)[0]
    torch.testing.assert_close(got, model.main.loss(drawn(), targets), rtol=1e-12, atol=0)
    assert model.main.trunk(drawn()).added > 0.5


def test_no_expert_is_judged_by_padding_as_in_the_model_s_own_loss():
    _, _, model = pair("mixtral", depth=1, output_router_logits=True, router_aux_loss_coef=0.5)
    ids, document = drawn(), torch.zeros_like(drawn())
    document[0, 5:] = -1
    targets = Targets.from_labels(labelled(ids), document=document)
    got = model.multi_token_loss(ids, targets, weighting=DepthWeighting(mtp_lambda=0.0))[0]
    want = model.main.loss(ids, targets)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=0)
    assert abs(model.main.loss(ids, targets.ids) - want) > 1e-6  # padding judged: a Tensor of targets tells of none


def test_a_router_s_loss_of_a_window_without_a_scored_token_is_0():
    _, _, model = pair("mixtral", depth=1, output_router_logits=True, router_aux_loss_coef=0.5)
    nothing = Targets.from_labels(torch.full_like(drawn(), -100))
    loss, _ = model.multi_token_loss(drawn(), nothing, divisor=depth_weights(nothing, mtp_depth=1))
    assert loss.item() == 0.0


@pytest.mark.parametrize("kind", ["gemma2", "gpt2", "mixtral"])
def test_isolated_modules_give_the_model_the_gradient_of_its_own_loss(kind):
    _, _, model = pair(kind, depth=2, isolated=True)
    own = copy.deepcopy(model.main)
    loss_of(model, drawn()).backward()
    own.loss(drawn(), Targets.from_labels(labelled(drawn()))).backward()
    want = gradients(own.base)
    for name, gradient in gradients(model.main.base).items():
        assert torch.equal(gradient, want[name]), name
    assert all(each.any() for name, each in gradients(model.mtp).items() if "eh_proj" in name)


def test_modules_learn_behind_a_frozen_model():
    stock, mtp, model = pair("qwen3", depth=2, isolated=True)
    model.main.requires_grad_(False)
    loss_of(model, drawn()).backward()
    stock.requires_grad_(False)
    plain_loss(stock, mtp, drawn(), depth=2).backward()
    assert not gradients(model.main)
    assert_same(gradients(model.mtp), gradients(mtp))


def test_adapters_and_modules_learn_together():
    stock = build("llama").double().eval()
    torch.manual_seed(0)
    main = PretrainedCausalLM(add_lora(stock, LoraOptions(rank=2, targets=("q_proj", "lm_head"))).double())
    for name, each in main.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(each)
    model = MultiTokenModel.behind(main, depth=1).eval()
    assert not [name for name, _ in model.mtp.named_parameters() if "lora" in name]
    merged = copy.deepcopy(main.model).merge_and_unload()
    got = loss_of(model, drawn())
    torch.testing.assert_close(got, plain_loss(merged, model.mtp, drawn(), depth=1), rtol=1e-9, atol=0)
    got.backward()
    learning = {name for name, each in model.named_parameters() if each.requires_grad}
    assert learning == gradients(model).keys()
    assert any("lora_A" in name for name in learning)


def test_modules_stand_behind_adapters_whose_vocabulary_grew():
    build_folder = build("llama").eval()
    main = PretrainedCausalLM(build_folder)
    main._fresh_lora, main.model = LoraOptions(rank=2), add_lora(main.base, LoraOptions(rank=2))
    main.grow_vocabulary(104, [100, 101])
    model = MultiTokenModel.behind(main, depth=1).eval()
    ids = drawn()
    ids[0, 3] = 101
    loss_of(model, ids).backward()
    assert {"eh_proj", "embed_tokens", "lora_B"} <= {part for name in gradients(model) for part in name.split(".")}
    assert isinstance(main.draft_reader(rows=1, room=8, depth=1), CachedDraftReader)


def test_a_model_that_computes_its_layers_again_has_the_same_gradients():
    _, _, model = pair("llama", depth=1)
    model.train()
    loss_of(model, drawn()).backward()
    want = gradients(model)
    model.zero_grad()
    model.main.checkpoint_gradients()
    loss_of(model, drawn()).backward()
    assert_same(gradients(model), want)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_depth_sees_no_token_behind_the_one_that_it_reads_last(kind):
    _, _, model = pair(kind, depth=2)
    ids, changed = drawn(), drawn()
    changed[:, 7] = (changed[:, 7] + 1 - 4) % 84 + 4
    with torch.no_grad():
        before, after = (model.mtp.behind(model.main.trunk(each)) for each in (ids, changed))
    for k, (first, second) in enumerate(zip(before, after, strict=True), 1):
        moved = (first != second).any(-1).any(0)
        assert not moved[: 7 - k].any()
        assert moved[7 - k]


# What is drawn.


def test_modules_are_drawn_as_the_model_draws_its_own():
    main = PretrainedCausalLM(build("gemma2", initializer_range=0.5, hidden_size=64).eval())
    model = MultiTokenModel.behind(main, depth=2)
    layers = model.mtp.layers
    assert [type(layer.mtp_block).__name__ for layer in layers] == ["Gemma2DecoderLayer"] * 2
    assert [layer.mtp_block.self_attn.layer_idx for layer in layers] == [0, 1]
    assert not layers[0].post_norm.weight.any()  # Gemma's count from 1
    assert layers[0].eh_proj.weight.std().item() == pytest.approx(0.5, abs=0.02)
    assert not torch.equal(layers[0].eh_proj.weight, layers[1].eh_proj.weight)


def test_modules_have_the_place_and_the_dtype_of_the_model():
    main = PretrainedCausalLM(build("llama").bfloat16().eval())
    model = MultiTokenModel.behind(main)
    assert {each.dtype for each in model.mtp.parameters()} == {torch.bfloat16}
    assert loss_of(model, drawn()).isfinite()


def test_drawing_and_proving_follow_the_seed_alone():
    def weights(seed: int) -> Tensor:
        main = PretrainedCausalLM(build("qwen3").eval())
        torch.manual_seed(seed)
        return torch.cat([each.flatten() for each in MultiTokenModel.behind(main).mtp.parameters()])

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


# Logits and the head.


@pytest.mark.parametrize("kind", ["gemma2", "cohere", "granite", "phi"])
def test_the_head_gives_the_models_logits(kind):
    main = PretrainedCausalLM(build(kind).eval())
    with torch.no_grad():
        hidden = main.trunk(drawn()).hidden
        torch.testing.assert_close(main.scoring_head(hidden), main(drawn()), rtol=1e-6, atol=1e-6)


# Models behind which no module can stand.


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("bert", "no list of layers"),
        ("bart", "reads an encoder too"),
        ("mamba2", "a recurrent state"),
        ("openai-gpt", "a list in the place of states"),
        ("minimax", "linear_attention"),
    ],
)
def test_a_model_that_cannot_is_refused_in_one_line(kind, why):
    main = PretrainedCausalLM(build(kind).eval())
    with pytest.raises(ArgumentError, match=why) as refused:
        MultiTokenModel.behind(main)
    assert "\n" not in str(refused.value)
