"""A model's modules are saved beside it and come back bit for bit; what does not fit together is refused."""

import itertools
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.models.transformers.formats.multi_token_models import DECODERS, make, states

from lmhead.errors import ArgumentError, ArgumentTypeError, InputError
from lmhead.models.gpt import GPT
from lmhead.models.multi_token.multi_token_model import MultiTokenModel
from lmhead.models.multi_token.style import FAMILIES, MultiTokenStyle
from lmhead.models.transformers.formats.multi_token_format import to_checkpoint
from lmhead.models.transformers.formats.pretrained import load_pretrained, save_pretrained

IDS = torch.arange(20).view(2, 10)
OF_FAMILIES = [  # the decoder, and a family that it can be
    *((decoder, family) for decoder in DECODERS if decoder != "course" for family in ("deepseek_v3", "glm4_moe")),
    *((decoder, "mellum") for decoder in ("recipe", "qwen3")),
    *((decoder, "mimo") for decoder in ("llama", "llama, untied")),
    ("qwen3", "qwen3_next"),
]


def assert_equal(loaded, model):
    """The same model, to the last bit."""
    assert isinstance(loaded, MultiTokenModel)
    assert (loaded.kind, loaded.depth) == (model.kind, model.depth)
    assert not loaded.training
    with torch.no_grad():
        assert torch.equal(loaded(IDS)[0], model(IDS)[0])
    for ours, theirs in zip(states(loaded, IDS), states(model, IDS), strict=True):
        assert torch.equal(ours, theirs)


def changed(folder, **fields):
    """Change config.json; None removes a field."""
    file = folder / "config.json"
    config = json.loads(file.read_text()) | fields
    file.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))


