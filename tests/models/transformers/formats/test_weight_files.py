"""Weights in shards: the same model as in one file, or an error that names what is wrong."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models

from lmhead import GPT, load_pretrained
from lmhead.errors import InputError
from lmhead.models.transformers.formats.pretrained import save_pretrained
from lmhead.models.transformers.formats.weight_files import INDEX, ONE_FILE, holds_weights
from lmhead.training.weights.initial_weights import DecoderStart
from lmhead.training.weights.start import read_from


@pytest.fixture
def model():
    torch.manual_seed(0)
    return GPT(vocab_size=24, embed_dim=8, num_heads=2, num_layers=2).eval()


@pytest.fixture
def sharded(model, tmp_path):
    """A folder of which every other tensor lies in a second file."""
    save_pretrained(model, tmp_path)
    tensors = load_file(tmp_path / ONE_FILE)
    (tmp_path / ONE_FILE).unlink()
    names = sorted(tensors)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for shard, held in shards.items():
        save_file({name: tensors[name] for name in held}, tmp_path / shard)
    where = {name: shard for shard, held in shards.items() for name in held}
    (tmp_path / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))
    return tmp_path


def test_shards_are_the_same_model_as_one_file(model, sharded):
    assert holds_weights(sharded)
    state = load_pretrained(sharded).state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    Tokenizer(models.WordLevel({"a": 0, "</s>": 1}, unk_token="a")).save(str(sharded / "tokenizer.json"))
    assert read_from(str(sharded), DecoderStart.of).place == sharded


def test_what_transformers_shards_is_loaded(tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2}
    theirs = LlamaForCausalLM(LlamaConfig(vocab_size=50, num_hidden_layers=2, **sizes)).eval()
    theirs.save_pretrained(tmp_path, max_shard_size="6KB")
    assert not (tmp_path / ONE_FILE).exists()
    ids = torch.arange(12).reshape(1, 12)
    with torch.no_grad():
        torch.testing.assert_close(load_pretrained(tmp_path)(ids)[0], theirs(ids).logits)


def test_a_missing_shard_is_named(sharded):
    (sharded / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(InputError, match=r"every shard of its index, got no model-00002-of-00002\.safetensors"):
        load_pretrained(sharded)


def test_a_shard_without_a_tensor_of_the_index_is_named(sharded):
    shard = sharded / "model-00001-of-00002.safetensors"
    save_file(dict(list(load_file(shard).items())[1:]), shard)
    with pytest.raises(InputError, match=r"model-00001-of-00002\.safetensors must hold .*, as .* says, got none"):
        load_pretrained(sharded)


@pytest.mark.parametrize("shard", ["../elsewhere.safetensors", "/etc/passwd", "a\\b", "..", "", "a\0b"])
def test_an_index_that_leaves_its_folder_is_refused(shard, sharded):
    (sharded / INDEX).write_text(json.dumps({"weight_map": {"lm_head.weight": shard}}))
    with pytest.raises(InputError, match="must name files beside it"):
        load_pretrained(sharded)


@pytest.mark.parametrize(
    "text", ["", "[1]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": 1}}', "\x80", "[" * 9999]
)
def test_an_index_that_is_none_is_named(text, sharded):
    (sharded / INDEX).write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"index\.json must "):
        load_pretrained(sharded)
