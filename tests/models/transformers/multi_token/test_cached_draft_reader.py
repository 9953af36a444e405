"""Speculation behind a model of transformers: its caches give what reading anew gives, and plain decoding."""

import pytest
import torch
from tests.models.transformers.causal_lms.build import build

from lmhead.generation.draft_counts import DraftCounts
from lmhead.generation.sampling import sample
from lmhead.generation.speculative import Speculation, speculate
from lmhead.labels.targets import Targets
from lmhead.models.multi_token.draft_reader import AnewDraftReader
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.models.transformers.lora import add_lora
from lmhead.models.transformers.lora_options import LoraOptions
from lmhead.models.transformers.multi_token.cached_draft_reader import CachedDraftReader
from lmhead.models.transformers.pretrained_causal_lm import PretrainedCausalLM

PROMPTS = [[5, 8, 11, 14], [12], [4, 5, 6, 7, 8, 9, 10, 11, 12]]


def made(kind: str, *, mtp_kind="sequential", depth=2, **fields) -> MultiTokenModel:
    torch.manual_seed(0)
    main = PretrainedCausalLM(build(kind, **fields).eval())
    return MultiTokenModel.behind(main, depth=depth, kind=mtp_kind).eval()


def trained(model: MultiTokenModel) -> MultiTokenModel:
    """The model after some steps of counting, with noise: its drafts are often right, and often wrong."""
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(40):
        step = torch.randint(1, 4, (8, 1), generator=generator)
        ids = 4 + (torch.randint(11, (8, 1), generator=generator) + step * torch.arange(12)) % 11
        ids = torch.where(torch.rand(ids.shape, generator=generator) < 0.1, 4, ids)
        optimizer.zero_grad()
        model.multi_token_loss(ids, Targets.from_labels(ids))[0].backward()
        optimizer.step()
    return model.eval()


def spoken(model: MultiTokenModel, **options) -> Speculation:
    return speculate(model, PROMPTS, max_new_tokens=12, temperature=0, **options)


def assert_as_plain(model: MultiTokenModel) -> DraftCounts:
    """What drafting came to, through caches, which was the same without."""
    assert isinstance(model.main.draft_reader(rows=1, room=8, depth=2), CachedDraftReader)
    cached = spoken(model)
    plain = [list(sample(model.main, prompt, max_new_tokens=12, temperature=0)) for prompt in PROMPTS]
    assert cached.tokens == plain
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.main, "_draft_caches_are_right", False)
        assert isinstance(model.main.draft_reader(rows=1, room=8, depth=2), AnewDraftReader)
        anew = spoken(model)
    assert (anew.tokens, anew.counts) == (cached.tokens, cached.counts)
    return cached.counts


@pytest.mark.parametrize(
    ("kind", "mtp_kind", "fields"),
    [
        ("gemma2", "sequential", {"sliding_window": 6}),
        ("gpt2", "sequential", {}),
        ("gpt2", "parallel", {}),
        ("deepseek_v3", "sequential", {}),
        ("qwen3", "sequential", {"max_position_embeddings": 16}),  # the rows are longer than the context: it slides
    ],
    ids=str,
)
def test_greedy_gives_what_plain_greedy_gives_and_drafts_what_is_drafted_without_a_cache(kind, mtp_kind, fields):
    assert_as_plain(made(kind, mtp_kind=mtp_kind, **fields))


@pytest.mark.parametrize(("kind", "mtp_kind"), [("gemma2", "sequential"), ("llama", "recurrent")])
def test_drafts_that_are_often_right_change_nothing_but_the_forwards(kind, mtp_kind):
    counts = assert_as_plain(trained(made(kind, mtp_kind=mtp_kind)))
    assert counts.tokens_per_forward > 1.2


def test_a_recurrent_module_drafts_deeper_than_it_has_depths():
    model = made("llama", mtp_kind="recurrent", depth=1)
    deeper = spoken(model, draft_tokens=4)
    assert deeper.tokens == spoken(model).tokens


def test_adapters_draft_and_verify():
    base = build("llama").eval()
    main = PretrainedCausalLM(add_lora(base, LoraOptions(rank=2)).eval())
    for name, each in main.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(each)
    model = MultiTokenModel.behind(main).eval()
    assert isinstance(main.draft_reader(rows=1, room=8, depth=1), CachedDraftReader)
    plain = [list(sample(main, prompt, max_new_tokens=12, temperature=0)) for prompt in PROMPTS]
    assert spoken(model).tokens == plain


def test_a_model_whose_cache_cannot_be_cut_is_read_anew():
    model = made("lfm2_moe")  # its convolutions keep a state
    assert isinstance(model.main.draft_reader(rows=1, room=8, depth=1), AnewDraftReader)
    plain = [list(sample(model.main, prompt, max_new_tokens=12, temperature=0)) for prompt in PROMPTS]
    assert spoken(model).tokens == plain


def test_proving_the_caches_leaves_the_generator_and_the_model_alone():
    model = made("gemma2")
    torch.manual_seed(3)
    state = torch.get_rng_state()
    model.main.draft_reader(rows=1, room=8, depth=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.main.base.training
    assert not any("forward" in vars(layer) for layer in model.main.base.model.layers)
