"""The decoder: the course's numbers (row S4), the model contract, causality, tying, documents, the cache."""

import math

import pytest
import torch
import torch.nn.functional as F

from lmhead.models.config import GPTConfig
from lmhead.models.gpt import GPT
from lmhead.models.kv_cache import KVCache
from lmhead.models.rms_norm import rms_norm

STYLES = {
    "course": {"style": "course"},
    "modern": {"style": "modern"},
    "grouped": {"style": "modern", "num_kv_heads": 2},
    "qwen": {"style": "modern", "num_kv_heads": 1, "qk_norm": True, "tie_weights": False, "norm_embedding": True},
    "relu squared": {"style": "modern", "gated": False, "activation": "relu", "norm_weight": False},
}
IDS, TARGETS = torch.tensor([[0, 1, 2]]), torch.tensor([[1, 2, 3]])


SIZES = {"vocab_size": 53, "embed_dim": 32, "num_heads": 4, "num_layers": 2, "max_seq_len": 24, "init_std": 0.2}


def config_of(name, **options):
    return GPTConfig(**{**SIZES, **STYLES[name], **options})


@pytest.fixture(params=STYLES)
def model(request):
    torch.manual_seed(0)
    return GPT.from_config(config_of(request.param))


@pytest.fixture
def course():
    """The chapter's tiny GPT."""
    torch.manual_seed(0)
    return GPT(vocab_size=4, embed_dim=4, num_heads=2, num_layers=2)


def draw_ids(B=2, T=24, V=53, seed=1):
    return torch.randint(V, (B, T), generator=torch.Generator().manual_seed(seed))


# Row S4.


def test_the_chapters_tiny_gpt_has_its_loss(course):
    _, loss = course(IDS, TARGETS)
    assert loss.item() == pytest.approx(4.2588, abs=5e-5)


def test_the_chapters_tiny_gpt_has_its_loss_at_each_position(course):
    _, statistics = course.loss(IDS, TARGETS, return_stats=True)
    assert statistics.nll[0].tolist() == pytest.approx([6.4356, 2.1053, 4.2355], abs=5e-5)


def test_the_chapters_tiny_gpt_has_736_parameters(course):
    assert sum(parameter.numel() for parameter in course.parameters()) == 736


def test_the_loss_is_the_cross_entropy_of_the_logits(course):
    logits, loss = course(IDS, TARGETS, return_logits=True)
    by_hand = logits.logsumexp(-1) - logits.gather(-1, TARGETS[..., None])[..., 0]
    torch.testing.assert_close(loss, by_hand.mean())
    torch.testing.assert_close(loss, F.cross_entropy(logits.reshape(-1, 4), TARGETS.reshape(-1)))


def test_the_chapters_loss_is_one_draw_of_a_mean_of_3_23():
    losses = []
    for seed in range(200):
        torch.manual_seed(seed)
        losses.append(GPT(4, 4, 2, 2)(IDS, TARGETS)[1].item())
    assert sum(losses) / len(losses) == pytest.approx(3.23, abs=0.005)


@pytest.mark.parametrize("seed", range(10))
def test_small_weights_start_near_log_v(seed):
    torch.manual_seed(seed)
    _, loss = GPT(4, 4, 2, 2, init="gpt2")(IDS, TARGETS)
    assert 1.36 < loss.item() < 1.43


def test_a_row_that_is_too_long_is_refused_in_the_chapters_words(course):
    with pytest.raises(ValueError, match=r"^input length T=65 exceeds max_seq_len=64$"):
        course(torch.zeros(1, 65, dtype=torch.long))


def test_a_row_of_the_longest_length_is_taken(course):
    assert course(torch.zeros(1, 64, dtype=torch.long))[0].shape == (1, 64, 4)


# The model contract.


def test_without_targets_there_are_logits_and_no_loss(model):
    logits, loss = model(draw_ids())
    assert logits.shape == (2, 24, 53)
    assert loss is None


