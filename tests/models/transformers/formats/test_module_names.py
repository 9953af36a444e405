"""The names of modules in checkpoints of each family, as the loaders of engines that do not run here read them.

Written out from those loaders' source: vllm-project/vllm, vllm/model_executor/models/
    glm4_moe_mtp.py at 028aedf62adee9d2a1e99d4cda7c1ce1c997c8cc, glm4_moe.py at 002d6073aa034d4f5545d45021b0e56d1f3c3593
    mimo_mtp.py at 0bb55d60cb667d2f4e263b55304a30b38fe2e55c, mimo.py at 055e47c28003156421365af985d676fc921cb075
    deepseek_mtp.py at 03356f8cb59ba27f3d0ce8866d7516b5e32cff65
    qwen3_next_mtp.py at 055e47c28003156421365af985d676fc921cb075
and sgl-project/sglang, python/sglang/srt/models/
    glm4_moe_nextn.py at 008b79d2358b08adf9b6c879625030f890c8c4e2
    glm4_moe.py at 005ffc65dc0f72d42a1436c31ef129ed98cccc58
    mimo_mtp.py at 0564b5215b333749d722348c3b3d9b92c3de8c44
vLLM raises "Following weights were not initialized from checkpoint" where a parameter of its module has no tensor, and
KeyError where a tensor has no parameter: so the sets have to be equal.
"""

import pytest
import torch
from tests.models.transformers.formats.multi_token_models import SIZES, make

from lmhead.models.transformers.formats.multi_token_format import to_checkpoint

L = SIZES["num_layers"]
ATTENTION = ["q_proj.weight", "k_proj.weight", "v_proj.weight", "o_proj.weight"]
MLP = ["gate_proj.weight", "up_proj.weight", "down_proj.weight"]
BLOCK = [
    "input_layernorm.weight",
    "post_attention_layernorm.weight",
    *(f"self_attn.{name}" for name in ATTENTION),
]
MAIN = {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"}


def layer(prefix, names):
    """The names of one layer."""
    return {prefix + name for name in names}


DENSE = [*BLOCK, *(f"mlp.{name}" for name in MLP)]
EXPERTS = [
    *BLOCK,
    *(f"mlp.shared_experts.{name}" for name in MLP),
    *(f"mlp.experts.{expert}.{name}" for expert in (0, 1) for name in MLP),  # num_experts=config.n_routed_experts
    "mlp.gate.weight",
    "mlp.gate.e_score_correction_bias",
]
NEXTN = [  # _rewrite_spec_layer_name: spec_layer_weight_names, of which embed_tokens is at the top
    "embed_tokens.weight",
    "enorm.weight",
    "hnorm.weight",
    "eh_proj.weight",
    "shared_head.norm.weight",
    "shared_head.head.weight",
]
BIASES = ["self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias"]  # Qwen2DecoderLayer: bias=True
MIMO = [  # map_model_name_to_mtp_param_name: name_without_prefix
    "token_layernorm.weight",
    "hidden_layernorm.weight",
    "input_proj.weight",
    "final_layernorm.weight",
]
FLAT = {"mtp.fc.weight", "mtp.pre_fc_norm_embedding.weight", "mtp.pre_fc_norm_hidden.weight", "mtp.norm.weight"}
CHECKPOINTS = {  # family and modules -> all names
    ("glm4_moe", 1): MAIN
    | layer("model.layers.0.", DENSE)
    | layer("model.layers.1.", EXPERTS)  # vLLM: "No Glm4MoE layer found in model.layers." without one
    | layer("model.layers.2.", [*EXPERTS, *NEXTN]),
    ("deepseek_v3", 2): MAIN
    | layer("model.layers.0.", DENSE)
    | layer("model.layers.1.", DENSE)
    | layer("model.layers.2.", [*DENSE, *NEXTN])
    | layer("model.layers.3.", [*DENSE, *NEXTN]),
    ("mimo", 1): MAIN
    | layer("model.layers.0.", [*DENSE, *BIASES])
    | layer("model.layers.1.", [*DENSE, *BIASES])
    | layer("model.mtp_layers.0.", [*DENSE, *BIASES, *MIMO]),
    ("qwen3_next", 1): MAIN
    | layer("model.layers.0.", DENSE)
    | layer("model.layers.1.", DENSE)
    | layer("mtp.layers.0.", DENSE)
    | FLAT,
}
GLM_FIELDS = {  # read by Glm4MoE, Glm4MoeAttention and SpeculativeConfig.hf_config_override of vLLM
    "architectures": ["Glm4MoeForCausalLM"],  # -> glm4_moe_mtp, Glm4MoeMTPModel; SGLang: Glm4MoeForCausalLMNextN
    "num_nextn_predict_layers": 1,
    "first_k_dense_replace": L - 1,
    "n_routed_experts": 2,
    "n_shared_experts": 1,
    "num_experts_per_tok": 1,
    "moe_intermediate_size": SIZES["mlp_dim"],
    "n_group": 1,
    "topk_group": 1,
    "norm_topk_prob": False,
    "routed_scaling_factor": 1.0,
    "use_qk_norm": False,
    "attention_bias": False,
    "head_dim": 8,
    "hidden_act": "silu",  # "Only silu is supported for now."
    "partial_rotary_factor": 1.0,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 1.0},
}
MIMO_FIELDS = {
    "architectures": ["MiMoForCausalLM"],  # -> mimo_mtp, MiMoMTPModel; SGLang: MiMoMTP
    "num_nextn_predict_layers": 1,
    "hidden_act": "silu",
    "head_dim": SIZES["embed_dim"] // SIZES["num_heads"],
}


