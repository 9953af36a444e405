"""config.json of a decoder as a model of a family whose modules engines draft from, and back.

    mellum     Mellum with every layer dense and of full attention is Qwen3; several modules: see `to_family`
    glm4_moe   GLM-4-MoE with full rotary positions is Llama, or Qwen3 with `use_qk_norm`, if its layers are dense, or
               of one shared expert beside others that do nothing
    mimo       MiMo is Qwen2, whose attention has biases: zeros

Not here: the tensors (module_names.py), our options (hf_format.py).
"""

from typing import Any, Final

_EXPERTS: Final = 2  # null experts beside the shared one, which is our MLP: the router chooses among two at least


def to_family(plain: dict[str, Any], family: str | None, *, modules: int) -> dict[str, Any]:
    """The config of the same decoder with so many modules, in the family's own fields.

    Mellum's config refuses more than one module. It says one, and who drafts from it in transformers sets
    `model.config.num_mtp_layers` to the number after loading.

    Args:
        plain: as Llama or Qwen3; of no family any.
    """
    if family is None:
        return plain
    layers = plain["num_hidden_layers"]
    if family == "mellum":
        rope = plain["rope_parameters"]
        return {
            **{name: value for name, value in plain.items() if name not in ("rope_theta", "mlp_bias")},
            "architectures": ["MellumForCausalLM"],
            "model_type": "mellum",
            "rope_parameters": {"full_attention": rope},
            "sliding_window": None,
            "layer_types": ["full_attention"] * layers,
            "mlp_layer_types": ["dense"] * layers,
            "mtp_layer_types": ["full_attention"] * modules,
            "mtp_mlp_layer_types": ["dense"] * modules,
            "num_nextn_predict_layers": 1,
        }
    if family == "glm4_moe":
        return {
            **{name: value for name, value in plain.items() if name != "mlp_bias"},
            "architectures": ["Glm4MoeForCausalLM"],
            "model_type": "glm4_moe",
            "rope_parameters": {**plain["rope_parameters"], "partial_rotary_factor": 1.0},
            "partial_rotary_factor": 1.0,
            "use_qk_norm": plain["model_type"] == "qwen3",
            "first_k_dense_replace": layers - 1,
            "n_routed_experts": _EXPERTS,
            "num_experts_per_tok": 1,
            "n_shared_experts": 1,
            "moe_intermediate_size": plain["intermediate_size"],
            "norm_topk_prob": False,
            "routed_scaling_factor": 1.0,
            "n_group": 1,
            "topk_group": 1,
            "num_nextn_predict_layers": modules,
        }
    if family == "mimo":
        return {
            **{name: value for name, value in plain.items() if name not in ("mlp_bias", "attention_bias")},
            "architectures": ["MiMoForCausalLM"],
            "model_type": "qwen2",  # which transformers has, and which MiMo without its module is
            "use_sliding_window": False,
            "num_nextn_predict_layers": modules,
        }
    return {**plain, "num_nextn_predict_layers": modules}


def without_family(config: dict[str, Any]) -> dict[str, Any]:
    """The same decoder's config as Llama or Qwen3; a config that is of no family, or no such decoder, as it is."""
    kind, layers = config.get("model_type"), config.get("num_hidden_layers")
    rope = config.get("rope_parameters")
    if kind == "mellum" and isinstance(rope, dict) and {*rope} == {"full_attention"}:
        attention = (config.get("layer_types"), config.get("mtp_layer_types") or ["full_attention"])
        mlp = (config.get("mlp_layer_types"), config.get("mtp_mlp_layer_types") or ["dense"])
        if all(_all(types, "full_attention") for types in attention) and all(_all(types, "dense") for types in mlp):
            return {**config, "model_type": "qwen3", "rope_parameters": rope["full_attention"]}
    if kind == "glm4_moe" and isinstance(rope, dict):
        whole = rope.get("partial_rotary_factor", config.get("partial_rotary_factor"))
        experts = (config.get("first_k_dense_replace"), config.get("n_shared_experts"))
        width = config.get("moe_intermediate_size") == config.get("intermediate_size")
        if isinstance(layers, int) and experts == (layers - 1, 1) and width and whole == 1.0:
            return {**config, "model_type": "qwen3" if config.get("use_qk_norm") is True else "llama"}
    if kind == "qwen2" and config.get("architectures") == ["MiMoForCausalLM"]:
        return {**config, "model_type": "llama"}
    return config


def _all(types: object, kind: str) -> bool:
    """Whether the types of some layers name one kind alone."""
    return isinstance(types, list) and all(each == kind for each in types)