def test_with_targets_there_is_a_loss_and_no_logits_unless_asked(model):
    ids = draw_ids()
    logits, loss = model(ids, ids)
    assert logits is None
    assert loss.shape == ()
    asked, same = model(ids, ids, return_logits=True)
    torch.testing.assert_close(asked, model(ids)[0])
    assert same.item() == loss.item()


def test_weights_and_divisor_reach_the_loss(model):
    ids, weight = draw_ids(), torch.zeros(2, 24)
    weight[0, 3] = 2.0
    _, loss = model(ids, ids, token_weight=weight, divisor=4.0)
    nll = F.cross_entropy(model(ids)[0][0, 3], ids[0, 3])
    torch.testing.assert_close(loss, nll * 2 / 4)


def test_the_loss_takes_the_heads_options(model):
    ids = draw_ids()
    per_token = model.loss(ids, ids, reduction="none", label_smoothing=0.1)
    logits = model(ids)[0].transpose(1, 2)
    torch.testing.assert_close(per_token, F.cross_entropy(logits, ids, reduction="none", label_smoothing=0.1))


def test_the_statistics_name_the_most_probable_tokens(model):
    ids = draw_ids()
    _, statistics = model.loss(ids, ids, return_stats=True, top_k=4)
    values, top = model(ids)[0].log_softmax(-1).topk(4)
    assert torch.equal(statistics.top_ids, top)
    torch.testing.assert_close(statistics.top_logprobs, values.detach(), rtol=1e-5, atol=1e-5)


def test_every_parameter_gets_a_gradient(model):
    ids = draw_ids()
    model.loss(ids, ids).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


def test_the_perturbed_future_changes_nothing(model):
    ids = draw_ids()
    changed = ids.clone()
    changed[:, 10:] = (changed[:, 10:] + 1) % 53
    before, after = model(ids)[0], model(changed)[0]
    torch.testing.assert_close(before[:, :10], after[:, :10], rtol=0, atol=0)
    assert not torch.allclose(before[:, 10:], after[:, 10:])


def test_the_order_of_the_past_matters(model):
    ids = draw_ids(B=1)
    swapped = ids[:, [1, 0, *range(2, 24)]]
    assert not torch.allclose(model(ids)[0][:, 5:], model(swapped)[0][:, 5:])


