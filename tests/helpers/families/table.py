"""Which families and configurations are compared with stock transformers: data, and nothing else.

A family is a `model_type` of transformers and what its config needs to be tiny; a variant is a
family and what is changed on top. Windows, chunks and the lengths that temperatures and scalings
refer to are far below the tokens of a comparison, so that each of them is felt.
"""

from __future__ import annotations

from typing import Any

Fields = dict[str, Any]

WINDOW = 12
VOCABULARY = 61
SHAPE: Fields = {  # of every config
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": None,
    "pad_token_id": 1,
    "tie_word_embeddings": False,
}
SMALL: Fields = {  # of the configs that have a field of this name
    "head_dim": 16,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
    "n_routed_experts": 4,
    "num_experts": 4,
    "num_local_experts": 4,
    "moe_num_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
    "index_head_dim": 16,
    "index_n_heads": 2,
    "index_topk": 8,
    "linear_head_dim": 16,
    "linear_num_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "mamba_n_heads": 4,
    "mamba_d_head": 32,
    "mamba_d_state": 8,
    "mamba_chunk_size": 16,
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": VOCABULARY,
    "sliding_window": WINDOW,
}

FULL, SLIDING, LINEAR = "full_attention", "sliding_attention", "linear_attention"
MIXED: Fields = {"num_hidden_layers": 4, "layer_types": [SLIDING, FULL] * 2}
DENSE_SPARSE: Fields = {"mlp_layer_types": ["dense", "sparse"]}
SPARSE: Fields = {"mlp_layer_types": ["sparse"] * 4}
LATENT: Fields = {"num_key_value_heads": 4, "first_k_dense_replace": 1}


def rope(theta: float = 10000.0, **parameters: object) -> Fields:
    """Return a config's rope_parameters, plain where no more is said."""
    return {"rope_parameters": {"rope_type": "default", "rope_theta": theta, **parameters}}


def by_type(full: Fields, sliding: Fields) -> Fields:
    """Return the rope_parameters of a config whose types of layers have their own."""
    return {"rope_parameters": {FULL: full["rope_parameters"], SLIDING: sliding["rope_parameters"]}}


def linear(theta: float = 10000.0, **more: object) -> Fields:
    return rope(theta, rope_type="linear", factor=4.0, **more)


def llama3(theta: float = 10000.0, **more: object) -> Fields:
    return rope(
        theta,
        rope_type="llama3",
        factor=8.0,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=32,
        **more,
    )


def yarn(theta: float = 10000.0, factor: float = 4.0, **more: object) -> Fields:
    return rope(theta, rope_type="yarn", factor=factor, original_max_position_embeddings=32, **more)


def longrope(original: int, pairs: int = 8, **more: object) -> Fields:
    """Return LongRoPE's: past the original length the long factors hold, else the short ones."""
    return {
        **rope(
            rope_type="longrope",
            short_factor=[1.0 + 0.1 * n for n in range(pairs)],
            long_factor=[1.5 + 0.7 * n for n in range(pairs)],
            original_max_position_embeddings=original,
            **more,
        ),
        "original_max_position_embeddings": original,
    }


SHORT, LONG = 256, 8  # original lengths that a comparison never, and always, passes

