"""The proof: it catches what is left out, and leaves the model, and the program around it, as they were."""

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from tests.models.transformers.patching.small_models import (
    IDS_OF_SPECIAL_TOKENS,
    D,
    V,
    assert_same_step,
    bart,
    cohere,
    drawn,
    gemma2,
    gpt2,
    llama,
    phi,
    step,
)
from torch import Tensor, nn
from torch.nn.utils import prune

import lmhead
from lmhead import ArgumentError, ArgumentTypeError
from lmhead.models.transformers.patching import fused_loss, lazy_logits
from lmhead.models.transformers.patching.patch import is_patched

# ---- nothing is changed


def everything(model: nn.Module) -> list[Any]:
    """What a patch must not touch."""
    return [
        [(name, module.training) for name, module in model.named_modules()],
        [(name, each.requires_grad, each.grad, each.detach().clone()) for name, each in model.named_parameters()],
        [(name, id(each), each.clone()) for name, each in model.named_buffers()],
        torch.get_rng_state(),
        random.getstate(),
        [*map(str, np.random.get_state())],
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
    ]


def assert_equal(found: Any, right: Any) -> None:
    if isinstance(right, Tensor):
        assert torch.equal(found, right)
    elif isinstance(right, list | tuple):
        assert len(found) == len(right)
        for mine, its in zip(found, right, strict=True):
            assert_equal(mine, its)
    else:
        assert found == right


def partly_frozen() -> nn.Module:
    model = llama()
    model.lm_head.requires_grad_(False)
    model.model.layers[0].eval()
    return model


def of_zeros() -> nn.Module:
    model = llama()
    nn.init.zeros_(model.lm_head.weight)
    return model


def without_a_graph() -> nn.Module:
    return llama().eval().requires_grad_(False)


def drawing() -> nn.Module:
    """A trunk that draws from Python's and NumPy's generators, and counts in a buffer, as layer drop and masks do."""
    model = llama()
    model.model.register_buffer("count", torch.zeros(1), persistent=False)

    def draw(module: nn.Module, _args: Any) -> None:
        random.random()
        np.random.rand()
        torch.rand(1)
        module.count += 1
        module.count = module.count.clone()

    model.model.register_forward_pre_hook(draw)
    return model


MODELS = [llama, gemma2, cohere, phi, gpt2, bart, partly_frozen, of_zeros, without_a_graph, drawing]


@pytest.mark.parametrize("family", MODELS)
def test_the_model_is_left_as_it_was(family):
    model = family()
    before = everything(model)
    lmhead.patch(model)
    assert_equal(everything(model), before)


