"""Modules behind a model of transformers in its folder: bit for bit back, drafted from there, refused where in part."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.models.transformers.causal_lms.build import build
from torch import Tensor

from lmhead.errors import ArgumentError, InputError
from lmhead.labels.targets import Targets
from lmhead.models.config import GPTConfig
from lmhead.models.gpt import GPT
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.models.multi_token.style import FAMILIES, MultiTokenStyle
from lmhead.models.transformers.formats.pretrained import save_pretrained
from lmhead.models.transformers.formats.weight_files import tensors_by_file
from lmhead.models.transformers.lora import add_lora
from lmhead.models.transformers.lora_options import LoraOptions
from lmhead.models.transformers.multi_token.added_weights import write_tensors
from lmhead.models.transformers.pretrained_causal_lm import PretrainedCausalLM

transformers = pytest.importorskip("transformers")


def behind(kind: str, *, depth: int = 1, mtp_kind="sequential", style=None, **fields) -> MultiTokenModel:
    torch.manual_seed(0)
    main = PretrainedCausalLM(build(kind, **fields).eval())
    model = MultiTokenModel.behind(main, depth=depth, kind=mtp_kind, style=style).eval()
    with torch.no_grad():
        for each in model.parameters():
            each.add_(torch.randn_like(each), alpha=0.2)
    return model


def saved(model: MultiTokenModel, folder: Path, **options) -> Path:
    model.main.save(folder, modules=model, **options)
    return folder


def loaded(folder: Path) -> MultiTokenModel:
    model = PretrainedCausalLM.load(folder).with_saved_modules()
    assert isinstance(model, MultiTokenModel)
    return model


def names(folder: Path) -> set[str]:
    return {name for held in tensors_by_file(folder).values() for name in held}


def rewritten(folder: Path, **fields) -> Path:
    said = json.loads((folder / "config.json").read_text())
    said |= fields
    (folder / "config.json").write_text(json.dumps({name: each for name, each in said.items() if each is not None}))
    return folder


def assert_same(got: MultiTokenModel, want: MultiTokenModel):
    assert (got.kind, got.depth) == (want.kind, want.depth)
    assert got.state_dict().keys() == want.state_dict().keys()
    for name, each in want.state_dict().items():
        assert torch.equal(got.state_dict()[name], each), name


@pytest.mark.parametrize(
    ("kind", "depth", "mtp_kind"),
    [
        ("gemma2", 2, "sequential"),
        ("mixtral", 3, "recurrent"),
        ("gpt2", 2, "parallel"),
        ("glm4_moe", 2, "sequential"),
        ("deepseek_v3", 2, "recurrent"),
        ("mellum", 1, "sequential"),
        ("mellum", 2, "sequential"),
    ],
)
def test_modules_come_back_bit_for_bit_with_their_style(kind, depth, mtp_kind, tmp_path):
    model = behind(kind, depth=depth, mtp_kind=mtp_kind)
    again = loaded(saved(model, tmp_path))
    assert_same(again, model)
    if mtp_kind != "parallel":
        own = FAMILIES.get(kind, MultiTokenStyle())
        assert again.mtp.style == replace(own, family=kind if kind in FAMILIES else None)


def test_a_style_of_no_family_is_kept_under_names_of_our_own(tmp_path):
    style = MultiTokenStyle(order="hidden_first", chain="unnormed")
    model = behind("glm4_moe", depth=2, style=style)
    again = loaded(saved(model, tmp_path))
    assert_same(again, model)
    assert again.mtp.style == style
    assert "mtp.layers.1.eh_proj.weight" in names(tmp_path)


def test_shards_are_renamed_and_the_modules_are_the_last(tmp_path):
    model = behind("gemma2")
    saved(model, tmp_path, max_shard_size="40KB")
    files = sorted(file.name for file in tmp_path.glob("*.safetensors"))
    assert len(files) > 2
    assert files == [f"model-{at:05d}-of-{len(files):05d}.safetensors" for at in range(1, len(files) + 1)]
    assert_same(loaded(tmp_path), model)


@pytest.mark.parametrize("kind", ["gemma2", "glm4_moe"])
def test_without_the_modules_transformers_loads_the_model(kind, tmp_path):
    model = behind(kind)
    stock, found = transformers.AutoModelForCausalLM.from_pretrained(saved(model, tmp_path), output_loading_info=True)
    assert not found["missing_keys"]
    assert not found["mismatched_keys"]
    for name, each in model.main.base.state_dict().items():
        assert torch.equal(stock.state_dict()[name], each)


def test_what_engines_read_is_declared_and_nothing_that_is_not_there(tmp_path):
    model = behind("glm4_moe", depth=2)
    assert json.loads((saved(model, tmp_path / "two") / "config.json").read_text())["num_nextn_predict_layers"] == 2
    model.main.save(tmp_path / "alone")  # its config said 1 before, as every GLM's does
    assert json.loads((tmp_path / "alone" / "config.json").read_text())["num_nextn_predict_layers"] == 0
    assert PretrainedCausalLM.load(tmp_path / "alone").with_saved_modules().__class__ is PretrainedCausalLM


def test_tensors_of_a_glm_have_the_names_of_its_published_checkpoints(tmp_path):
    saved(behind("glm4_moe"), tmp_path)
    # https://huggingface.co/zai-org/GLM-4.5-Air, model.safetensors.index.json, layer 46; two layers here
    own = {name.removeprefix("model.layers.2.") for name in names(tmp_path) if name.startswith("model.layers.2.")}
    experts = {f"mlp.experts.{at}.{part}_proj.weight" for at in range(4) for part in ("gate", "up", "down")}
    assert own - experts == {
        *("embed_tokens.weight", "enorm.weight", "hnorm.weight", "eh_proj.weight"),
        *("shared_head.norm.weight", "shared_head.head.weight"),
        *("input_layernorm.weight", "post_attention_layernorm.weight"),
        *(f"self_attn.{part}_proj.weight" for part in "qkvo"),
        *(f"mlp.shared_experts.{part}_proj.weight" for part in ("gate", "up", "down")),
        *("mlp.gate.weight", "mlp.gate.e_score_correction_bias"),
    }
    assert experts <= own


# Drafts.


def drafts_of_transformers(folder: Path, ids: Tensor, count: int) -> list[tuple[Tensor, int]]:
    """(all ids that were there, the id that was drafted behind them) of each draft of `generate(use_mtp=True)`."""
    candidates = pytest.importorskip("transformers.generation.candidate_generator")
    if not hasattr(candidates, "MTPCandidateGenerator"):
        pytest.skip("this transformers does not draft")
    stock, seen = transformers.AutoModelForCausalLM.from_pretrained(folder), []
    own = candidates.MTPCandidateGenerator.get_candidates

    def watched(self, input_ids, *args, **kwargs):
        made = own(self, input_ids, *args, **kwargs)
        if made[1] is not None:
            seen.append((input_ids, int(made[0][0, input_ids.shape[1]])))
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates.MTPCandidateGenerator, "get_candidates", watched)
        drafted = stock.generate(ids, use_mtp=True, do_sample=False, max_new_tokens=count)
    assert torch.equal(drafted, stock.generate(ids, do_sample=False, max_new_tokens=count))
    return seen


@pytest.mark.parametrize(("kind", "layers"), [("glm4_moe", 46), ("mellum", 2)])
def test_transformers_drafts_token_for_token_what_ours_do(kind, layers, tmp_path):
    """It finds a GLM's modules behind 46 or 92 layers alone; a Mellum's behind any number."""
    model = behind(kind, num_hidden_layers=layers)
    model.main.base.generation_config.eos_token_id = None
    ids = torch.randint(4, 88, (1, 9), generator=torch.Generator().manual_seed(0))
    seen = drafts_of_transformers(saved(model, tmp_path), ids, 8)
    assert len(seen) > 3
    with torch.no_grad():
        for read, drafted in seen:
            states = model.mtp.behind(model.main.trunk(read))[0]
            assert int(model.lm_head(states[0, read.shape[1] - 2]).argmax()) == drafted


# Adapters.


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # asked for by PEFT
def test_modules_lie_beside_adapters(tmp_path):
    build("llama").save_pretrained(tmp_path / "base")
    main = PretrainedCausalLM.load(tmp_path / "base", lora=LoraOptions(rank=2))
    model = MultiTokenModel.behind(main, depth=2, kind="recurrent").eval()
    with torch.no_grad():
        for name, each in model.named_parameters():
            if "lora_B" in name:
                each.normal_()
    folder = saved(model, tmp_path / "adapters")
    assert_same(loaded(folder), model)
    peft = pytest.importorskip("peft")
    peft.AutoPeftModelForCausalLM.from_pretrained(folder)  # as without them


def test_fresh_adapters_go_beside_the_modules_of_their_model(tmp_path):
    model = behind("gemma2")
    again = PretrainedCausalLM.load(saved(model, tmp_path), lora=LoraOptions(rank=2)).with_saved_modules()
    assert isinstance(again, MultiTokenModel)
    for name, each in model.mtp.state_dict().items():
        assert torch.equal(again.mtp.state_dict()[name], each)


def test_adapters_that_somebody_else_made_have_no_modules(tmp_path):
    build("llama").save_pretrained(tmp_path / "base")
    base = PretrainedCausalLM.load(tmp_path / "base").base
    add_lora(base, LoraOptions(rank=2)).save_pretrained(tmp_path / "adapters")
    assert isinstance(PretrainedCausalLM.load(tmp_path / "adapters").with_saved_modules(), PretrainedCausalLM)


# Behind this library's decoder before.


def ours(*, qk_norm: bool, depth: int, mtp_kind="sequential", family=None) -> MultiTokenModel:
    torch.manual_seed(0)
    config = GPTConfig(vocab_size=64, embed_dim=32, num_heads=2, num_layers=2, init_std=0.3, qk_norm=qk_norm)
    gpt = GPT.from_config(config)
    style = None if family is None else gpt.module_style(family, kind=mtp_kind, depth=depth)
    return MultiTokenModel.behind(gpt, depth=depth, kind=mtp_kind, style=style).eval()


@pytest.mark.parametrize("qk_norm", [True, False], ids=["mellum", "glm4_moe"])
@pytest.mark.parametrize(("depth", "mtp_kind"), [(2, "sequential"), (3, "recurrent"), (2, "parallel")])
def test_modules_of_this_librarys_decoder_are_the_same_beside_adapters(qk_norm, depth, mtp_kind, tmp_path):
    model = ours(qk_norm=qk_norm, depth=depth, mtp_kind=mtp_kind)
    save_pretrained(model, tmp_path)
    again = PretrainedCausalLM.load(tmp_path, lora=LoraOptions(rank=2)).with_saved_modules().eval()
    ids = torch.randint(64, (2, 12), generator=torch.Generator().manual_seed(0))
    got, want = (each.multi_token_loss(ids, Targets.from_labels(ids))[1] for each in (again, model))
    assert len(got) == 1 + depth
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one.nll, other.nll, rtol=1e-4, atol=1e-5)


def test_a_family_that_transformers_has_no_model_of_is_refused_there(tmp_path):
    save_pretrained(ours(qk_norm=True, depth=1, family="qwen3_next"), tmp_path)
    with pytest.raises(InputError, match=r"must be of glm4_moe, deepseek_v3, mellum or of no family, got qwen3_next"):
        PretrainedCausalLM.load(tmp_path).with_saved_modules()


# What is refused.


@pytest.mark.parametrize("mtp_kind", ["sequential", "parallel"])
def test_declared_modules_without_weights_are_refused(mtp_kind, tmp_path):
    model = behind("gemma2", mtp_kind=mtp_kind)
    declared = json.loads((saved(model, tmp_path / "whole") / "config.json").read_text())["lmhead_mtp"]
    model.main.save(tmp_path / "alone")
    rewritten(tmp_path / "alone", lmhead_mtp=declared)
    with pytest.raises(InputError, match=r"got none of mtp.*remove lmhead_mtp from config.json"):
        PretrainedCausalLM.load(tmp_path / "alone").with_saved_modules()


def test_weights_that_nothing_declares_are_refused(tmp_path):
    rewritten(saved(behind("gemma2"), tmp_path), lmhead_mtp=None)
    with pytest.raises(InputError, match=r"must declare the modules.*got no lmhead_mtp"):
        PretrainedCausalLM.load(tmp_path).with_saved_modules()


def test_a_part_of_the_declared_modules_is_refused(tmp_path):
    saved(behind("gemma2", depth=2), tmp_path)
    (last,) = tmp_path.glob("model-00002-of-00002.safetensors")
    file = __import__("safetensors.torch").torch.load_file(last)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    for name in [name for name in file if "eh_proj" in name]:
        del file[name], index["weight_map"][name]
    write_tensors(last, file)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"must be those that it declares.*eh_proj"):
        PretrainedCausalLM.load(tmp_path).with_saved_modules()


def test_another_family_than_the_models_is_refused():
    main = PretrainedCausalLM(build("gemma2").eval())
    with pytest.raises(ArgumentError, match="family must be left out behind a model that transformers has none of"):
        main.module_style("deepseek_v3", kind="sequential", depth=1)
    with pytest.raises(ArgumentError, match="family must be glm4_moe, the model's own, got mimo"):
        PretrainedCausalLM(build("glm4_moe").eval()).module_style("mimo", kind="sequential", depth=1)
    with pytest.raises(ArgumentError, match="did you mean glm4_moe"):
        main.module_style("glm4", kind="sequential", depth=1)
