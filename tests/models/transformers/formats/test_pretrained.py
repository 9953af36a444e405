"""Saved models are what transformers loads: the same ids, the same logits."""

import errno
import json
import os
import resource
from contextlib import contextmanager

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from lmhead.errors import InputError
from lmhead.models.config import GPTConfig
from lmhead.models.gpt import GPT
from lmhead.models.transformers.formats.pretrained import load_pretrained, save_pretrained

KINDS = {
    "course": ({"style": "course"}, "GPT2LMHeadModel"),
    "course, untied": ({"style": "course", "tie_weights": False, "mlp_dim": 48}, "GPT2LMHeadModel"),
    "llama": ({}, "LlamaForCausalLM"),
    "llama, grouped": (
        {"num_kv_heads": 2, "head_dim": 16, "rope_theta": 5e5, "activation": "gelu"},
        "LlamaForCausalLM",
    ),
    "llama, untied": ({"tie_weights": False, "norm_weight": False, "norm_eps": 1e-3}, "LlamaForCausalLM"),
    "qwen3": ({"qk_norm": True, "num_kv_heads": 1}, "Qwen3ForCausalLM"),
    "recipe": (
        {
            "qk_norm": True,
            "tie_weights": False,
            "norm_embedding": True,
            "norm_weight": False,
            "gated": False,
            "activation": "relu",
            "embedding_std": 3.0,
        },
        "Qwen3ForCausalLM",
    ),
}