def without_modules(folder):
    """Take away the modules' tensors, as transformers does where it saves a model that it loaded."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("mtp.")}
    assert len(kept) < len(tensors)
    save_file(kept, file)


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("kind", ["sequential", "recurrent", "parallel"])
@pytest.mark.parametrize("decoder", DECODERS)
def test_a_saved_model_comes_back_bit_for_bit(decoder, kind, depth, tmp_path):
    model = make(decoder, kind, depth)
    save_pretrained(model, tmp_path)
    assert_equal(load_pretrained(tmp_path), model)


@pytest.mark.parametrize(("decoder", "family"), OF_FAMILIES)
def test_it_comes_back_from_the_names_of_each_family(decoder, family, tmp_path):
    for kind, depth in (("recurrent", 3), ("sequential", 1 if family in ("mimo", "qwen3_next") else 3)):
        model = make(decoder, kind, depth, family)
        save_pretrained(model, tmp_path)
        loaded = load_pretrained(tmp_path)
        assert_equal(loaded, model)
        assert loaded.mtp.style == FAMILIES[family]


def test_a_style_of_its_own_comes_back():
    style = MultiTokenStyle(order="hidden_first", main="unnormed", chain="unnormed", zero_first=True)
    tensors, config = to_checkpoint(make("recipe", depth=2, style=style))
    assert config["model_type"] == "qwen3"  # no family's modules are so
    assert config["lmhead_mtp"] == {
        "family": None,
        "kind": "sequential",
        "depth": 2,
        "order": "hidden_first",
        "main": "unnormed",
        "chain": "unnormed",
        "denominator": "own",
        "zero_first": True,
    }
    assert "mtp.layers.1.mtp_block.self_attn.q_proj.weight" in tensors


def test_saving_again_writes_the_same_files(tmp_path):
    save_pretrained(make("recipe", depth=2), tmp_path / "once")
    save_pretrained(load_pretrained(tmp_path / "once"), tmp_path / "twice")
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "twice" / name).read_bytes()


def test_a_bfloat16_model_stays_one(tmp_path):
    model = make("llama", depth=2).bfloat16()
    save_pretrained(model, tmp_path)
    loaded = load_pretrained(tmp_path)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}
    assert_equal(loaded, model)


def test_loading_leaves_the_random_state_alone(tmp_path):
    save_pretrained(make("recipe"), tmp_path)
    before = torch.get_rng_state()
    load_pretrained(tmp_path)
    assert torch.equal(before, torch.get_rng_state())


def test_saving_changes_nothing_in_the_model(tmp_path):
    model = make("llama", depth=2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_pretrained(model, tmp_path)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("decoder", ["recipe", "llama"])
def test_shards_are_read_as_one_file(decoder, tmp_path):
    model = make(decoder, depth=2)
    save_pretrained(model, tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    weight_map = {name: f"model-{index % 3}.safetensors" for index, name in enumerate(sorted(tensors))}
    for shard in set(weight_map.values()):
        save_file({name: tensors[name] for name in tensors if weight_map[name] == shard}, tmp_path / shard)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert_equal(load_pretrained(tmp_path), model)


@pytest.mark.parametrize("kind", ["sequential", "parallel"])
def test_a_declaration_without_the_weights_is_refused_with_the_remedy(kind, tmp_path):
    save_pretrained(make("recipe", kind), tmp_path)
    without_modules(tmp_path)
    rule = (
        r"must have what config.json declares of multi-token prediction \(lmhead_mtp, num_nextn_predict_layers\), got "
        r"none of .*: take the folder that lmhead wrote, or, for the model without them, remove lmhead_mtp from "
        r"config.json and set num_nextn_predict_layers to 0"
    )
    with pytest.raises(InputError, match=rule):
        load_pretrained(tmp_path)
    changed(tmp_path, lmhead_mtp=None, num_nextn_predict_layers=0)  # the remedy
    assert isinstance(load_pretrained(tmp_path), GPT)


def test_a_module_that_is_missing_is_named(tmp_path):
    save_pretrained(make("recipe", depth=2), tmp_path)
    file = tmp_path / "model.safetensors"
    save_file({name: tensor for name, tensor in load_file(file).items() if "mtp.layers.3." not in name}, file)
    with pytest.raises(InputError, match="got none of module 2 of 2"):
        load_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("decoder", "family"), [("recipe", "mellum"), ("llama", "glm4_moe"), ("llama", "mimo"), ("course", None)]
)
def test_weights_without_a_declaration_are_refused_with_the_remedy(decoder, family, tmp_path):
    save_pretrained(make(decoder, family=family), tmp_path)
    changed(tmp_path, lmhead_mtp=None, num_nextn_predict_layers=0)
    rule = r"config.json must declare .* \(m\S+\), got no lmhead_mtp and no num_nextn_predict_layers: take the config"
    with pytest.raises(InputError, match=rule):
        load_pretrained(tmp_path)


@pytest.mark.parametrize(("decoder", "family"), [("recipe", "mellum"), ("llama", "glm4_moe"), ("llama", "mimo")])
def test_without_our_field_a_familys_own_fields_declare_its_modules(decoder, family, tmp_path):
    model = make(decoder, family=family)
    save_pretrained(model, tmp_path)
    changed(tmp_path, lmhead_mtp=None)
    loaded = load_pretrained(tmp_path)
    assert_equal(loaded, model)
    assert loaded.mtp.style == FAMILIES[family]


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("kind", "serial", "kind must be sequential, recurrent or parallel, got 'serial'"),
        ("depth", 0, r"depth must be an integer in \[1, .*, got 0"),
        ("depth", 3, "got none of module 3 of 3"),
        ("depth", 2**31 - 1, "got none of module 3 of 2147483647"),
        ("family", "melum", "did you mean mellum"),
        ("order", None, "order must be a text, got null"),
        ("zero_first", "yes", "zero_first must be true or false, got 'yes'"),
        ("chain", "both", "chain must be normed or unnormed, got 'both'"),
    ],
)
def test_a_declaration_of_what_cannot_be_is_refused(name, value, rule, tmp_path):
    save_pretrained(make("recipe", depth=2), tmp_path)
    declared = json.loads((tmp_path / "config.json").read_text())["lmhead_mtp"]
    changed(tmp_path, lmhead_mtp=declared | {name: value})
    with pytest.raises(InputError, match=rule):
        load_pretrained(tmp_path)


@pytest.mark.parametrize(("decoder", "family"), [("recipe", "mellum"), ("llama", "glm4_moe"), ("llama", "mimo")])
def test_every_field_may_be_missing_or_another_thing(decoder, family, tmp_path):
    save_pretrained(make(decoder, family=family), tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    places = [(config, name) for name in config] + [(config["lmhead_mtp"], name) for name in config["lmhead_mtp"]]
    for fields, name in places:
        kept = fields.pop(name)
        for value in ("left out", None, [[]], "x", {"a": 1}, 10**18):
            if value != "left out":
                fields[name] = value
            file.write_text(json.dumps(config))
            try:
                load_pretrained(tmp_path)
            except InputError as error:
                assert "\n" not in str(error)  # noqa: PT017
        fields[name] = kept


FOLLOWS = ("experts.", "bias", "mlp.gate.weight", "2.embed_tokens.weight", "shared_head.head.weight")  # may be left out


@pytest.mark.parametrize(
    ("decoder", "family"), [("recipe", "mellum"), ("llama", "glm4_moe"), ("llama, untied", "mimo")]
)
def test_other_tensors_than_the_configs_are_refused(decoder, family, tmp_path):
    save_pretrained(make(decoder, family=family), tmp_path)
    file = tmp_path / "model.safetensors"
    whole = load_file(file)
    changes = {
        "drop": lambda tensor: None,
        "empty": lambda tensor: tensor[:0],
        "scalar": lambda tensor: tensor.flatten()[0],
        "cube": lambda tensor: tensor.reshape(1, 1, -1),
        "int8": lambda tensor: tensor.to(torch.int8),
    }
    for name, (change, changed) in itertools.product(whole, changes.items()):
        if change == "drop" and any(part in name for part in FOLLOWS) and "shared_experts" not in name:
            continue
        tensors = {found: changed(tensor) if found == name else tensor for found, tensor in whole.items()}
        save_file({found: tensor for found, tensor in tensors.items() if tensor is not None}, file)
        with pytest.raises(InputError):
            load_pretrained(tmp_path)


def test_more_heads_than_there_are_weights_are_refused_before_they_are_made(tmp_path):
    save_pretrained(make("recipe", "parallel", 2), tmp_path)
    declared = json.loads((tmp_path / "config.json").read_text())["lmhead_mtp"]
    changed(tmp_path, lmhead_mtp=declared | {"depth": 2**31 - 1})
    with pytest.raises(InputError, match="got none of head 3 of 2147483647"):
        load_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["mtp.fc.weight", "mtp.norm.weight", "mtp.layers.0.self_attn.q_proj.weight"])
def test_a_modules_tensor_that_is_missing_is_named(name, tmp_path):
    save_pretrained(make("recipe"), tmp_path)
    file = tmp_path / "model.safetensors"
    save_file({found: tensor for found, tensor in load_file(file).items() if found != name}, file)
    with pytest.raises(InputError, match="the tensors must be those of"):
        load_pretrained(tmp_path)


def test_modules_that_do_not_share_the_embedding_are_no_modules_of_this_library(tmp_path):
    save_pretrained(make("llama"), tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    tensors["model.layers.2.embed_tokens.weight"] += 1
    save_file(tensors, file)
    with pytest.raises(InputError, match=r"model.layers.2.embed_tokens.weight must be what the decoder has"):
        load_pretrained(tmp_path)


def test_a_family_that_cannot_hold_the_model_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ArgumentError, match="family must be one that can hold the model, got mellum"):
        save_pretrained(make("llama", family="mellum"), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(ArgumentTypeError, match=r"model must be an lmhead\.GPT"):
        save_pretrained(torch.nn.Linear(2, 2), tmp_path)
