"""A pretrained model's loss is what transformers computes, and takes the options that this library's decoder takes."""

import copy

import pytest
import torch
from tests.models.transformers.causal_lms.build import CLASSES, build
from torch import Tensor

import lmhead
from lmhead.errors import ArgumentError, ArgumentTypeError, InputError
from lmhead.labels.example import Example
from lmhead.labels.packing.packed_batch import PackedBatch
from lmhead.labels.packing.packed_rows import pack
from lmhead.labels.targets import Targets
from lmhead.losses.cross_entropy import cross_entropy
from lmhead.models.transformers.pretrained_causal_lm import PretrainedCausalLM

FAMILIES = ["llama", "gpt2", "qwen3", "gemma2", "cohere", "granite", "phi", "bert"]
LOWEST, V = 4, 88  # ids that every tiny model has


def drawn(rows: int = 2, length: int = 14, seed: int = 0) -> Tensor:
    return torch.randint(LOWEST, V, (rows, length), generator=torch.Generator().manual_seed(seed))


def labelled(ids: Tensor) -> Tensor:
    labels = ids.clone()
    labels[:, :3] = labels[1, 9:] = -100
    return labels


def both(kind: str, **fields):
    """The stock model and a copy of it, patched and wrapped; both without dropout."""
    stock = build(kind, **fields).eval()
    return stock, PretrainedCausalLM(copy.deepcopy(stock))


def gradients(model) -> Tensor:
    return torch.cat([each.grad.flatten() for each in model.parameters() if each.grad is not None])


def assert_same_gradients(got, want, within=1e-4):
    expected = gradients(want)
    assert float((gradients(got) - expected).norm() / expected.norm()) < within


# The loss.


@pytest.mark.parametrize("kind", FAMILIES)
def test_loss_and_gradients_are_those_of_transformers(kind):
    stock, model = both(kind)
    ids = drawn()
    want = stock(input_ids=ids, labels=labelled(ids), use_cache=False).loss
    got = model.loss(ids, Targets.from_labels(labelled(ids)))
    torch.testing.assert_close(got, want, rtol=1e-5, atol=0)
    want.backward()
    got.backward()
    assert_same_gradients(model.base, stock)


