"""Whole models with several kinds of layers: what their configurations differ in from the defaults
of transformers, as published."""


def _every(count, *full):
    return ["full_attention" if i in full else "linear_attention" for i in range(count)]


MAMBA2 = {"mamba_d_head": 64, "mamba_d_state": 128, "mamba_n_groups": 1, "mamba_expand": 2}
GRANITE = {
    "num_hidden_layers": 40,
    "layer_types": _every(40, 5, 15, 25, 35),
    "max_position_embeddings": 131072,
    "num_local_experts": 4,  # of 72, which take no part in the cache
    "num_experts_per_tok": 2,
    **MAMBA2,
}
NEMOTRON = {
    "hidden_size": 4480,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "mamba_num_heads": 128,
    "mamba_head_dim": 80,
    "max_position_embeddings": 131072,
    "hybrid_override_pattern": "M-M-M-MM-M-M-M*-M-M-M*-M-M-M-M*-M-M-M-M*-M-MM-M-M-M-M-M-",
    "layers_block_type": None,
}
NEMOTRON_3 = {  # with MLPs in place of its experts, which the CPU build cannot make
    "hidden_size": 2688,
    "num_key_value_heads": 2,
    "mamba_num_heads": 64,
    "max_position_embeddings": 262144,
    "hybrid_override_pattern": "M-M-M*-M-M-M*-M-M-M*-M-M-M*-M-M-M*-M-M-M-M*-M-M-M-M-",
    "layers_block_type": None,
}
DEEPSEEK = {"n_routed_experts": 8, "max_position_embeddings": 163840}
KIMI = {
    "hidden_size": 2304,
    "num_hidden_layers": 27,
    "num_key_value_heads": 32,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "mla_use_nope": True,
    "num_experts": 4,
    "num_experts_per_token": 2,
    "moe_intermediate_size": 1024,
    "first_k_dense_replace": 1,
    "max_position_embeddings": 1048576,
    "linear_attn_config": {
        "full_attn_layers": [4, 8, 12, 16, 20, 24, 27],
        "kda_layers": [i for i in range(1, 28) if i % 4 and i != 27],
        "num_heads": 32,
        "head_dim": 128,
        "short_conv_kernel_size": 4,
    },
}
# Name, model type, architecture, and what differs from the class.
MODELS = [
    ("Qwen3-Next-80B-A3B", "qwen3_next", "Qwen3NextForCausalLM", {"num_experts": 16}),
    ("Qwen3.5-9B", "qwen3_5_text", "Qwen3_5ForCausalLM", {}),
    (
        "Qwen3.5-27B",
        "qwen3_5_text",
        "Qwen3_5ForCausalLM",
        {
            "num_hidden_layers": 64,
            "hidden_size": 5120,
            "num_attention_heads": 24,
            "linear_num_value_heads": 48,
            "layer_types": _every(64, *range(3, 64, 4)),
            "mamba_ssm_dtype": "float32",
        },
    ),
    ("Granite-4.0-H-Small", "granitemoehybrid", "GraniteMoeHybridForCausalLM",
     {**GRANITE, "num_key_value_heads": 8, "mamba_n_heads": 128}),
    ("Granite-4.0-H-Tiny", "granitemoehybrid", "GraniteMoeHybridForCausalLM",
     {**GRANITE, "hidden_size": 1536, "num_attention_heads": 12, "num_key_value_heads": 4,
      "mamba_n_heads": 48}),
    ("Granite-4.0-H-Micro", "granitemoehybrid", "GraniteMoeHybridForCausalLM",
     {**GRANITE, "hidden_size": 2048, "num_key_value_heads": 8, "mamba_n_heads": 64,
      "num_local_experts": 0, "num_experts_per_tok": 0, "shared_intermediate_size": 8192}),
    ("Jamba-v0.1", "jamba", "JambaForCausalLM", {"num_experts": 4}),
    ("Nemotron-Nano-9B-v2", "nemotron_h", "NemotronHForCausalLM", NEMOTRON),
    ("Nemotron-3-Nano-30B-A3B", "nemotron_h", "NemotronHForCausalLM", NEMOTRON_3),
    ("LFM2-1.2B", "lfm2", "Lfm2ForCausalLM",
     {"hidden_size": 2048, "num_hidden_layers": 16, "conv_dim": 2048, "block_dim": 2048,
      "layer_types": ["full_attention" if i in (2, 5, 8, 10, 12, 14) else "conv"
                      for i in range(16)]}),
    ("Falcon-H1", "falcon_h1", "FalconH1ForCausalLM", {}),
    ("Zamba2", "zamba2", "Zamba2ForCausalLM", {"max_position_embeddings": 32768}),
    ("Mamba2", "mamba2", "Mamba2ForCausalLM", {}),
    ("Falcon-Mamba", "falcon_mamba", "FalconMambaForCausalLM", {}),
    ("Kimi-Linear-48B-A3B", "kimi_linear", "KimiLinearForCausalLM", KIMI),
    ("gpt-oss-20b", "gpt_oss", "GptOssForCausalLM",
     {"num_hidden_layers": 24, "num_local_experts": 4}),
    ("Gemma-3-12B", "gemma3_text", "Gemma3ForCausalLM",
     {"hidden_size": 3840, "num_hidden_layers": 48, "num_attention_heads": 16,
      "num_key_value_heads": 8, "sliding_window": 1024}),
    ("Gemma-4-31B", "gemma4_text", "Gemma4ForCausalLM",
     {"hidden_size": 5376, "num_hidden_layers": 60, "num_attention_heads": 32,
      "num_key_value_heads": 16, "num_global_key_value_heads": 4, "global_head_dim": 512,
      "attention_k_eq_v": True, "sliding_window": 1024}),
    ("Gemma-4-26B-A4B", "gemma4_text", "Gemma4ForCausalLM",
     {"hidden_size": 2816, "num_hidden_layers": 30, "num_attention_heads": 16,
      "num_key_value_heads": 8, "num_global_key_value_heads": 2, "global_head_dim": 512,
      "attention_k_eq_v": True, "sliding_window": 1024, "intermediate_size": 2112,
      "hidden_size_per_layer_input": 0, "enable_moe_block": True, "num_experts": 8,
      "top_k_experts": 2, "moe_intermediate_size": 704}),
    ("Gemma-4-E2B", "gemma4_text", "Gemma4ForCausalLM",
     {"hidden_size": 1536, "num_hidden_layers": 35, "num_attention_heads": 8,
      "num_key_value_heads": 1, "global_head_dim": 512, "num_kv_shared_layers": 20}),
    ("Gemma-3n-E4B", "gemma3n_text", "Gemma3nForCausalLM", {}),
    ("DeepSeek-V3", "deepseek_v3", "DeepseekV3ForCausalLM", DEEPSEEK),
    ("DeepSeek-V3.2", "deepseek_v32", "DeepseekV32ForCausalLM", DEEPSEEK),
]  # fmt: skip
