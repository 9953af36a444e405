"""Folders that transformers wrote are loaded and written again; what cannot be loaded is told in one line."""

import importlib.machinery
import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from tests.models.transformers.causal_lms.build import build
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from lmhead.data.tokenizer.train_tokenizer import train_tokenizer
from lmhead.errors import InputError
from lmhead.models.transformers.pretrained_causal_lm import PretrainedCausalLM

IDS = torch.tensor([[5, 6, 7, 8, 9]])
REMOTE = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of a type's tiny model, made once."""
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind)
            build(kind).eval().save_pretrained(made[kind])
        return made[kind]

    return folder


@pytest.fixture
def changed(saved, tmp_path):
    """A copy of a Llama's folder with other fields in its config."""

    def folder(**fields: object) -> Path:
        shutil.copytree(saved("llama"), tmp_path / "changed")
        file = tmp_path / "changed" / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | fields))
        return tmp_path / "changed"

    return folder


def logits_of_transformers(folder: Path) -> torch.Tensor:
    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(folder)(input_ids=IDS).logits


# There and back.


@pytest.mark.parametrize("kind", ["llama", "gemma2", "gpt2", "mixtral"])
def test_a_folder_is_loaded_saved_and_loaded_by_transformers(kind, saved, tmp_path):
    model = PretrainedCausalLM.load(saved(kind))
    with torch.no_grad():
        assert torch.equal(model(IDS), logits_of_transformers(saved(kind)))
        for parameter in model.parameters():
            parameter.mul_(1.25)
        expected = model(IDS)
    model.save(tmp_path)
    assert torch.equal(logits_of_transformers(tmp_path), expected)
    again = PretrainedCausalLM.load(tmp_path)
    assert torch.equal(again(IDS), expected)
    assert type(again.base) is type(model.base)
    assert not any("lmhead" in name for name in again.state_dict())