def test_a_family_with_a_loss_of_its_own_has_the_shift_of_this_library():
    stock, model = both("bart")
    ids = drawn()
    logits = stock(input_ids=ids, use_cache=False).logits
    want = lmhead.causal_lm_loss(logits, labelled(ids))
    torch.testing.assert_close(model.loss(ids, Targets.from_labels(labelled(ids))), want, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    "options",
    [
        {"label_smoothing": 0.1},
        {"z_loss": 1e-2},
        {"reduction": "sum"},
        {"reduction": "none"},
        {"divisor": 7.0},
        {"token_weight": torch.linspace(0, 2, 28).reshape(2, 14)},
        {"ignore_index": 5},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_mean_what_they_mean_for_logits(options):
    _, model = both("gemma2", final_logit_softcapping=3.0)
    ids, targets = drawn(), drawn(seed=1)
    got = model.loss(ids, targets, **options)
    torch.testing.assert_close(got, cross_entropy(model(ids), targets, **options), rtol=1e-5, atol=1e-5)


def test_statistics_are_those_of_the_logits():
    _, model = both("qwen3")
    ids, targets = drawn(), Targets.from_labels(labelled(drawn()))
    with torch.no_grad():
        loss, statistics = model.loss(ids, targets, return_stats=True, ranks=True, top_k=3)
        log_probabilities = model(ids).log_softmax(-1)
    nll = -log_probabilities.gather(-1, targets.ids.clamp(min=0)[..., None]).squeeze(-1)
    torch.testing.assert_close(statistics.nll, nll.where(targets.scored, 0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(loss, nll[targets.scored].mean(), rtol=1e-5, atol=0)
    assert statistics.rank is not None
    values, top = log_probabilities.topk(3)
    assert torch.equal(statistics.top_ids, top.where(targets.scored[..., None], 0))
    torch.testing.assert_close(
        statistics.top_logprobs, values.where(targets.scored[..., None], 0), rtol=1e-5, atol=1e-5
    )
    assert torch.equal(statistics.scored, targets.scored)


def test_micro_batches_add_up_to_the_whole():
    _, model = both("llama")
    ids = drawn(rows=4)
    targets = Targets.from_labels(labelled(ids))
    whole = model.loss(ids, targets)
    whole.backward()
    expected = gradients(model)
    model.zero_grad()
    for rows in (slice(0, 1), slice(1, 4)):
        part = Targets.from_labels(labelled(ids)[rows])
        model.loss(ids[rows], part, divisor=float(targets.count)).backward()
    torch.testing.assert_close(gradients(model), expected, rtol=1e-4, atol=1e-7)


def test_without_a_scored_token_the_loss_is_zero_and_has_a_gradient():
    _, model = both("llama")
    ids = drawn()
    loss = model.loss(ids, torch.full_like(ids, -100))
    loss.backward()
    assert loss.item() == 0
    assert not gradients(model).any()


# A router's loss.


@pytest.fixture
def routed():
    return both("mixtral", output_router_logits=True, router_aux_loss_coef=0.5)


def test_the_loss_of_a_router_is_added_as_transformers_adds_it(routed):
    stock, model = routed
    ids = drawn()
    made = stock(input_ids=ids, labels=labelled(ids), use_cache=False)
    got = model.loss(ids, Targets.from_labels(labelled(ids)))
    torch.testing.assert_close(got, made.loss, rtol=1e-5, atol=0)
    assert made.aux_loss.item() > 0.5
    made.loss.backward()
    got.backward()
    assert_same_gradients(model.base, stock)


def test_padding_does_not_count_for_a_router(routed):
    stock, model = routed
    ids, mask = drawn(), torch.ones(2, 14, dtype=torch.long)
    mask[1, 9:] = 0
    want = stock(input_ids=ids, attention_mask=mask, labels=labelled(ids), use_cache=False).loss
    got = model.loss(ids, Targets.from_labels(labelled(ids), attention_mask=mask))
    torch.testing.assert_close(got, want, rtol=1e-5, atol=0)


def test_micro_batches_count_for_a_router_by_their_tokens(routed):
    stock, model = routed
    ids = drawn()
    targets = [Targets.from_labels(labelled(ids)[row : row + 1]) for row in range(2)]
    total = sum(each.count for each in targets)
    with torch.no_grad():
        alone = [stock(input_ids=ids[row : row + 1], labels=ids[row : row + 1]).aux_loss for row in range(2)]
        parts = [model.loss(ids[row : row + 1], targets[row], divisor=float(total)) for row in range(2)]
        sums = [model.loss(ids[row : row + 1], targets[row], reduction="none").sum() for row in range(2)]
    mean = sum(0.5 * aux * each.count / total for aux, each in zip(alone, targets, strict=True))
    torch.testing.assert_close(sum(parts), sum(sums) / total + mean, rtol=1e-5, atol=0)


# Documents.


def packed(sizes=(5, 9, 4)) -> PackedBatch:
    """One row of documents, and padding."""
    examples = [Example.of(drawn(1, size, size)[0].tolist(), trained=[True] * size) for size in sizes]
    return pack(examples, length=sum(sizes) + 3, overflow="drop").take(0, 1)


@pytest.mark.parametrize("kind", ["llama", "gemma2", "gpt2", "mixtral"])
def test_a_packed_row_has_the_loss_of_its_documents_alone(kind):
    model = both(kind)[1]
    window = {"sliding_window": 4} if kind == "gemma2" else {}
    for name, value in window.items():
        setattr(model.base.config, name, value)
    batch = packed()
    with torch.no_grad():
        row = model.loss(batch.ids, batch.targets, document=batch.document, reduction="none")
        for number in range(3):
            within = batch.document[0] == number
            alone = model.loss(batch.ids[:, within], batch.targets.ids[:, within], reduction="none")
            torch.testing.assert_close(row[:, within], alone, rtol=1e-5, atol=1e-5)
        crossing = model.loss(batch.ids, batch.targets, reduction="none")
    assert not torch.allclose(row, crossing, rtol=1e-3)


def test_documents_keep_apart_in_bfloat16():
    model = PretrainedCausalLM(build("gemma2").eval().to(torch.bfloat16))
    batch = packed()
    with torch.no_grad():
        before = model(batch.ids, document=batch.document)
        other = batch.ids.where(batch.document != 0, 7)
        after = model(other, document=batch.document)
    assert torch.equal(before[batch.document == 1], after[batch.document == 1])


# What is refused.


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda model: model(torch.tensor([[1, 100]])), r"ids must be in \[0, 100\), got 100"),
        (lambda model: model(torch.zeros(1, 99, dtype=torch.long)), "input length T=99 exceeds max_seq_len=64"),
        (lambda model: model(torch.tensor([1, 2])), r"ids must be \[B, T\]"),
        (lambda model: model(drawn(), document=torch.zeros(2, 3)), r"document must be \[2, 14\], as ids"),
        (lambda model: model.loss(drawn(), drawn()[:, :3]), r"targets must have the shape \(2, 14\)"),
    ],
)
def test_what_cannot_be_read_is_refused(call, said):
    with pytest.raises(ArgumentError, match=said):
        call(both("llama")[1])


def test_an_option_that_there_is_not_is_refused():
    with pytest.raises(ArgumentTypeError, match="unexpected keyword argument 'smoothing'"):
        both("llama")[1].loss(drawn(), drawn(), smoothing=0.1)


def test_a_model_that_reads_both_ways_is_refused():
    model = build("bert")
    for module in model.modules():
        if hasattr(module, "is_decoder"):
            module.is_decoder = module.is_causal = False
    model.config.is_decoder = False
    with pytest.raises(InputError, match="one \\(bert\\) whose predictions follow later tokens: it reads both ways"):
        PretrainedCausalLM(model)


def test_what_eight_bits_round_otherwise_beside_another_token_is_no_look_ahead():
    """LLM.int8() treats features apart for all tokens where one has an outlier; no processor but CUDA's does."""

    def rounds_the_second_row_otherwise(_module, _args, output):
        output.last_hidden_state[1] *= 1.01

    def made():
        model = build("llama").eval()
        model.model.register_forward_hook(rounds_the_second_row_otherwise)
        return model

    with pytest.raises(InputError, match="reads both ways"):
        PretrainedCausalLM(made())
    narrow = made()
    narrow.held = torch.nn.Parameter(torch.zeros(1, dtype=torch.int8), requires_grad=False)
    assert PretrainedCausalLM(narrow).vocab_size == 100


# How it is trained.


def test_gradients_are_the_same_when_layers_are_computed_again():
    stock, model = both("llama")
    ids = drawn()
    stock(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    model.checkpoint_gradients()
    model.train()
    model.loss(ids, Targets.from_labels(ids)).backward()
    assert all(layer.gradient_checkpointing for layer in model.base.model.layers)
    assert_same_gradients(model.base, stock)


@pytest.mark.filterwarnings("ignore:.*Function.> should not be instantiated:DeprecationWarning")  # masks of 4.56
def test_the_loss_is_compiled_whole():
    _, model = both("llama", num_hidden_layers=1)
    batch = packed()
    compiled = torch.compile(model.loss, fullgraph=True, backend="eager")
    options = {"document": batch.document, "divisor": torch.tensor(9.0)}
    torch.testing.assert_close(
        compiled(batch.ids, batch.targets, **options), model.loss(batch.ids, batch.targets, **options)
    )


def test_autocast_narrows_what_float32_weights_multiply():
    _, model = both("llama")
    ids = drawn()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(ids, Targets.from_labels(ids))
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, model.loss(ids, Targets.from_labels(ids)), rtol=1e-2, atol=0)


# Its size.


@pytest.mark.parametrize(
    ("kind", "context"), [("llama", 64), ("gpt2", 64), ("bart", 64), ("mamba", 2**31 - 1), ("roberta", 62)]
)
def test_the_context_is_what_the_config_and_the_positions_have_room_for(kind, context):
    model = both(kind)[1]
    assert model.max_seq_len == context
    length = min(context, 80)
    assert model(torch.full((1, length), 5)).shape == (1, length, model.vocab_size)


@pytest.mark.skipif("inkling2_text" not in CLASSES, reason="this transformers has no Inkling")
def test_a_vocabulary_that_is_cut_is_as_wide_as_its_logits():
    model = both("inkling2_text", unpadded_vocab_size=90)[1]
    assert model.vocab_size == 90
    ids = drawn()
    torch.testing.assert_close(model.loss(ids, ids), cross_entropy(model(ids), ids), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "phi"])
