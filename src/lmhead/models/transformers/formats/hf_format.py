"""A GPT as Hugging Face's tensors and config, and back: GPT-2, Llama or Qwen3, whichever computes the same function.

    style="course"                  GPT2LMHeadModel      attention biases, which this decoder has not, are zeros
    style="modern"                  LlamaForCausalLM
    style="modern", qk_norm=True    Qwen3ForCausalLM

What those lack is folded into their weights, exactly: a norm without weights is one of ones, `norm_embedding` is
applied to the embedding's table, an ungated MLP is a gated one whose two matrices are equal.
Not here: files (pretrained.py).
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lmhead.errors import ArgumentError, InputError
from lmhead.models.config import GPTConfig
from lmhead.models.estimate import parameter_count
from lmhead.models.gpt import GPT
from lmhead.models.rms_norm import rms_norm
from lmhead.models.transformers.formats.config_fields import ConfigFields

_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
_LONGEST = 2**22  # positions of the longest Llama; a table has a row for each
_GPT2_PARTS = {  # of a layer: GPT-2's name -> ours; the attention is apart
    "ln_1": "input_layernorm",
    "ln_2": "post_attention_layernorm",
    "mlp.c_fc": "mlp.up_proj",
    "mlp.c_proj": "mlp.down_proj",
}
_GPT2_ENDS = {
    "transformer.wte.weight": "model.embed_tokens.weight",
    "transformer.wpe.weight": "model.embed_positions.weight",
    "transformer.ln_f.weight": "model.norm.weight",
    "transformer.ln_f.bias": "model.norm.bias",
    "lm_head.weight": "lm_head.weight",
}


class OtherModelError(InputError):
    """A model that this decoder cannot be; nothing says that it is damaged."""


class OtherTypeError(OtherModelError):
    """A model of a type that this decoder is none of: nobody took it for one."""


def to_hugging_face(model: GPT) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, config) that transformers loads as the same function of ids. Tensors may share the model's storage."""
    state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    return state_to_hugging_face(state, model.config), config_to_hugging_face(model.config)


