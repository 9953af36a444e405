"""transformers loads what is saved here, and drafts from its modules token for token as this library does."""

import functools
from contextlib import contextmanager

import pytest
import torch
from tests.models.transformers.formats.multi_token_models import DECODERS, SIZES, make

from lmhead.generation.speculative import speculate
from lmhead.labels.targets import Targets
from lmhead.models.transformers.formats.pretrained import load_pretrained, save_pretrained

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")  # of generate

V, NEW_TOKENS = SIZES["vocab_size"], 24
CASES = [  # decoder, kind, depth, and the folder's class
    ("recipe", "sequential", 1, "MellumForCausalLM"),
    ("recipe", "sequential", 2, "MellumForCausalLM"),
    ("recipe", "sequential", 3, "MellumForCausalLM"),  # more modules than layers
    ("qwen3", "recurrent", 2, "MellumForCausalLM"),
    ("llama, untied", "sequential", 2, "Glm4MoeForCausalLM"),
]
PLAIN = [  # decoder, kind, family, and the folder's class
    ("recipe", "sequential", "mellum", "MellumForCausalLM"),
    ("recipe", "parallel", None, "Qwen3ForCausalLM"),
    ("qwen3", "sequential", "glm4_moe", "Glm4MoeForCausalLM"),
    ("qwen3", "sequential", "qwen3_next", "Qwen3ForCausalLM"),
    ("llama", "sequential", "glm4_moe", "Glm4MoeForCausalLM"),
    ("llama", "sequential", "mimo", "Qwen2ForCausalLM"),
    ("llama", "recurrent", "deepseek_v3", "LlamaForCausalLM"),
    ("course", "sequential", None, "GPT2LMHeadModel"),
]


def counting(generator):
    """Rows [8, 24] that count in a step of their own, with some noise: drafts of them are often right."""
    step = torch.randint(1, 4, (8, 1), generator=generator)
    ids = (torch.randint(V, (8, 1), generator=generator) + step * torch.arange(24)) % V
    noise = torch.rand(ids.shape, generator=generator) < 0.1
    return torch.where(noise, torch.randint(V, ids.shape, generator=generator), ids)


@functools.cache
def trained(decoder, kind, depth):
    """A model whose modules learnt a little to count."""
    model, generator = make(decoder, kind, depth).train(), torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(40):
        ids = counting(generator)
        loss, _ = model.multi_token_loss(ids, Targets.from_labels(ids))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def loaded(folder, depth, *, last=SIZES["num_layers"]):
    """What docs/loss/mtp.md tells people to write."""
    glm = transformers.Glm4MoeForCausalLM
    glm._keys_to_ignore_on_load_unexpected = [rf"model\.layers\.({'|'.join(str(last + k) for k in range(depth))})\."]
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder)
    theirs.config.num_mtp_layers = depth
    return theirs


@contextmanager
def drafting():
    """What was drafted: (the tokens before, the drafts) of each time."""
    from transformers.generation.candidate_generator import MTPCandidateGenerator

    drafts, get_candidates = [], MTPCandidateGenerator.get_candidates

    def spy(self, input_ids, *arguments, **keywords):
        found = get_candidates(self, input_ids, *arguments, **keywords)
        drafts.append((input_ids[0].tolist(), found[0][0, input_ids.shape[1] :].tolist()))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MTPCandidateGenerator, "get_candidates", spy)
        yield drafts


@torch.no_grad()
def drafted_here(model, ids, depth):
    """The drafts behind ids, from one pass over the row and the drafts before: no cache, nothing shared."""
    made = []
    for k in range(depth):
        row = torch.tensor([[*ids, *made, 0]])  # a module reads one token further than the model
        state = model.mtp.behind(model.main.trunk(row))[k][:, len(ids) - 2]
        made.append(int(model.lm_head(state).argmax()))
    return made


@pytest.mark.parametrize(("decoder", "kind", "depth", "name"), CASES)
def test_transformers_drafts_token_for_token_as_this_library(decoder, kind, depth, name, tmp_path, monkeypatch):
    monkeypatch.setattr(transformers.Glm4MoeForCausalLM, "_keys_to_ignore_on_load_unexpected", None)
    model, modules = trained(decoder, kind, depth), 1 if kind == "recurrent" else depth
    save_pretrained(model, tmp_path)
    theirs = loaded(tmp_path, modules)
    assert type(theirs).__name__ == name
    accepted = 0
    for prompt in counting(torch.Generator().manual_seed(2))[:1, :5].tolist():
        plain = theirs.generate(torch.tensor([prompt]), max_new_tokens=NEW_TOKENS, do_sample=False)[0].tolist()
        with drafting() as drafts:
            made = theirs.generate(torch.tensor([prompt]), max_new_tokens=NEW_TOKENS, do_sample=False, use_mtp=True)[
                0
            ].tolist()
        assert made == plain
        assert made[5:] == speculate(model, [prompt], max_new_tokens=NEW_TOKENS, temperature=0).tokens[0]
        assert {len(drafted) for _, drafted in drafts[1:]} == {modules}
        for ids, drafted in drafts[1:]:
            assert drafted == drafted_here(model, ids, modules)
        accepted += NEW_TOKENS - len(drafts)
    assert accepted > 4  # so the caches were cropped, and went on


@pytest.mark.parametrize(("decoder", "kind", "family", "name"), PLAIN)
@torch.no_grad()
def test_without_the_modules_transformers_loads_the_model_as_before(decoder, kind, family, name, tmp_path):
    model, ids = make(decoder, kind, family=family), torch.arange(20).view(2, 10)
    save_pretrained(model, tmp_path)
    theirs, found = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert type(theirs).__name__ == name
    assert not found["missing_keys"]
    assert not found["mismatched_keys"]
    torch.testing.assert_close(theirs(ids).logits, model(ids)[0], rtol=0, atol=1e-4)
    if name == "MellumForCausalLM":
        assert not found["unexpected_keys"]  # no line of a report


@torch.no_grad()
def test_what_transformers_saves_of_it_is_refused_until_the_declaration_is_taken_away(tmp_path):
    model, ids = make("recipe"), torch.arange(20).view(2, 10)
    save_pretrained(model, tmp_path / "ours")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")  # without the modules, with the config
    with pytest.raises(ValueError, match="got none of module 1 of 1"):
        load_pretrained(tmp_path / "theirs")
    theirs.config.num_nextn_predict_layers = 0
    del theirs.config.lmhead_mtp
    theirs.save_pretrained(tmp_path / "theirs")
    main = load_pretrained(tmp_path / "theirs")
    torch.testing.assert_close(main(ids)[0], model(ids)[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("decoder", DECODERS)
@torch.no_grad()
def test_the_decoder_alone_is_written_as_ever(decoder, tmp_path):
    save_pretrained(make(decoder).main, tmp_path)
    config = transformers.AutoConfig.from_pretrained(tmp_path)
    assert config.model_type in ("qwen3", "llama", "gpt2")
    assert not hasattr(config, "lmhead_mtp")