@pytest.mark.parametrize(("family", "modules"), CHECKPOINTS)
def test_a_checkpoint_has_the_names_that_engines_read(family, modules):
    tensors, config = to_checkpoint(make("llama, untied", depth=modules, family=family))
    assert tensors.keys() == CHECKPOINTS[family, modules]
    assert config["num_nextn_predict_layers"] == modules


@pytest.mark.parametrize(("family", "fields"), [("glm4_moe", GLM_FIELDS), ("mimo", MIMO_FIELDS)])
def test_its_config_has_the_fields_that_engines_read(family, fields):
    _, config = to_checkpoint(make("llama, untied", family=family))
    assert {name: config.get(name) for name in fields} == fields


@pytest.mark.parametrize("family", ["glm4_moe", "mimo"])
def test_a_recurrent_model_is_one_module_to_engines(family):
    tensors, config = to_checkpoint(make("llama, untied", "recurrent", 4, family))
    assert tensors.keys() == CHECKPOINTS[family, 1]
    assert config["num_nextn_predict_layers"] == 1


def test_a_tied_model_has_what_the_modules_read_of_the_main_model():
    """mimo_mtp.py loads model.embed_tokens and lm_head of the checkpoint; glm4_moe_mtp.py those of the layer."""
    for family, names in (
        ("mimo", ["lm_head"]),
        ("glm4_moe", ["model.layers.2.embed_tokens", "model.layers.2.shared_head.head"]),
    ):
        tensors, _ = to_checkpoint(make("llama", family=family))
        for name in names:
            assert torch.equal(tensors[f"{name}.weight"], tensors["model.embed_tokens.weight"])


def test_what_a_family_adds_does_nothing():
    added = set(EXPERTS) - set(BLOCK) - {f"mlp.shared_experts.{name}" for name in MLP}
    tensors, _ = to_checkpoint(make("llama", family="glm4_moe"))
    assert not any(tensors[f"model.layers.{index}.{name}"].count_nonzero() for index in (1, 2) for name in added)
    tensors, _ = to_checkpoint(make("llama", family="mimo"))
    assert not any(tensor.count_nonzero() for name, tensor in tensors.items() if name.endswith("_proj.bias"))


def test_parallel_heads_and_the_courses_modules_have_names_of_this_library():
    tensors, config = to_checkpoint(make("recipe", "parallel", 2))
    assert {name for name in tensors if name.startswith("mtp.")} == {"mtp.heads.0.weight", "mtp.heads.1.weight"}
    assert "num_nextn_predict_layers" not in config
    tensors, config = to_checkpoint(make("course"))
    own = {name for name in tensors if name.startswith("mtp.layers.0.")}
    assert "mtp.layers.0.mtp_block.attn.c_attn.weight" in own
    assert {f"mtp.layers.0.{name}.weight" for name in ("enorm", "hnorm", "eh_proj", "post_norm")} <= own
    assert "num_nextn_predict_layers" not in config