FAMILIES: dict[str, Fields] = {
    # half-split pairs, every layer alike
    "llama": {},
    "mistral": {"sliding_window": None},
    "ministral3": {
        **yarn(llama_4_scaling_beta=0.1, mscale=1.0, mscale_all_dim=1.0),
        "sliding_window": None,
    },
    "qwen2": {},
    "qwen3": {},
    "qwen2_moe": {"num_experts": 4, "decoder_sparse_step": 1},
    "qwen3_moe": {},
    "mixtral": {"sliding_window": None},
    "phi": rope(partial_rotary_factor=0.5),
    "phi3": {**rope(partial_rotary_factor=0.5), "sliding_window": None},
    "phimoe": {"sliding_window": None},
    "stablelm": rope(partial_rotary_factor=0.5),
    "gemma": {},
    "olmo": {"clip_qkv": None},
    "olmo2": {},
    "olmoe": {},
    "flex_olmo": {},
    "granite": {"attention_multiplier": 0.3, "embedding_multiplier": 2.0, "logits_scaling": 0.5},
    "granitemoe": {"attention_multiplier": 0.3, "residual_multiplier": 0.8},
    "granitemoeshared": {"attention_multiplier": 0.3, "shared_intermediate_size": 32},
    "starcoder2": {"sliding_window": None},
    "nemotron": rope(partial_rotary_factor=0.5),
    "arcee": {},
    "apertus": llama3(),
    "seed_oss": {},
    "internlm3": {},
    "iquestcoder": {},
    "jais2": {},
    "hyperclovax": {"attention_multiplier": 0.3},
    "aria_text": {},
    "bitnet": {},
    "diffllama": {},
    "dots1": {"n_shared_experts": 1, "first_k_dense_replace": 1, "sliding_window": None},
    "glm4_moe": {"first_k_dense_replace": 1, **rope(partial_rotary_factor=0.5)},
    "minimax_m2": rope(partial_rotary_factor=0.5),
    "hy_v3": DENSE_SPARSE,
    "solar_open": {"first_k_dense_replace": 1},
    "jetmoe": {"kv_channels": 16},
    "gpt_neox": {**rope(partial_rotary_factor=0.5), "hidden_act": "gelu"},
    "gpt_neox_japanese": rope(partial_rotary_factor=0.5),
    "persimmon": rope(partial_rotary_factor=0.5),
    "falcon": {"num_kv_heads": 4, "alibi": False},
    # windows, soft caps
    "gemma2": {**MIXED, "attn_logit_softcapping": 4.0, "query_pre_attn_scalar": 16},
    "vaultgemma": {**MIXED, "attn_logit_softcapping": 4.0, "query_pre_attn_scalar": 16},
    "granite_swa": {
        **MIXED,
        "layer_rope_theta": [10000.0, 40000.0] * 2,
        "attention_multiplier": 0.3,
    },
    "granitemoe_swa": {
        **MIXED,
        "layer_rope_theta": [10000.0, 40000.0] * 2,
        "attention_multiplier": 0.3,
    },
    "cwm": {**MIXED, **llama3()},
    "afmoe": {**MIXED, "num_dense_layers": 1, "global_attn_every_n_layers": 2},
    "ministral": MIXED,
    "kolibri1": MIXED,
    "flint": MIXED,
    "moshi": {"ffn_dim": 48},
    "exaone4": MIXED,
    "exaone_moe": {**MIXED, "mlp_layer_types": ["dense", "sparse"] * 2},
    # a table for each type of layer
    "gemma3_text": {**MIXED, "query_pre_attn_scalar": 16},
    "gemma3n_text": {
        **MIXED,
        "num_kv_shared_layers": 2,
        "laurel_rank": 8,
        "activation_sparsity_pattern": [0.0] * 4,
    },
    "gemma4_text": {**MIXED, "global_head_dim": 32},
    "olmo3": {**MIXED, **by_type(yarn(), rope())},
    "mellum": {**MIXED, **SPARSE},
    "laguna": {
        **MIXED,
        **SPARSE,
        "num_attention_heads_per_layer": [4, 8, 4, 8],
        "partial_rotary_factor": 0.5,
    },
    "mimo_v2_flash": {**MIXED, **SPARSE, "head_dim": 24},
    "lfm3": {"num_hidden_layers": 4, "layer_types": ["conv", FULL, SLIDING, FULL]},
    "modernbert-decoder": MIXED,
    # sinks
    "gpt_oss": {**MIXED, **yarn(truncate=False)},
    # interleaved pairs
    "glm": {**rope(partial_rotary_factor=0.5), "attention_bias": True},
    "glm4": rope(partial_rotary_factor=0.5),
    "ernie4_5": {},
    "ernie4_5_moe": {"moe_k": 2, "moe_num_shared_experts": 1, "moe_layer_start_index": 1},
    "helium": {},
    "cohere": {"logit_scale": 1.0},
    "cohere2": {**MIXED, "logit_scale": 1.0},
    "cohere2_moe": {**MIXED, "logit_scale": 1.0},
    "llama4_text": {
        "num_hidden_layers": 4,
        "no_rope_layer_interval": 2,
        "attention_chunk_size": 16,
        "floor_scale": 16,
        "intermediate_size_mlp": 48,
        "interleave_moe_layer_step": 2,
    },
    "gptj": {"rotary_dim": 8},
    "codegen": {"rotary_dim": 8},
    # layers without rotation
    "smollm3": {"num_hidden_layers": 4, "no_rope_layer_interval": 2},
    # normalisation after rotation
    "hunyuan_v1_dense": {},
    "hunyuan_v1_moe": {"moe_topk": 2, "num_shared_expert": 1},
    "nanochat": {},
    # multi-head latent attention: the rotary dimensions last
    "deepseek_v2": {**LATENT, "n_shared_experts": 1},
    "deepseek_v3": {**LATENT, "n_shared_experts": 1},
    "mistral4": LATENT,
    "glm4_moe_lite": {**LATENT, **DENSE_SPARSE},
    "minicpm3": {"num_key_value_heads": 4},
    "longcat_flash": {
        "num_key_value_heads": 4,
        "ffn_hidden_size": 48,
        "expert_ffn_hidden_size": 32,
        "zero_expert_num": 2,
        "moe_topk": 2,
        "head_dim": 8,
    },
    "youtu": {"num_key_value_heads": 4},
    "axk1": {**LATENT, **DENSE_SPARSE},
    "kimi_linear": {**LATENT, **SPARSE, "num_hidden_layers": 4, "layer_types": [LINEAR, FULL] * 2},
    # linear and state-space layers between those of attention
    "lfm2": {"num_hidden_layers": 4, "layer_types": ["conv", FULL] * 2, "block_ff_dim": 48},
    "lfm2_moe": {"num_hidden_layers": 4, "layer_types": ["conv", FULL] * 2, "num_dense_layers": 1},
    "qwen3_next": {
        **rope(partial_rotary_factor=0.5),
        "num_hidden_layers": 4,
        "layer_types": [LINEAR, FULL] * 2,
    },
    "qwen3_5_text": {
        **rope(partial_rotary_factor=0.5, mrope_section=[2, 1, 1]),
        "num_hidden_layers": 4,
        "layer_types": [LINEAR, FULL] * 2,
    },
    "qwen3_5_moe_text": {
        **rope(partial_rotary_factor=0.5, mrope_section=[2, 1, 1]),
        "num_hidden_layers": 4,
        "layer_types": [LINEAR, FULL] * 2,
    },
    "olmo_hybrid": {"num_hidden_layers": 4, "layer_types": [LINEAR, FULL] * 2},
    "granitemoehybrid": {
        "num_hidden_layers": 4,
        "layer_types": ["mamba", "attention"] * 2,
        "position_embedding_type": "rope",
        "shared_intermediate_size": 32,
        "attention_multiplier": 0.3,
    },
    "bamba": {"num_hidden_layers": 4, "attn_layer_indices": [1, 3]},
    "falcon_h1": {"mamba_d_ssm": 128},
    "minimax": {"num_hidden_layers": 4, "block_size": 16},
    "bailing_hybrid": {
        **LATENT,
        "num_hidden_layers": 4,
        "layer_types": [LINEAR, FULL] * 2,
        "mlp_layer_types": ["dense", "sparse"] * 2,
    },
    "zaya": {"num_experts_per_tok": 1, "router_hidden_size": 16, "sliding_window": None},
    # sparse indexers, and what else cannot be taken from a model
    "deepseek_v32": {**LATENT, **DENSE_SPARSE, "n_shared_experts": 1},
    "glm_moe_dsa": {**LATENT, **DENSE_SPARSE, "n_shared_experts": 1},
    "hy_v4": {**LATENT, **DENSE_SPARSE, "head_dim": 16},
    "minimax_m3_vl_text": {"rotary_dim": 8},
    "deepseek_v4": {
        "num_key_value_heads": 1,
        "head_dim": 32,
        "qk_rope_head_dim": 8,
        "o_lora_rank": 16,
        "o_groups": 2,
        "partial_rotary_factor": 0.25,
        "num_hidden_layers": 3,
    },
    "doge": {"keep_window_size": 24, "is_moe": False},
    "recurrent_gemma": {
        "num_hidden_layers": 3,
        "lru_width": 64,
        "attention_window_size": WINDOW,
        "logits_soft_cap": 30.0,
    },
    "hrm_text": {},
    "nemotron_h": {
        "num_hidden_layers": 4,
        "layers_block_type": ["mamba", "attention"] * 2,
        "mamba_num_heads": 4,
        "mamba_head_dim": 32,
        "ssm_state_size": 8,
        "n_groups": 1,
        "chunk_size": 16,
    },
    "jamba": {
        "num_hidden_layers": 4,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "mamba_dt_rank": 4,
        "use_mamba_kernels": False,
    },
    "zamba2": {
        "num_hidden_layers": 2,
        "layers_block_type": ["mamba", "hybrid"],
        "n_mamba_heads": 4,
        "mamba_d_state": 8,
        "chunk_size": 16,
        "use_mem_rope": True,
        "use_mamba_kernels": False,
        "adapter_rank": 8,
    },
}
NOT_BUILT: dict[str, str] = {
    "internlm2": "code of its own, outside transformers",
    "baichuan": "code of its own, outside transformers",
    "exaone": "code of its own, outside transformers 5.23",
    "sarvam_moe": "code of its own, outside transformers 5.23",
}

