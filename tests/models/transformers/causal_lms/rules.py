"""How any config shrinks to a tiny one: by the names of its fields, which a hundred model types share.

Only what differs from the default is given, so that a config derives the rest of itself (its layers' kinds, say).
"""

from collections.abc import Mapping
from typing import Any, Final

VOCAB: Final = 100
WIDTH: Final = 32
HEADS: Final = 4
LAYERS: Final = 2
POSITIONS: Final = 64

_NAMES: Final[Mapping[int, str]] = {  # fields that are counts; one that is 0 or absent is off and stays so
    VOCAB: "audio_vocab_size vocab_size vocab_size_per_layer_input",
    WIDTH: (
        "attention_hidden_size backbone_hidden_size cross_attention_hidden_size d_model emb_dim embed_dim"
        " embedding_size hidden_size image_size lru_width n_embd word_embed_proj_dim"
    ),
    48: (
        "d_ff decoder_ffn_dim dff dim_ff encoder_ffn_dim expert_ffn_hidden_size feed_forward_size ffn_dim"
        " ffn_hidden_size intermediate_size intermediate_size_mlp moe_intermediate_size moe_latent_size"
        " moe_shared_expert_intermediate_size n_inner shared_expert_intermediate_size shared_intermediate_size"
    ),
    LAYERS: (
        "decoder_layers encoder_layers index_n_heads moe_k moe_top_k moe_topk n_layer n_layers num_blocks"
        " num_decoder_layers num_encoder_layers num_experts_per_tok num_experts_per_token num_hidden_layers"
        " num_key_value_heads num_kv_heads num_layers num_mem_blocks swa_num_key_value_heads top_k_experts"
    ),
    HEADS: (
        "decoder_attention_heads encoder_attention_heads index_topk laurel_rank linear_num_heads linear_num_key_heads"
        " linear_num_value_heads mamba_dt_rank mamba_n_heads mamba_num_heads moe_num_experts n_head n_heads"
        " n_mamba_heads n_routed_experts num_attention_heads num_decoder_attention_heads num_encoder_attention_heads"
        " num_experts num_heads num_local_experts rotary_dim swa_num_attention_heads time_step_rank"
    ),
    8: (
        "attention_head_dim attention_head_size d_kv dim_head head_dim hidden_size_per_layer_input index_head_dim"
        " kv_channels linear_head_dim linear_key_head_dim linear_value_head_dim mamba_d_state qk_nope_head_dim"
        " qk_rope_head_dim ssm_state_size state_size swa_head_dim v_head_dim"
    ),
    16: (
        "attention_chunk_size attention_window_size chunk_size kv_lora_rank local_attention mamba_d_head"
        " mamba_head_dim mamba_headdim o_lora_rank patch_size q_lora_rank qk_head_dim sliding_window window_size"
    ),
    1: (
        "first_k_dense_replace mamba_n_groups mamba_ngroups moe_layer_start_index moe_num_shared_experts n_group"
        " n_groups n_shared_experts num_dense_layers num_expert_group num_shared_experts topk_group"
    ),
    POSITIONS: (
        "mamba_d_ssm max_position_embeddings max_seq_len max_source_positions max_target_positions model_max_length"
        " n_ctx n_positions original_max_position_embeddings"
    ),
}
SIZES: Final = {name: size for size, names in _NAMES.items() for name in names.split()}
SPECIAL_IDS: Final = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
ANOTHER_SPECIAL_ID: Final = 3
FIRST_ID: Final = 4  # of those that mean nothing
_LISTS_OF_KINDS: Final = ("layer_types", "layers_block_type")  # one entry a layer
_OF_THE_CLASS: Final = ("model_type", "transformers_version", "_name_or_path", "architectures", "torch_dtype", "dtype")


def shrunk(defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a config that have to change, configs within it included."""
    fields: dict[str, Any] = {}
    for name, value in defaults.items():
        if name in _OF_THE_CLASS:
            continue
        if isinstance(value, dict) and (name.endswith("_config") or name == "decoder"):
            kind = {"model_type": value["model_type"]} if "model_type" in value else {}
            fields[name] = shrunk(value) | kind
        elif (small := _small(name, value)) != value:
            fields[name] = small
    return fields


def _small(name: str, value: Any) -> Any:
    if isinstance(value, list):
        if name in _LISTS_OF_KINDS:
            return one_of_each(value, LAYERS)
        return [_small(name, one) for one in value] if name.endswith("token_id") else SIZES.get(name, value)
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if name in SIZES:
        return SIZES[name] if value else 0
    if name.endswith(("token_id", "token_index")) and not 0 <= value < VOCAB:
        return SPECIAL_IDS.get(name, ANOTHER_SPECIAL_ID)
    return value


def one_of_each(kinds: list[Any], count: int) -> list[Any]:
    """`count` entries, the kinds in their order of appearance, again and again."""
    distinct = list(dict.fromkeys(kinds))
    return [distinct[index % len(distinct)] for index in range(count)]