CONTEXTS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "default device": lambda: torch.device("meta"),
    "default dtype": lambda: default_dtype(torch.bfloat16),
}


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("family", [llama, partly_frozen])
def test_it_may_be_patched_within(context, family):
    model = family().float()
    right = step(model)
    with CONTEXTS[context]():
        before = everything(model)
        lmhead.patch(model)
        assert_equal(everything(model), before)
    assert_same_step(step(model), right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("family", [llama, gemma2, phi])
def test_models_of_other_dtypes(family, dtype):
    model = family().to(dtype)
    exact = step(family().double())
    lmhead.patch(model)
    loss, right = step(model)[0].loss, exact[0].loss
    torch.testing.assert_close(loss.double(), right.double(), rtol=3e-2, atol=3e-2)


def test_a_refused_model_is_left_as_it_was():
    model = needing_its_logits()
    before, hooks = everything(model), (len(model._forward_hooks), len(model._forward_pre_hooks))
    with pytest.raises(ArgumentError):
        lmhead.patch(model)
    assert_equal(everything(model), before)
    assert (len(model._forward_hooks), len(model._forward_pre_hooks)) == hooks
    assert "forward" not in vars(model.lm_head)
    assert not is_patched(model)


def test_the_weights_gradients_of_a_step_in_progress_are_kept():
    model = llama()
    model(**drawn()).loss.backward()
    before = {name: each.grad.clone() for name, each in model.named_parameters()}
    lmhead.patch(model)
    assert all(torch.equal(each.grad, before[name]) for name, each in model.named_parameters())


@pytest.mark.parametrize("prepared", ["parametrized", "spectral", "weight_norm", "pruned"])
def test_heads_whose_weight_is_made_at_each_call(prepared):
    def change(model: nn.Module) -> nn.Module:
        head = model.lm_head
        if prepared == "spectral":
            torch.manual_seed(1)
            nn.utils.parametrizations.spectral_norm(head)
        elif prepared == "weight_norm":
            nn.utils.parametrizations.weight_norm(head)
        elif prepared == "pruned":
            prune.l1_unstructured(head, "weight", amount=0.3)
        else:
            nn.utils.parametrize.register_parametrization(head, "weight", nn.Softplus())
        return model

    stock, model = change(llama()), change(llama())
    lmhead.patch(model)
    for _ in range(2):  # the steps of the power iteration too
        assert_same_step(step(model), step(stock), rtol=1e-4, atol=1e-5)


# ---- what is refused


def with_forward(change: Callable[[Any, Tensor, Tensor], Any]) -> nn.Module:
    model = llama()

    class Of(type(model)):
        def forward(self, input_ids=None, labels=None, **options):
            hidden = self.model(input_ids).last_hidden_state
            return {"loss": None if labels is None else change(self, hidden, labels)}

    model.__class__ = Of
    return model


def needing_its_logits() -> nn.Module:
    def loss(model: Any, hidden: Tensor, labels: Tensor) -> Tensor:
        logits = model.lm_head(hidden)
        return model.loss_function(logits, labels, vocab_size=V) + 1e-4 * logits.logsumexp(-1).square().mean()

    return with_forward(loss)


def differing() -> nn.Module:
    """Its loss takes the hidden states past the output layer too, times a share that only stock's layer tells."""

    def loss(model: Any, hidden: Tensor, labels: Tensor) -> Tensor:
        logits = model.lm_head(hidden)
        return model.loss_function(logits, labels, vocab_size=V) * (1.5 if isinstance(logits, Tensor) else 1.0)

    return with_forward(loss)


class Cut(torch.autograd.Function):
    """A function that knows tensors alone: of lazy logits it has no gradient."""

    @staticmethod
    def forward(context: Any, logits: Tensor, labels: Tensor) -> Tensor:
        context.shape = logits.shape
        return nn.functional.cross_entropy(logits.view(-1, V), labels.view(-1))

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * torch.ones(context.shape, dtype=torch.float64), None


REFUSED = {
    "cut off": (
        with_forward(lambda model, hidden, labels: Cut.apply(model.lm_head(hidden), labels)),
        "model must have the same gradient of hidden states patched as stock, got 1 of its norm away in Of",
    ),
    "logits": (
        needing_its_logits,
        "model must ask nothing of its logits in training but one cross entropy, got their logsumexp",
    ),
    "loss": (differing, "model must have the same loss patched as stock, got "),
    "no loss": (
        with_forward(lambda model, hidden, labels: next(None for _ in model.lm_head(hidden).shape)),
        "model must give a loss for labels, a scalar, got none from Of: give a batch",
    ),
    "a loss for each": (
        with_forward(lambda model, hidden, labels: model.lm_head(hidden).sum(-1)),
        r"model must give a loss for labels, a scalar, got one of shape \[2, 8\] from Of",
    ),
    "twice": (
        with_forward(
            lambda model, hidden, labels: sum(
                model.loss_function(model.lm_head(hidden), labels, vocab_size=V) for _ in range(2)
            )
        ),
        "model must call its output layer once for a loss, got 2 calls in Of",
    ),
    "past the layer": (
        with_forward(
            lambda model, hidden, labels: model.loss_function(hidden @ model.lm_head.weight.T, labels, vocab_size=V)
        ),
        "model must call its output layer once for a loss, got 0 calls in Of",
    ),
    "another loss": (
        with_forward(
            lambda model, hidden, labels: nn.functional.nll_loss(
                model.lm_head(hidden).log_softmax(-1).flatten(0, 1), labels.flatten()
            )
        ),
        "got their log_softmax in Of: its loss needs them",
    ),
    "raising": (
        with_forward(lambda model, hidden, labels: model.nothing),
        "model must run on a drawn batch with labels, got AttributeError from Of: .*: give a batch that it runs on, "
        r"lmhead.patch\(model, example=batch\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_is_refused_with_what_differs(case):
    make, said = REFUSED[case]
    model = make() if callable(make) and not isinstance(make, nn.Module) else make
    with pytest.raises(ArgumentError, match=f"^.*{said}") as error:
        lmhead.patch(model)
    assert "\n" not in str(error.value)
    assert not is_patched(model)


# ---- mutants: with freshly drawn weights, something of the record left out


@pytest.fixture
def mutated(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def mutate(what: str) -> None:
        own, op = lazy_logits.scale_and_cap, fused_loss.linear_cross_entropy
        if what in ("cap", "scale"):
            left_out = (lambda known: (known[0], None)) if what == "cap" else (lambda known: (1.0, known[1]))
            monkeypatch.setattr(lazy_logits, "scale_and_cap", lambda steps: left_out(own(steps)))
        elif what == "bias":
            monkeypatch.setattr(
                fused_loss, "linear_cross_entropy", lambda *args, bias, **options: op(*args, bias=None, **options)
            )
        else:
            monkeypatch.setattr(lazy_logits.LazyLogits, "__getitem__", lambda logits, index: logits)

    return mutate


@pytest.mark.parametrize(("family", "what"), [(gemma2, "cap"), (cohere, "scale"), (phi, "bias")])
@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "trained"])
def test_a_mutant_is_caught(family, what, frozen, mutated):
    model = family()
    model.get_output_embeddings().requires_grad_(not frozen)
    lmhead.patch(model)
    lmhead.unpatch(model)
    mutated(what)
    with pytest.raises(ArgumentError, match="model must have the same"):
        lmhead.patch(model)


# ---- the caller's batch


def git() -> nn.Module:
    """It reads an image in front of its text."""
    from transformers import GitConfig, GitForCausalLM

    sizes = {"hidden_size": D, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
    torch.manual_seed(0)
    config = GitConfig(
        vision_config={**sizes, "image_size": 32, "patch_size": 16},
        **{**sizes, "vocab_size": V, **IDS_OF_SPECIAL_TOKENS},
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return GitForCausalLM(config).train()


def test_a_model_that_needs_more_is_told_to_give_its_batch():
    model = git()
    batch = {**drawn(), "pixel_values": torch.randn(2, 3, 32, 32)}
    right = step(model, **batch)
    with pytest.raises(ArgumentError, match=r"^model must .*lmhead.patch\(model, example=batch\)$"):
        lmhead.patch(model)
    lmhead.patch(model, example=batch)
    found = step(model, **batch)
    assert_same_step(found, right, rtol=1e-4, atol=1e-5)
    assert "logits" not in found[0]


@pytest.mark.parametrize("given", ["labels", "no labels", "ids alone"])
def test_an_example_may_have_labels_or_not_and_is_not_changed(given):
    batch = {**drawn(), "attention_mask": torch.ones(2, 12, dtype=torch.long)}
    if given != "labels":
        del batch["labels"]
    if given == "ids alone":
        del batch["attention_mask"]
    before = {name: each.clone() for name, each in batch.items()}
    model = llama()
    lmhead.patch(model, example=batch)
    assert batch.keys() == before.keys()
    assert all(torch.equal(batch[name], each) for name, each in before.items())


@pytest.mark.parametrize("example", [{"pixel_values": torch.zeros(2)}, {"input_ids": [[1, 2]]}, {}])
def test_an_example_without_ids_or_labels_is_refused(example):
    with pytest.raises(ArgumentError, match=r"^example must hold input_ids or labels, a Tensor: "):
        lmhead.patch(llama(), example=example)


def test_an_example_that_is_no_mapping_is_refused():
    with pytest.raises(ArgumentTypeError, match=r"^example must be a mapping of the keywords .*, got Tensor: "):
        lmhead.patch(llama(), example=torch.ones(2, 3))


@pytest.mark.parametrize("size", [V, 3, 1])
def test_tiny_vocabularies(size):
    special = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=size, hidden_size=D, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4, **special
    )
    model = LlamaForCausalLM(config)
    lmhead.patch(model)
    assert model(input_ids=torch.zeros(1, 2, dtype=torch.long), labels=torch.zeros(1, 2, dtype=torch.long)).loss >= 0