VARIANTS: list[tuple[str, str, Fields]] = [  # family, what is changed, and how
    ("llama", "one key-value head", {"num_key_value_heads": 1, "head_dim": 24}),
    ("llama", "biases", {"attention_bias": True, "mlp_bias": True}),
    ("llama", "linear", linear()),
    ("llama", "llama3", llama3()),
    ("llama", "yarn", yarn()),
    ("llama", "longrope, short", longrope(SHORT)),
    ("llama", "longrope, long", longrope(LONG)),
    (
        "llama",
        "dynamic",
        {**rope(rope_type="dynamic", factor=2.0), "max_position_embeddings": 32},
    ),
    ("llama", "tied embeddings", {"tie_word_embeddings": True}),
    ("mistral", "window", {"sliding_window": WINDOW}),
    ("mistral", "window of 2", {"sliding_window": 2}),
    ("mistral", "yarn, window", {**yarn(), "sliding_window": WINDOW}),
    ("mixtral", "window", {"sliding_window": WINDOW}),
    ("ministral3", "window", {"sliding_window": WINDOW}),
    (
        "qwen2",
        "windows on the last layers",
        {"use_sliding_window": True, "max_window_layers": 1, "num_hidden_layers": 3},
    ),
    ("qwen2", "yarn", yarn()),
    (
        "qwen3",
        "windows on the last layers",
        {"use_sliding_window": True, "max_window_layers": 1, "num_hidden_layers": 3},
    ),
    ("qwen3", "yarn", yarn()),
    ("qwen3_moe", "window", {"use_sliding_window": True, "max_window_layers": 0}),
    ("qwen3_moe", "yarn", yarn()),
    (
        "qwen2_moe",
        "windows on the last layers",
        {"use_sliding_window": True, "max_window_layers": 1},
    ),
    ("phi", "norms of queries and keys", {"qk_layernorm": True}),
    ("phi", "linear", linear(partial_rotary_factor=0.5)),
    ("phi3", "window", {"sliding_window": WINDOW}),
    ("phi3", "longrope, short", {**longrope(SHORT), "sliding_window": None}),
    ("phi3", "longrope, long", {**longrope(LONG), "sliding_window": None}),
    (
        "phi3",
        "partial longrope, long, window",
        {**longrope(LONG, pairs=4, partial_rotary_factor=0.5), "sliding_window": WINDOW},
    ),
    ("phimoe", "window", {"sliding_window": WINDOW}),
    (
        "phimoe",
        "longrope, short",
        longrope(SHORT, short_mscale=1.1, long_mscale=1.3),
    ),
    (
        "phimoe",
        "longrope, long",
        longrope(LONG, short_mscale=1.1, long_mscale=1.3),
    ),
    ("stablelm", "parallel, biases", {"use_parallel_residual": True, "use_qkv_bias": True}),
    ("stablelm", "norms of queries and keys", {"qk_layernorm": True}),
    ("stablelm", "linear", linear(partial_rotary_factor=0.5)),
    ("starcoder2", "window", {"sliding_window": WINDOW}),
    ("gemma", "one key-value head, wide", {"num_key_value_heads": 1, "head_dim": 32}),
    ("granite", "llama3", llama3()),
    ("olmo2", "yarn", yarn()),
    ("seed_oss", "yarn", yarn()),
    ("dots1", "windows on the last layers", {"sliding_window": WINDOW, "max_window_layers": 1}),
    ("gpt_neox", "one residual", {"use_parallel_residual": False}),
    ("gpt_neox", "linear", linear(partial_rotary_factor=0.5)),
    ("gpt_neox", "whole heads", rope(partial_rotary_factor=1.0)),
    ("falcon", "new decoder", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    ("gemma2", "no soft caps", {"attn_logit_softcapping": None, "final_logit_softcapping": None}),
    ("gemma2", "windows alone", {"layer_types": [SLIDING] * 4}),
    ("gemma2", "no window", {"layer_types": [FULL] * 4}),
    ("cwm", "plain", rope()),
    ("cohere2", "yarn", yarn()),
    ("exaone4", "no window", {"sliding_window": None, "layer_types": [FULL] * 4}),
    ("exaone4", "llama3", llama3()),
    ("ministral", "windows alone", {"layer_types": [SLIDING] * 4}),
    (
        "gemma3_text",
        "linear on the full layers",
        by_type(linear(1000000.0), rope()),
    ),
    ("gemma3_text", "windows alone", {"layer_types": [SLIDING] * 4}),
    (
        "gemma3_text",
        "one full layer of six",
        {"num_hidden_layers": 6, "layer_types": [SLIDING] * 5 + [FULL]},
    ),
    ("gemma3n_text", "nothing shared", {"num_kv_shared_layers": 0}),
    ("gemma4_text", "shared keys and values", {"num_kv_shared_layers": 2}),
    ("gemma4_text", "keys as values", {"attention_k_eq_v": True, "num_global_key_value_heads": 1}),
    (
        "gemma4_text",
        "experts",
        {"enable_moe_block": True, "num_experts": 4, "top_k_experts": 2},
    ),
    ("olmo3", "plain", by_type(rope(500000.0), rope(500000.0))),
    ("olmo3", "no window", {"layer_types": [FULL] * 4}),
    ("mellum", "yarn on the full layers", by_type(yarn(500000.0), rope())),
    (
        "laguna",
        "yarn on the full layers",
        by_type(yarn(500000.0, partial_rotary_factor=0.5), rope(partial_rotary_factor=1.0)),
    ),
    ("gpt_oss", "plain", rope(150000.0)),
    ("gpt_oss", "no window", {"layer_types": [FULL] * 4}),
    ("gpt_oss", "yarn of 32", yarn(150000.0, truncate=False, factor=32.0)),
    ("glm", "whole heads", rope(partial_rotary_factor=1.0)),
    ("glm4", "yarn", yarn(partial_rotary_factor=0.5)),
    ("ernie4_5", "linear", linear()),
    ("cohere", "norms of queries and keys", {"use_qk_norm": True}),
    ("cohere", "llama3", llama3()),
    ("llama4_text", "no norms of queries and keys", {"use_qk_norm": False}),
    ("llama4_text", "no temperature", {"attn_temperature_tuning": False}),
    ("llama4_text", "llama3", llama3()),
    ("llama4_text", "no chunks", {"layer_types": [FULL] * 4}),
    ("smollm3", "every layer rotates", {"no_rope_layers": [1] * 4}),
    ("smollm3", "yarn", yarn()),
    (
        "smollm3",
        "windows",
        {"use_sliding_window": True, "layer_types": [SLIDING, FULL] * 2},
    ),
    ("hunyuan_v1_dense", "yarn", yarn()),
    ("deepseek_v2", "no query rank", {"q_lora_rank": None}),
    ("deepseek_v2", "yarn", yarn(mscale=0.707, mscale_all_dim=0.707)),
    ("deepseek_v3", "half-split", {"rope_interleave": False}),
    ("deepseek_v3", "no query rank", {"q_lora_rank": None}),
    ("deepseek_v3", "yarn", yarn(mscale=1.0, mscale_all_dim=1.0)),
    ("glm4_moe_lite", "yarn", yarn()),
    ("minicpm3", "longrope, short", longrope(SHORT, pairs=4)),
    ("minicpm3", "longrope, long", longrope(LONG, pairs=4)),
    ("youtu", "half-split", {"rope_interleave": False}),
    ("longcat_flash", "yarn", yarn()),
    ("qwen3_next", "attention first", {"layer_types": [FULL, LINEAR] * 2}),
    ("qwen3_next", "yarn", yarn(partial_rotary_factor=0.5)),
    ("granitemoehybrid", "without rotation", {"position_embedding_type": "nope"}),
    ("granitemoehybrid", "attention alone", {"layer_types": ["attention"] * 4}),
    ("bamba", "attention first", {"attn_layer_indices": [0, 2]}),
    ("lfm2", "attention first", {"layer_types": [FULL, "conv"] * 2}),
    ("minimax", "attention last", {"layer_types": [LINEAR] * 3 + [FULL]}),
    (
        "minimax_m3_vl_text",
        "an indexer",
        {"layer_types": ["minimax_m3_sparse"] * 2, "index_block_size": 8, "index_topk_blocks": 2},
    ),
    ("zaya", "windows", {"sliding_window": WINDOW, "layer_types": ["hybrid_sliding", "hybrid"]}),
]