def make(kind):
    """A model whose every parameter, the norms' too, is away from its first value."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 300, "embed_dim": 32, "num_heads": 4, "num_layers": 2, "max_seq_len": 24}
    model = GPT.from_config(GPTConfig(**sizes, **KINDS[kind][0])).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def ids():
    return torch.randint(300, (2, 24), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the theory of the thing, then the other thing of theirs"] * 9, trainer)
    return tokenizer


@pytest.fixture
def transformers(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return pytest.importorskip("transformers", reason="transformers is not installed: pip install 'lmhead[test]'")


@torch.no_grad()
def test_transformers_gives_the_same_logits(kind, ids, tmp_path, transformers):
    model = make(kind)
    save_pretrained(model, tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(theirs).__name__ == KINDS[kind][1]
    assert theirs.dtype == torch.float32
    assert theirs.config.tie_word_embeddings == model.config.tie_weights
    torch.testing.assert_close(theirs(ids).logits, model(ids)[0], rtol=0, atol=1e-4)


@torch.no_grad()
def test_transformers_saves_what_loads_here_again(kind, ids, tmp_path, transformers):
    model = make(kind)
    save_pretrained(model, tmp_path / "ours")
    transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    torch.testing.assert_close(load_pretrained(tmp_path / "theirs")(ids)[0], model(ids)[0], rtol=0, atol=1e-4)


def test_transformers_tokenizer_gives_the_same_ids(tokenizer, tmp_path, transformers):
    end = tokenizer.token_to_id("<|endoftext|>")
    for kind in ("llama", "qwen3", "course"):
        save_pretrained(make(kind), tmp_path / kind, tokenizer=tokenizer, bos_token_id=end, eos_token_id=end)
        theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / kind)
        for text in ("the theory", "  the\n\tother  ", "é日本🤗", "a<|endoftext|>b", " a . b , c"):
            ours = tokenizer.encode(text).ids
            assert theirs(text)["input_ids"] == ours
            assert theirs.decode(ours) == tokenizer.decode(ours, skip_special_tokens=False) == text
        assert (theirs.eos_token_id, theirs.bos_token_id) == (end, end)


def test_transformers_stops_at_the_end_of_text(tokenizer, tmp_path, transformers):
    save_pretrained(make("llama"), tmp_path, tokenizer=tokenizer, eos_token_id=0)
    assert transformers.AutoModelForCausalLM.from_pretrained(tmp_path).generation_config.eos_token_id == 0


@torch.no_grad()
def test_a_saved_model_loads_as_the_same_function(kind, ids, tmp_path):
    model = make(kind)
    save_pretrained(model, tmp_path)
    loaded = load_pretrained(tmp_path)
    assert not loaded.training
    torch.testing.assert_close(loaded(ids)[0], model(ids)[0], rtol=0, atol=1e-6)
    assert (loaded.lm_head.weight is loaded.model.embed_tokens.weight) == model.config.tie_weights


def test_an_ungated_model_loads_ungated_until_its_gates_differ(tmp_path):
    from safetensors.torch import load_file, save_file

    save_pretrained(make("recipe"), tmp_path)
    assert not load_pretrained(tmp_path).config.gated
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["model.layers.1.mlp.gate_proj.weight"] += 1
    save_file(tensors, tmp_path / "model.safetensors")
    assert load_pretrained(tmp_path).config.gated


def test_saving_changes_nothing_in_the_model(kind, tmp_path):
    model = make(kind)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_pretrained(model, tmp_path)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_loading_leaves_the_random_state_alone(tmp_path):
    save_pretrained(make("llama"), tmp_path)
    before = torch.get_rng_state()
    load_pretrained(tmp_path)
    assert torch.equal(before, torch.get_rng_state())


def test_a_bfloat16_model_stays_one(ids, tmp_path):
    model = make("llama").bfloat16()
    save_pretrained(model, tmp_path)
    loaded = load_pretrained(tmp_path)
    assert loaded.lm_head.weight.dtype == torch.bfloat16
    assert torch.equal(loaded(ids)[0], model(ids)[0])


def test_the_tokenizers_files_are_written_only_with_a_tokenizer(tokenizer, tmp_path):
    save_pretrained(make("llama"), tmp_path / "without")
    save_pretrained(make("llama"), tmp_path / "with", tokenizer=tokenizer)
    without, with_ = ({file.name for file in (tmp_path / name).iterdir()} for name in ("without", "with"))
    assert without == {"model.safetensors", "config.json", "generation_config.json"}
    assert with_ - without == {"tokenizer.json", "tokenizer_config.json"}


def test_a_tokenizer_of_another_model_is_refused_before_anything_is_written(tokenizer, tmp_path):
    small = GPT.from_config(GPTConfig(vocab_size=10, embed_dim=8, num_heads=2, num_layers=1))
    with pytest.raises(ValueError, match="tokenizer must have at most the model's vocab_size=10 ids"):
        save_pretrained(small, tmp_path / "new", tokenizer=tokenizer)
    with pytest.raises(ValueError, match="eos_token_id must be an id of the tokenizer, got 9999"):
        save_pretrained(make("llama"), tmp_path / "new", tokenizer=tokenizer, eos_token_id=9999)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(missing, tmp_path):
    save_pretrained(make("llama"), tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(ValueError, match=f"must hold a model, got no {missing} in it"):
        load_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"model_type": "mamba"}, "model_type must be gpt2, llama or qwen3, got 'mamba'"),
        ({"attention_bias": True}, "config.json must not have attention_bias=True"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "config.json must not have rope_type=yarn"),
        ({"hidden_act": "tanh"}, "config.json must describe a llama model that this decoder can be.*activation"),
        ({"hidden_size": 64}, "the tensors must be those of config.json"),
        ({"hidden_size": None}, r"config.json must describe.*hidden_size must be an integer in .*, got null"),
        ({"rope_parameters": None, "rope_scaling": {"type": "linear", "factor": 2}}, "must not have rope_type=linear"),
        ({"rope_parameters": [1]}, "rope_parameters must be an object, got a list"),
        ({"rope_parameters": {"rope_theta": "x"}}, "rope_theta must be a finite number, got 'x'"),
        ({"rms_norm_eps": "1e-5"}, "rms_norm_eps must be a finite number, got '1e-5'"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps must be a finite number, got nan"),
        ({"attention_dropout": 10**400}, "attention_dropout must be a finite number, got an integer of more than 30"),
        ({"attention_dropout": 1}, r"dropout must be in \[0, 1\), got 1"),
        ({"tie_word_embeddings": "false"}, "tie_word_embeddings must be true or false, got 'false'"),
        ({"attention_bias": {}}, "attention_bias must be true or false, got a dict"),
        ({"hidden_act": ["silu"]}, "hidden_act must be a text, got a list"),
        ({"model_type": {"a": [1]}}, "model_type must be gpt2, llama or qwen3"),
        ({"max_position_embeddings": 2**30}, r"max_position_embeddings must be at most 4,194,304, got 1,073,741,824"),
        ({"vocab_size": 299}, "the tensors must be those of config.json, got others: size mismatch for model.embed"),
        ({"num_hidden_layers": 3}, "the tensors must be those of config.json, got none for model.layers.2."),
        (
            {"num_hidden_layers": 2**31 - 1},
            r"must be those of config.json, got \d+ of them for its 2,147,483,647 layers",
        ),
    ],
)
def test_a_model_that_this_decoder_cannot_be_is_refused(change, rule, tmp_path):
    save_pretrained(make("llama"), tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ValueError, match=rule):
        load_pretrained(tmp_path)


SIZES = {
    "llama": [
        *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
        *("num_key_value_heads", "head_dim", "max_position_embeddings"),
    ],
    "course": ["vocab_size", "n_embd", "n_inner", "n_layer", "n_head", "n_positions"],
}


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("size", [0, -1, 2**31 - 1, 2**31, 10**18, 10**400, 1.5, 1e999, True, "32", [32], {"a": {}}])
def test_an_absurd_size_is_refused_before_memory_is_taken_for_it(kind, size, tmp_path, monkeypatch):
    save_pretrained(make(kind), tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    monkeypatch.setattr(GPT, "from_config", lambda config: pytest.fail("a model is built"))
    for name in SIZES[kind]:
        file.write_text(json.dumps(config | {name: size}))
        with pytest.raises(InputError, match=r"config\.json") as caught:
            load_pretrained(tmp_path)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 600


@pytest.mark.parametrize("kind", ["llama", "qwen3", "course"])
def test_every_field_that_decides_the_model_may_be_missing_or_another_thing(kind, tmp_path):
    save_pretrained(make(kind), tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    for name in config:
        others = [{**config, name: value} for value in (None, [], {}, "x", -1, 1e999, True, [[[]]], {"a": {"b": 1}})]
        for changed in ({key: value for key, value in config.items() if key != name}, *others):
            file.write_text(json.dumps(changed))
            try:
                load_pretrained(tmp_path)
            except InputError as error:
                assert "config.json" in str(error)  # noqa: PT017
                assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize("kind", ["llama", "course"])
@pytest.mark.parametrize("change", ["drop", "empty", "scalar", "cube", "int8", "float8"])
def test_other_tensors_than_the_configs_are_refused(kind, change, tmp_path):
    from safetensors.torch import load_file, save_file

    save_pretrained(make(kind), tmp_path)
    whole = load_file(tmp_path / "model.safetensors")
    changes = {
        "drop": lambda tensor: None,
        "empty": lambda tensor: tensor[:0],
        "scalar": lambda tensor: tensor.flatten()[0].clone(),
        "cube": lambda tensor: tensor[None, None].clone(),
        "int8": lambda tensor: tensor.to(torch.int8),
        "float8": lambda tensor: tensor.to(torch.float8_e4m3fn),
    }
    for name in (name for name in whole if not name.endswith(("attn.c_attn.bias", "attn.c_proj.bias"))):  # not read
        tensor = changes[change](whole[name])
        rest = {key: value for key, value in whole.items() if key != name}
        save_file(rest if tensor is None else rest | {name: tensor}, tmp_path / "model.safetensors")
        with pytest.raises(InputError) as caught:
            load_pretrained(tmp_path)
        assert "\n" not in str(caught.value)
    save_file({}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"the tensors must be those of config\.json"):
        load_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_broken_file_is_refused(name, tmp_path):
    save_pretrained(make("llama"), tmp_path)
    file = tmp_path / name
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=f"{name} must be"):
        load_pretrained(tmp_path)


@pytest.mark.parametrize("content", ["[1]", "3", "null", '{"n": ' + "9" * 5000 + "}", "[" * 100_000])
def test_a_config_that_is_no_object_is_refused(content, tmp_path):
    save_pretrained(make("llama"), tmp_path)
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=r"config\.json must be (a JSON object, got a|JSON, got)"):
        load_pretrained(tmp_path)


def test_a_folder_whose_name_the_system_refuses_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot read a+: File name too long|aa must hold a model") as caught:
        load_pretrained("a" * 5000)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_every_file_has_the_permissions_that_the_umask_asks_for(umask, tokenizer, tmp_path):
    before = os.umask(umask)
    try:
        save_pretrained(make("llama"), tmp_path, tokenizer=tokenizer)
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o666 & ~umask}


@contextmanager
def largest_file(size):
    """Files may grow to `size` bytes: the disk refuses the rest, as a full one does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_refuses_the_tensors_is_an_oserror(tmp_path):
    with largest_file(1000), pytest.raises(OSError, match=r"cannot write .*model\.safetensors"):
        save_pretrained(make("llama"), tmp_path)


def test_a_disk_that_refuses_the_tokenizer_is_an_oserror(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr("lmhead.models.transformers.formats.pretrained._write_tensors", lambda file, tensors: None)
    with largest_file(3000), pytest.raises(OSError) as caught:
        save_pretrained(make("llama"), tmp_path, tokenizer=tokenizer)
    assert caught.value.errno == errno.EFBIG
    assert (tmp_path / "config.json").stat().st_size > 0
    assert not (tmp_path / "tokenizer_config.json").exists()


def test_gpt2s_own_biases_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    save_pretrained(make("course"), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["transformer.h.0.attn.c_attn.bias"] += 1
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"c_attn\.bias must be 0"):
        load_pretrained(tmp_path)