def test_shards_are_written_and_read(saved, tmp_path):
    model = PretrainedCausalLM.load(saved("llama"))
    model.save(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 2
    assert torch.equal(PretrainedCausalLM.load(tmp_path)(IDS), model(IDS))
    next(tmp_path.glob("model-00002-of-*")).unlink()
    with pytest.raises(InputError, match=r"cannot be loaded: .*model-00002-of-.*; fetch or save it anew$"):
        PretrainedCausalLM.load(tmp_path)


def test_tied_weights_stay_one(saved, tmp_path):
    PretrainedCausalLM.load(saved("gemma2")).save(tmp_path)
    model = PretrainedCausalLM.load(tmp_path)
    assert model.lm_head.weight is model.base.get_input_embeddings().weight
    model.loss(IDS, IDS).backward()


def test_the_dtype_is_the_stored_one_or_the_one_asked_for(saved, tmp_path):
    build("llama").to(torch.bfloat16).save_pretrained(tmp_path)
    assert PretrainedCausalLM.load(tmp_path).base.dtype == torch.bfloat16
    assert PretrainedCausalLM.load(tmp_path, dtype=torch.float32).base.dtype == torch.float32
    assert PretrainedCausalLM.load(saved("llama")).base.dtype == torch.float32


def test_a_loaded_model_is_in_evaluation_mode_and_all_of_it_can_be_trained(saved):
    model = PretrainedCausalLM.load(saved("llama"))
    assert not any(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_tokenizer_its_template_and_what_generation_needs_are_kept(saved, tmp_path):
    source, made = tmp_path / "source", tmp_path / "made"
    shutil.copytree(saved("llama"), source)
    backend = train_tokenizer(["a few words"] * 2, 262)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>")
    tokenizer.chat_template = "{{ messages }}"
    tokenizer.save_pretrained(source)
    (source / "generation_config.json").write_text(json.dumps({"temperature": 0.5, "eos_token_id": [2, 3]}))
    PretrainedCausalLM.load(source).save(made)
    again = AutoTokenizer.from_pretrained(made)
    assert again.chat_template == "{{ messages }}"
    assert again("few words").input_ids == tokenizer("few words").input_ids
    said = json.loads((made / "generation_config.json").read_text())
    assert (said["temperature"], said["eos_token_id"], said["do_sample"]) == (0.5, [2, 3], True)


def test_what_lies_in_the_folder_already_is_not_replaced(saved, tmp_path):
    source, made = tmp_path / "source", tmp_path / "made"
    shutil.copytree(saved("llama"), source)
    made.mkdir()
    (source / "tokenizer.json").write_text("the source's")
    (made / "tokenizer.json").write_text("the run's")
    PretrainedCausalLM.load(source).save(made)
    assert (made / "tokenizer.json").read_text() == "the run's"


def test_what_transformers_does_not_train_is_not_trained(saved):
    model = PretrainedCausalLM.load(saved("hrm_text"))
    assert [name for name, each in model.base.named_parameters() if not each.requires_grad] == ["model.z_L_init"]


# What is refused.


@pytest.mark.parametrize("source", ["./nowhere", "/nowhere/at/all", "a/b/c", "~/nowhere"])
def test_a_path_without_a_folder_is_not_looked_for_on_the_hub(source):
    with pytest.raises(InputError, match=r"must be a folder or a name on the Hub, got .*: there is no such folder"):
        PretrainedCausalLM.load(source)


@pytest.mark.skipif(sys.platform != "linux", reason="names of bytes that are no text are Linux's")
def test_a_folder_whose_name_is_no_text_is_told(changed, tmp_path):
    folder = changed().rename(tmp_path / os.fsdecode(b"caf\xe9"))
    with pytest.raises(InputError, match=r"cannot be loaded: .* not valid UTF-8; give the folder another name$"):
        PretrainedCausalLM.load(folder)


def test_a_name_that_cannot_be_fetched_is_told():
    with pytest.raises(InputError, match="nobody/nothing must be a folder, or the name of a model that can be fetched"):
        PretrainedCausalLM.load("nobody/nothing")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model_type": "wonder"}, r"of a type that transformers [\d.]+\S* has, got another: pip install -U"),
        ({"model_type": "wonder", "auto_map": REMOTE}, "got one with code of its own: code that comes with weights is"),
        ({"model_type": "vit"}, "must be a causal language model, got one of type vit"),
        ({"num_hidden_layers": 3}, r"got none for model\.layers\.2\.\S+ and 8 others: they would be random"),
        ({"num_hidden_layers": "three"}, "changed (must hold a config that transformers reads|cannot be loaded)"),
        ({"intermediate_size": 64}, "cannot be loaded: "),
        ({"vocab_size": 90, "pad_token_id": 95}, "cannot be loaded: Padding_idx must be within num_embeddings$"),
    ],
)
def test_a_config_that_does_not_do_is_told_in_one_line(fields, said, changed):
    with pytest.raises(InputError, match=said) as raised:
        PretrainedCausalLM.load(changed(**fields))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "config.json").unlink(), "must hold a model, got no config.json in it"),
        (lambda folder: (folder / "config.json").write_text("{"), "is not a valid JSON file"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"no file named .*model\.safetensors"),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 99),
            r"cannot be loaded: Error while .*; fetch or save it anew$",
        ),
    ],
)
def test_a_damaged_folder_is_told_in_one_line(damage, said, changed):
    folder = changed()
    damage(folder)
    with pytest.raises(InputError, match=said) as raised:
        PretrainedCausalLM.load(folder)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("package", "options", "said"),
    [
        (
            "transformers",
            {},
            r'a model of transformers needs transformers, which is not installed: pip install "lmhead\[hf',
        ),
        (
            "bitsandbytes",
            {"quantize": "4bit"},
            "quantize='4bit' needs bitsandbytes, which is not installed: pip",
        ),
    ],
)
def test_a_package_that_is_missing_is_named_with_its_extra(package, options, said, saved, monkeypatch):
    found = importlib.util.find_spec

    def find(name: str, *rest: str) -> importlib.machinery.ModuleSpec | None:
        return None if name == package else found(name, *rest)

    monkeypatch.setattr("lmhead.packages.find_spec", find)
    with pytest.raises(InputError, match=said):
        PretrainedCausalLM.load(saved("llama"), **options)


def test_transformers_talks_as_before_once_a_model_is_loaded(saved, capfd):
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    PretrainedCausalLM.load(saved("llama"))
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
    assert capfd.readouterr() == ("", "")