def test_training_learns_a_row_by_heart(model):
    ids = draw_ids(B=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    first = model.loss(ids[:, :-1], ids[:, 1:]).item()
    for _ in range(60):
        optimizer.zero_grad()
        loss = model.loss(ids[:, :-1], ids[:, 1:])
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1 * first


def test_float64_and_float32_agree(model):
    ids = draw_ids()
    narrow = model(ids)[0]
    wide = model.double()(ids)[0]
    assert wide.dtype == torch.float64
    torch.testing.assert_close(narrow, wide.float(), rtol=1e-4, atol=1e-4)


def test_autocast_gives_nearly_the_same_loss(model):
    ids = draw_ids()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(ids, ids)
    loss.backward()
    assert loss.item() == pytest.approx(model.loss(ids, ids).item(), rel=0.02)


def test_dropout_acts_in_training_only():
    model = GPT.from_config(config_of("modern", dropout=0.5))
    ids = draw_ids()
    assert not torch.equal(model(ids)[0], model(ids)[0])
    model.eval()
    assert torch.equal(model(ids)[0], model(ids)[0])


@pytest.mark.parametrize("shape", [(0, 5), (2, 0)])
def test_nothing_in_gives_nothing_out(model, shape):
    empty = torch.zeros(shape, dtype=torch.long)
    assert model(empty)[0].shape == (*shape, 53)
    assert model(empty, empty)[1].item() == 0.0


@pytest.mark.parametrize(
    ("ids", "rule"),
    [
        (torch.zeros(3, dtype=torch.long), r"ids must be \[B, T\]"),
        (torch.tensor([[0, 53]]), r"ids must be in \[0, 53\), got 53"),
        (torch.tensor([[-100, 1]]), r"ids must be in \[0, 53\), got -100"),
        (torch.zeros(1, 3), "ids must be integers"),
    ],
)
def test_ids_that_are_none_are_refused(model, ids, rule):
    with pytest.raises(ValueError, match=rule):
        model(ids)


# Tying.


def test_a_tied_head_shares_storage_and_gradient():
    model = GPT.from_config(config_of("modern", tie_weights=True))
    assert model.lm_head.weight is model.model.embed_tokens.weight
    ids = draw_ids()
    model.loss(ids, ids).backward()
    used = torch.zeros(53, dtype=torch.bool)
    used[ids] = True
    # the head pushes every row of the vocabulary, the embedding only those that were read
    assert (model.model.embed_tokens.weight.grad[~used].abs().sum(-1) > 0).all()


def test_an_untied_head_has_a_weight_of_its_own():
    model = GPT.from_config(config_of("modern", tie_weights=False))
    assert model.lm_head.weight.data_ptr() != model.model.embed_tokens.weight.data_ptr()
    extra = sum(p.numel() for p in model.parameters()) - sum(
        p.numel() for p in GPT.from_config(config_of("modern")).parameters()
    )
    assert extra == 53 * 32


# Documents in one row.


def test_documents_in_a_row_are_read_as_if_alone(model):
    ids = draw_ids(B=1)
    document = torch.tensor([[3] * 7 + [4] * 12 + [9] * 5])
    together = model.hidden(ids, document=document)
    alone = [model.hidden(ids[:, part]) for part in (slice(0, 7), slice(7, 19), slice(19, 24))]
    torch.testing.assert_close(together, torch.cat(alone, 1), rtol=1e-4, atol=1e-5)


def test_one_document_is_the_plain_row(model):
    ids = draw_ids()
    torch.testing.assert_close(model(ids, document=torch.zeros_like(ids))[0], model(ids)[0], rtol=1e-4, atol=1e-5)


def test_documents_of_another_shape_are_refused(model):
    with pytest.raises(ValueError, match="document must be"):
        model(draw_ids(), document=torch.zeros(24, dtype=torch.long))


# The cache.


@pytest.mark.parametrize("chunks", [[24], [1] * 24, [10, 1, 1, 5, 7], [1, 23]])
@torch.no_grad()
def test_cached_logits_equal_uncached_ones(model, chunks):
    ids = draw_ids()
    cache = KVCache(model.config, batch_size=2)
    parts = [model.hidden(part, cache=cache) for part in ids.split(chunks, dim=1)]
    torch.testing.assert_close(torch.cat(parts, 1), model.hidden(ids), rtol=1e-4, atol=1e-5)
    assert cache.length == 24


@torch.no_grad()
def test_a_full_cache_refuses_more(model):
    cache = KVCache(model.config, batch_size=2)
    model.hidden(draw_ids(), cache=cache)
    with pytest.raises(ValueError, match="input length T=25 exceeds max_seq_len=24"):
        model.hidden(draw_ids(T=1), cache=cache)


def test_a_cache_is_refused_where_gradients_are_recorded(model):
    with pytest.raises(ValueError, match="cache must be used under"):
        model.hidden(draw_ids(), cache=KVCache(model.config, batch_size=2))


def test_a_cache_of_grouped_heads_is_smaller():
    assert KVCache(config_of("grouped")).keys.shape == (2, 1, 2, 24, 8)


# Initialisation.


def test_zero_initialised_projections_make_each_layer_the_identity():
    model = GPT.from_config(config_of("qwen", zero_init_projections=True, zero_init_head=True))
    ids = draw_ids()
    embedded = rms_norm(model.model.embed_tokens(ids), None, 1e-5)
    torch.testing.assert_close(model.hidden(ids), rms_norm(embedded, None, 1e-5))
    assert model(ids, ids)[1].item() == pytest.approx(math.log(53))


def test_embeddings_take_their_own_standard_deviation():
    model = GPT.from_config(config_of("modern", vocab_size=2000, embedding_std=3.0, tie_weights=False))
    assert model.model.embed_tokens.weight.std().item() == pytest.approx(3.0, rel=0.05)
    assert model.lm_head.weight.std().item() == pytest.approx(0.2, rel=0.05)


def test_output_projections_shrink_with_depth():
    model = GPT.from_config(config_of("modern", embed_dim=64, num_layers=8))
    layer = model.model.layers[0]
    assert layer.self_attn.q_proj.weight.std().item() == pytest.approx(0.2, rel=0.1)
    assert layer.self_attn.o_proj.weight.std().item() == pytest.approx(0.2 / 4, rel=0.1)
    assert layer.mlp.down_proj.weight.std().item() == pytest.approx(0.2 / 4, rel=0.1)


# The config.


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"num_heads": 5}, "embed_dim must be a multiple of num_heads=5"),
        ({"num_kv_heads": 3}, "num_heads must be a multiple of num_kv_heads=3"),
        ({"head_dim": 7}, "head_dim must be even"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ({"vocab_size": 0}, "vocab_size must be an integer >= 1"),
        ({"num_layers": 2.0}, "num_layers must be an integer >= 1"),
        ({"activation": "tanh"}, "activation must be one of silu, relu, gelu"),
        ({"style": "old"}, "style must be one of course, modern"),
        ({"style": "course", "qk_norm": True}, "qk_norm must be left as it is in the course's style"),
        ({"zero_init_head": True}, "zero_init_head must be off where the head is tied"),
        ({"norm_embedding": True}, "norm_embedding must be off where the head is tied"),
    ],
)
def test_a_config_that_cannot_be_is_refused(options, rule):
    with pytest.raises(ValueError, match=rule):
        config_of("modern", **options)