def state_to_hugging_face(state: dict[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
    """The tensors of a GPT of `config` under the names of transformers' model; `state` may change."""
    if config.tie_weights:
        del state["lm_head.weight"]
    return _to_gpt2(state, config) if config.style == "course" else _to_llama(state, config)


def config_to_hugging_face(config: GPTConfig) -> dict[str, Any]:
    """The config.json of a GPT of `config`."""
    return _gpt2_config(config) if config.style == "course" else _llama_config(config)


def from_hugging_face(tensors: dict[str, Tensor], config: dict[str, Any]) -> GPT:
    """The model of a Hugging Face checkpoint of one of the three kinds, in the tensors' dtype.

    Raises:
        OtherModelError: another kind of model, or an option that this decoder lacks.
        InputError: missing, extra or misshapen tensors.
    """
    return gpt_of(*state_from_hugging_face(tensors, config))


def state_from_hugging_face(tensors: dict[str, Tensor], config: dict[str, Any]) -> tuple[GPTConfig, dict[str, Tensor]]:
    """(config, state) of the GPT of a checkpoint of one of the three kinds, by our names.

    Raises:
        OtherModelError: another kind of model, or an option that this decoder lacks.
        InputError: missing, extra or misshapen tensors.
    """
    described = described_by(config)
    refuse_other_dtypes(tensors)
    _require_layers(tensors, described.num_layers)
    if described.style == "course":
        tensors = _from_gpt2(tensors, described.num_layers)
    else:
        tensors, gated = _without_equal_gates(tensors, described.num_layers)
        described = replace(described, gated=gated)
    _require_tensors_of(described, tensors)
    return described, tensors


def gpt_of(config: GPTConfig, state: dict[str, Tensor]) -> GPT:
    """The model with a state, in its tensors' dtype.

    Raises:
        InputError: missing, extra or misshapen tensors.
    """
    with torch.random.fork_rng(devices=[]):  # the initialisation is overwritten: it must not move the generator
        model = GPT.from_config(config)
    if config.tie_weights:
        state = state | {"lm_head.weight": state.get("model.embed_tokens.weight", torch.empty(0))}
    try:
        named = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        difference = " ".join(str(error).removeprefix("Error(s) in loading state_dict for GPT:").split())
        raise InputError(f"the tensors must be those of config.json, got others: {difference[:500]}") from error
    for got, names in (("none", named.missing_keys), ("one too many,", named.unexpected_keys)):
        if names:
            more = f" and {len(names) - 1} others" if len(names) > 1 else ""
            what = f"{got} for {names[0]}" if got == "none" else f"{got} {names[0]}"
            raise InputError(
                f"the tensors must be those of config.json, got {what}{more}: fetch or save the model anew"
            )
    return model.to(next(iter(state.values())).dtype)


def described_by(config: dict[str, Any]) -> GPTConfig:
    """What a config.json says of a model of one of the three kinds; whether it is gated, its tensors say.

    Raises:
        OtherModelError: another kind of model, or an option that this decoder lacks.
        InputError: a field is missing, or is of another kind.
    """
    kind, fields = config.get("model_type"), ConfigFields(config)
    if kind not in ("gpt2", "llama", "qwen3"):
        raise OtherTypeError(f"config.json's model_type must be gpt2, llama or qwen3, got {str(kind)[:80]!r}")
    message = f"config.json must describe a {kind} model that this decoder can be, got "
    try:
        options = _options_of_gpt2(fields) if kind == "gpt2" else _options_of_llama(fields, kind)
    except ArgumentError as error:
        raise InputError(f"{message}{error}") from error
    try:
        return GPTConfig(**options)
    except ArgumentError as error:
        raise OtherModelError(f"{message}{error}") from error


def _require_layers(tensors: dict[str, Tensor], num_layers: int) -> None:
    """Before anything is made for each layer: one has tensors."""
    if num_layers > len(tensors):
        raise InputError(
            f"the tensors must be those of config.json, got {len(tensors)} of them for its {num_layers:,} layers"
        )


def _require_tensors_of(config: GPTConfig, tensors: dict[str, Tensor]) -> None:
    """Refuse sizes that the tensors cannot be of before memory is taken for them."""
    held = sum(tensor.numel() for tensor in tensors.values())
    described = parameter_count(config).total
    if described > 2 * held:  # a smaller difference is told by the names of the tensors, once the model is built
        raise InputError(
            f"the tensors must be those of config.json, got {held:,} numbers in them for the {described:,} parameters "
            "that its sizes make"
        )


def refuse_other_dtypes(tensors: dict[str, Tensor]) -> None:
    """Refuse what no model is trained in, and tensors of nothing."""
    if not tensors:
        raise InputError("the tensors must be those of config.json, got none")
    if other := {tensor.dtype for tensor in tensors.values()} - set(_DTYPES):
        raise InputError(
            f"the tensors must be float32, float16, bfloat16 or float64, got {other.pop()}: save the model without "
            "quantization"
        )


def _to_llama(state: dict[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
    if config.norm_embedding:
        name = "model.embed_tokens.weight"
        state[name] = rms_norm(state[name], None, config.norm_eps)
    for index in range(config.num_layers):
        layer = f"model.layers.{index}."
        if not config.gated:
            state[f"{layer}mlp.gate_proj.weight"] = state[f"{layer}mlp.up_proj.weight"].clone()
        if not config.norm_weight:
            for name in ("input_layernorm", "post_attention_layernorm"):
                state[f"{layer}{name}.weight"] = _ones(state, config.embed_dim)
            for name in ("q_norm", "k_norm") if config.qk_norm else ():
                state[f"{layer}self_attn.{name}.weight"] = _ones(state, config.head_width)
    if not config.norm_weight:
        state["model.norm.weight"] = _ones(state, config.embed_dim)
    return state


def _ones(state: dict[str, Tensor], dim: int) -> Tensor:
    return state["model.embed_tokens.weight"].new_ones(dim)


def _without_equal_gates(tensors: dict[str, Tensor], num_layers: int) -> tuple[dict[str, Tensor], bool]:
    """(tensors, gated): where every layer's gate equals its up projection, the model is the ungated one."""
    pairs = [
        (f"model.layers.{index}.mlp.gate_proj.weight", f"model.layers.{index}.mlp.up_proj.weight")
        for index in range(num_layers)
    ]
    if all(gate in tensors and up in tensors and torch.equal(tensors[gate], tensors[up]) for gate, up in pairs):
        gates = {gate for gate, _ in pairs}
        return {name: tensor for name, tensor in tensors.items() if name not in gates}, False
    return tensors, True


def _llama_config(config: GPTConfig) -> dict[str, Any]:
    kind = "qwen3" if config.qk_norm else "llama"
    return {
        "architectures": ["Qwen3ForCausalLM" if config.qk_norm else "LlamaForCausalLM"],
        "model_type": kind,
        "vocab_size": config.vocab_size,
        "hidden_size": config.embed_dim,
        "intermediate_size": config.mlp_width,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "hidden_act": config.activation,
        "max_position_embeddings": config.max_seq_len,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,  # read by transformers 4; 5 reads rope_parameters
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": config.dropout,
        "initializer_range": config.init_std,
        "tie_word_embeddings": config.tie_weights,
        "use_cache": True,
    }


def _options_of_llama(config: ConfigFields, kind: str) -> dict[str, Any]:
    rope = config.object("rope_parameters") or config.object("rope_scaling")
    rope_type = rope.word("rope_type", rope.word("type", "default"))  # the older name
    for name, value in (
        *((name, config.flag(name, default=False)) for name in ("attention_bias", "mlp_bias", "use_sliding_window")),
        ("rope_type", rope_type if rope_type != "default" else None),
    ):
        if value:
            raise OtherModelError(f"config.json must not have {name}={value}: this decoder has no such option")
    max_seq_len = config.size("max_position_embeddings")
    assert max_seq_len is not None
    if max_seq_len > _LONGEST:  # no tensor is so long: it would be believed
        raise OtherModelError(
            f"config.json's max_position_embeddings must be at most {_LONGEST:,}, got {max_seq_len:,}"
        )
    return {
        "style": "modern",
        "vocab_size": config.size("vocab_size"),
        "embed_dim": config.size("hidden_size"),
        "mlp_dim": config.size("intermediate_size"),
        "num_layers": config.size("num_hidden_layers"),
        "num_heads": config.size("num_attention_heads"),
        "num_kv_heads": config.size("num_key_value_heads", optional=True),
        "head_dim": config.size("head_dim", optional=True),
        "activation": config.word("hidden_act"),
        "max_seq_len": max_seq_len,
        "norm_eps": config.number("rms_norm_eps"),
        "rope_theta": rope.number("rope_theta", config.number("rope_theta", 10_000.0)),
        "dropout": config.number("attention_dropout", 0.0),
        "qk_norm": kind == "qwen3",
        "tie_weights": config.flag("tie_word_embeddings", default=False),
    }


def _to_gpt2(state: dict[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
    """GPT-2's names; its matrices are [in, out], its attention has one matrix for q, k and v, and biases."""
    tensors = {theirs: state[ours] for theirs, ours in _GPT2_ENDS.items() if ours in state}
    for index in range(config.num_layers):
        ours, theirs = f"model.layers.{index}.", f"transformer.h.{index}."
        qkv = torch.cat([state[f"{ours}self_attn.{name}_proj.weight"] for name in "qkv"])
        for name, weight in (("c_attn", qkv), ("c_proj", state[f"{ours}self_attn.o_proj.weight"])):
            tensors[f"{theirs}attn.{name}.weight"] = weight.T
            tensors[f"{theirs}attn.{name}.bias"] = weight.new_zeros(weight.shape[0])
        for name, part in _GPT2_PARTS.items():
            weight = state[f"{ours}{part}.weight"]
            tensors[f"{theirs}{name}.weight"] = weight.T if weight.dim() == 2 else weight
            tensors[f"{theirs}{name}.bias"] = state[f"{ours}{part}.bias"]
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _from_gpt2(tensors: dict[str, Tensor], num_layers: int) -> dict[str, Tensor]:
    state = {ours: tensors[theirs] for theirs, ours in _GPT2_ENDS.items() if theirs in tensors}
    for index in range(num_layers):
        ours, theirs = f"model.layers.{index}.", f"transformer.h.{index}."
        for name in ("c_attn", "c_proj"):
            if _named(tensors, f"{theirs}attn.{name}.bias").count_nonzero():
                raise OtherModelError(f"{theirs}attn.{name}.bias must be 0: this decoder's attention has no biases")
        q, k, v = _transposed(tensors, f"{theirs}attn.c_attn.weight").tensor_split(3)
        for name, weight in (("q", q), ("k", k), ("v", v), ("o", _transposed(tensors, f"{theirs}attn.c_proj.weight"))):
            state[f"{ours}self_attn.{name}_proj.weight"] = weight
        for name, part in _GPT2_PARTS.items():
            matrix = name.startswith("mlp.")
            weight = (_transposed if matrix else _named)(tensors, f"{theirs}{name}.weight")
            state[f"{ours}{part}.weight"] = weight
            state[f"{ours}{part}.bias"] = _named(tensors, f"{theirs}{name}.bias")
    return state


def _named(tensors: dict[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise InputError(f"the tensors must be those of config.json, got no {name}")
    return tensors[name]


def _transposed(tensors: dict[str, Tensor], name: str) -> Tensor:
    matrix = _named(tensors, name)
    if matrix.dim() != 2:
        raise InputError(f"{name} must be a matrix, got the shape {list(matrix.shape)}")
    return matrix.T


def _gpt2_config(config: GPTConfig) -> dict[str, Any]:
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_embd": config.embed_dim,
        "n_inner": config.mlp_width,
        "n_layer": config.num_layers,
        "n_head": config.num_heads,
        "n_positions": config.max_seq_len,
        "activation_function": "gelu",  # the exact one; gelu_new is the tanh approximation
        "layer_norm_epsilon": config.norm_eps,
        "attn_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        "initializer_range": config.init_std,
        "tie_word_embeddings": config.tie_weights,
        "use_cache": True,
    }


def _options_of_gpt2(config: ConfigFields) -> dict[str, Any]:
    activation = config.word("activation_function", "gelu_new")
    if activation != "gelu":
        raise OtherModelError(
            f"config.json's activation_function must be gelu, got {activation}: this decoder has no other for GPT-2"
        )
    return {
        "style": "course",
        "vocab_size": config.size("vocab_size"),
        "embed_dim": config.size("n_embd"),
        "mlp_dim": config.size("n_inner", optional=True),
        "num_layers": config.size("n_layer"),
        "num_heads": config.size("n_head"),
        "max_seq_len": config.size("n_positions"),
        "norm_eps": config.number("layer_norm_epsilon", 1e-5),
        "dropout": config.number("resid_pdrop", 0.0),
        "tie_weights": config.flag("tie_word_embeddings", default=True),
    }
