"""What some model types need beside the rules: fields that only fit together, parts of a larger model, and options.

`SWITCHED_ON` turns on what a real checkpoint of the type has between its head and its loss and a default config has
not; without it a proof would have nothing to find.
"""

from collections.abc import Mapping
from typing import Any, Final

from tests.models.transformers.causal_lms.rules import HEADS, POSITIONS, VOCAB, WIDTH

KEPT_VOCAB: Final = 90  # where the logits' last columns are cut off

SWITCHED_ON: Final[Mapping[str, Mapping[str, Any]]] = {
    "beam": {"final_logit_softcapping": 30.0},
    "cohere_compass_text": {"logit_scale": 0.0625},
    "falcon_h1": {"lm_head_multiplier": 0.5},
    "gemma3_text": {"final_logit_softcapping": 30.0},
    "gemma4_text": {"final_logit_softcapping": 30.0},
    "granite": {"logits_scaling": 3.0},
    "granite_swa": {"logits_scaling": 3.0},
    "granitemoe": {"logits_scaling": 3.0},
    "granitemoe_swa": {"logits_scaling": 3.0},
    "granitemoehybrid": {"logits_scaling": 3.0},
    "granitemoeshared": {"logits_scaling": 3.0},
    "hyperclovax": {"logits_scaling": 3.0},
    "inkling2_text": {"unpadded_vocab_size": KEPT_VOCAB},
    "inkling_text": {"unpadded_vocab_size": KEPT_VOCAB},
}
LEFT_TO_THE_CONFIG: Final = object()  # a field that it derives from others
_LATENT_ATTENTION: Final = {"num_key_value_heads": HEADS}
_HEAD_OF_8: Final = {"head_dim": 8}
_INDEXER: Final = {
    "indexer_n_heads": 2,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 8,
    "indexer_budget": 16,
    "indexer_compress_ratio": 4,
    "hc_lowrank": 8,
    "hc_count": 2,
}
_INDEXED_ATTENTION: Final = _LATENT_ATTENTION | {
    "layer_types": ["indexed_attention", "indexed_attention"],
    "swa_num_attention_heads": HEADS,
    "swa_num_key_value_heads": HEADS,
    "swa_head_dim": 8,
    "swa_qk_nope_head_dim": 8,
    "head_dim": 16,
}
_TOWER: Final = {"hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": 2}
SHAPES: Final[Mapping[str, Mapping[str, Any]]] = {
    "axk1": _LATENT_ATTENTION,
    "axk2": _LATENT_ATTENTION,
    "bailing_hybrid": _LATENT_ATTENTION,
    "bamba": {"attn_layer_indices": [1], "mamba_d_head": 16},
    "big_bird": {"attention_type": "original_full"},  # which its first short batch makes of the sparse one
    "blt": {
        "encoder_hash_byte_group_vocab": 200,
        "encoder_config": {"hidden_size_global": 2 * WIDTH},
        "decoder_config": {"hidden_size_global": WIDTH},
    },
    "cohere_compass_text": {
        "num_key_value_heads": 2,
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": 1e4} for kind in ("full_attention", "sliding_attention")
        },
    },
    "dbrx": {"attn_config": {"rope_theta": 1e4, "kv_n_heads": 2, "clip_qkv": 8.0}},
    "deepseek_v2": _LATENT_ATTENTION
    | {"num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "topk_method": "greedy"},
    "deepseek_v3": _LATENT_ATTENTION,
    "deepseek_v32": _LATENT_ATTENTION,
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "dots3_note": _INDEXED_ATTENTION,
    "dots3_note_text": _INDEXED_ATTENTION,
    "gemma3n_text": {"num_kv_shared_layers": 0},
    "gemma4_text": {"num_experts": None},
    "glm4_moe_lite": _LATENT_ATTENTION,
    "glm_moe_dsa": _LATENT_ATTENTION,
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "attention_layers": LEFT_TO_THE_CONFIG},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"], "mamba_d_head": 16},
    "hrm_text": {"num_hidden_layers": 4},
    "hunyuan_v1_dense": _HEAD_OF_8,
    "hunyuan_v1_moe": _HEAD_OF_8,
    "jamba": {
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "use_mamba_kernels": False,
    },
    "kimi_linear": _LATENT_ATTENTION,
    "laguna": {"num_attention_heads_per_layer": [HEADS, HEADS]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "longcat_flash": _LATENT_ATTENTION | _HEAD_OF_8,
    "mamba2": {"num_heads": 4, "head_dim": 16, "n_groups": 1},
    "marian": {"decoder_vocab_size": VOCAB},
    "mllama": {"rope_scaling": {"rope_type": "default"}},
    "mega": {"bidirectional": False},
    "minicpm3": _LATENT_ATTENTION,
    "ministral": _HEAD_OF_8,
    "nemotron_h": {"layers_block_type": ["linear_attention", "full_attention"]},
    "nemotron": _HEAD_OF_8 | {"num_key_value_heads": 2},
    "phi4_multimodal": {
        "vision_config": _TOWER | {"num_attention_heads": HEADS, "image_size": 32, "patch_size": 16, "crop_size": 32},
        "audio_config": _TOWER | {"num_attention_heads": HEADS, "num_blocks": 2, "ext_pw_out_channel": WIDTH},
    },
    "qwen4_exp": _INDEXER,
    "qwen4_exp_text": _INDEXER,
    "recurrent_gemma": {"block_types": ["recurrent", "attention"]},
    "reformer": {
        "hash_seed": 0,  # without it and with dropout it is not the same twice, whatever torch's seed
        "hidden_dropout_prob": 0.0,
        "local_attention_probs_dropout_prob": 0.0,
        "axial_pos_shape": [3, 4],  # their product is the length that it trains on
        "axial_pos_embds_dim": [16, 16],
        "attn_layers": ["local", "lsh"],
        "num_hashes": 1,
        "num_buckets": 2,
        "local_attn_chunk_length": 4,
        "lsh_attn_chunk_length": 4,
    },
    "roc_bert": {
        "pronunciation_vocab_size": VOCAB,
        "shape_vocab_size": VOCAB,
        "pronunciation_embed_dim": 8,
        "shape_embed_dim": 8,
    },
    "xlnet": {"d_head": 8},
    "xlstm": {
        "hidden_size": 64,
        "embedding_dim": 64,
        "num_heads": 4,
        "qk_dim_factor": 1.0,
        "max_inference_chunksize": POSITIONS,
        "ffn_round_up_to_multiple_of": 16,
        "mode": "train",
        "chunk_size": 4,
    },
    "xmod": {"default_language": "en_XX", "languages": ["en_XX"]},
    "youtu": _LATENT_ATTENTION,
    "sarvam_mla": _LATENT_ATTENTION,
    "zamba": {
        "use_mamba_kernels": False,
        "num_hidden_layers": 5,
        "layers_block_type": ["mamba", "mamba", "hybrid", "mamba", "hybrid"],
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "attention_hidden_size": 2 * WIDTH,
        "attention_head_dim": 16,
        "num_key_value_heads": HEADS,
        "n_mamba_heads": 2,
        "mamba_dt_rank": 4,
    },
    "zamba2": {
        "num_hidden_layers": 4,
        "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"],
        "hybrid_layer_ids": [1, 3],
        "num_mem_blocks": 1,
        "attention_hidden_size": 2 * WIDTH,
        "attention_head_dim": 16,
        "num_key_value_heads": HEADS,
        "n_mamba_heads": 4,
        "mamba_headdim": 16,
    },
    "zaya": {"num_experts_per_tok": 1},
}
NOT_BUILT: Final[Mapping[str, str]] = {  # in some version from transformers 4.56.2 to 5.24.0
    "gemma3n": "its vision tower needs timm",
    "gemma4_assistant": "a draft model: it reads another's caches and takes no labels",
    "gemma4_unified_assistant": "a draft model: it reads another's caches and takes no labels",
    "qdqbert": "it needs pytorch-quantization",
    "speech_to_text_2": "its positions have no weight in 4.x",
    "transfo-xl": "its forward fails in 4.x",
    "xlstm": "its training fails in 4.x",
}