def test_an_unknown_option_is_refused():
    with pytest.raises(TypeError, match="embed_dims"):
        GPT(4, 4, 2, 2, embed_dims=3)


# RMSNorm.


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("weighted", [False, True])
def test_rms_norm_equals_torchs(dtype, weighted):
    torch.manual_seed(0)
    x, grad = torch.randn(3, 5, 16, dtype=dtype), torch.randn(3, 5, 16, dtype=dtype)
    weight = torch.randn(16, dtype=dtype) if weighted else None
    ours, theirs = x.clone().requires_grad_(), x.double().requires_grad_()
    got = rms_norm(ours, weight, 1e-5)
    exact = F.rms_norm(theirs, (16,), None if weight is None else weight.double(), 1e-5)
    got.backward(grad)
    exact.backward(grad.double())
    tolerance = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(got.double(), exact, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=tolerance, atol=4 * tolerance)


def test_rms_norm_has_the_gradient_of_its_formula():
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, weight: rms_norm(x, weight, 0.1), (x, weight))


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("style", ["course", "modern"])
def test_to_empty_leaves_nothing_undefined_that_a_checkpoint_lacks(style, tied):
    sizes = {"vocab_size": 11, "embed_dim": 8, "num_heads": 2, "num_layers": 1, "max_seq_len": 16, "mlp_dim": 16}
    config = GPTConfig(**sizes, style=style, tie_weights=tied)
    right = GPT.from_config(config)
    with torch.device("meta"):
        made = GPT.from_config(config)
    for model in (made, GPT.from_config(config)):
        model.to_empty(device="cpu").load_state_dict(right.state_dict())
        assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied
        ids = torch.arange(10)[None]
        torch.testing.assert_close(model(ids)[0], right(ids)[0], rtol=0, atol=0)
    if style == "modern":
        made.model.cos.zero_()
        made.reset_buffers()
        torch.testing.assert_close(made.model.cos, right.model.cos, rtol=0, atol=0)
        assert made.to(torch.bfloat16).model.sin.dtype == torch.bfloat16