def test_new_rows_are_the_mean_of_the_others(kind):
    _, model = both(kind)
    before = model.base.get_input_embeddings().weight.detach().clone()
    V = len(before)
    known = [id for id in range(V) if id != 7]
    model.grow_vocabulary(V + 3, [7])
    for layer, old in (
        (model.base.get_input_embeddings(), before),
        *([] if kind != "phi" else [(model.lm_head, None)]),
    ):
        assert len(layer.weight) == V + 3
        rows = layer.weight[:V][known] if old is None else old[known]
        for new in (7, V, V + 2):
            torch.testing.assert_close(layer.weight[new], rows.mean(0))
    assert model.vocab_size == V + 3
    ids = torch.tensor([[7, V, V + 2, 5]])
    torch.testing.assert_close(model.loss(ids, ids), cross_entropy(model(ids), ids), rtol=1e-5, atol=1e-5)


def test_a_vocabulary_that_is_large_enough_stays(monkeypatch):
    _, model = both("llama")
    weight = model.base.get_input_embeddings().weight
    model.grow_vocabulary(90)
    assert model.base.get_input_embeddings().weight is weight


@pytest.mark.filterwarnings("ignore:The .use_cache. argument is deprecated:FutureWarning")  # of 4.56
def test_a_refused_model_is_left_unpatched():
    model = build("xlnet")
    with pytest.raises(InputError, match="it reads both ways"):
        PretrainedCausalLM(model)
    with pytest.raises(ArgumentError, match="must be patched"):
        lmhead.last_statistics(model)


def test_a_model_of_several_heads_is_refused_by_the_patch():
    with pytest.raises(ArgumentError, match="model must have one output layer, got 4 of them in MusicgenForCausalLM"):
        PretrainedCausalLM(build("musicgen"))


def test_a_copy_is_a_model_of_its_own():
    _, model = both("gemma2")
    ids = drawn()
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.lm_head.weight.mul_(2)
    assert torch.equal(model(ids), both("gemma2")[1](ids))
    other.loss(ids, ids).backward()
    assert model.lm_head.weight.grad is None
    torch.testing.assert_close(other.loss(ids, ids), cross_entropy(other(ids), ids), rtol=1e-5, atol=1e-5)


def test_what_is_no_model_of_transformers_is_refused():
    with pytest.raises(ArgumentTypeError, match="must be a model of transformers, or PEFT's around one, got Linear"):
        PretrainedCausalLM(torch.nn.Linear(2, 2))
