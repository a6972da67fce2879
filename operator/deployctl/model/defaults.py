"""What a field means when config.json leaves it out: the classes' defaults.

From the configuration classes of transformers 5.19. Only model types whose published configs do
leave something out are here; a number that is nowhere is an error, not a guess.
"""

# Fields that may be absent at the top of a config of this type, or in its text_config.
BY_TYPE: dict[str, dict[str, int]] = {
    "gemma": {"head_dim": 256, "vocab_size": 256000, "max_position_embeddings": 8192},
    "gemma2": {"head_dim": 256, "vocab_size": 256000, "max_position_embeddings": 8192},
    "gemma3_text": {
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "vocab_size": 262208,
        "max_position_embeddings": 131072,
    },
    "gemma3n_text": {"head_dim": 256, "vocab_size": 262400, "max_position_embeddings": 32768},
    "gemma4_text": {"head_dim": 256, "vocab_size": 262144, "max_position_embeddings": 131072},
    "qwen3": {"head_dim": 128},
    "qwen3_vl_text": {"head_dim": 128, "max_position_embeddings": 128000},
    "gpt_oss": {"head_dim": 64, "vocab_size": 201088, "max_position_embeddings": 131072},
    "llama4_text": {"head_dim": 128, "vocab_size": 202048, "max_position_embeddings": 131072},
    "glm4": {"head_dim": 128},
    "cohere2": {"vocab_size": 256000, "max_position_embeddings": 8192},
    "mistral": {"num_key_value_heads": 8, "max_position_embeddings": 131072},
    "mixtral": {"num_key_value_heads": 8, "max_position_embeddings": 131072},
    "llama": {"max_position_embeddings": 2048},
    "qwen2": {"max_position_embeddings": 32768},
    "falcon": {"max_position_embeddings": 2048},
}

# A text_config inside another config often holds only what differs from its class.
NESTED: dict[str, dict[str, int]] = {
    "llama": {
        "num_hidden_layers": 32,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_attention_heads": 32,
        "vocab_size": 32000,
    },
    "mistral": {
        "num_hidden_layers": 32,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_attention_heads": 32,
        "vocab_size": 32000,
    },
    "qwen2": {"vocab_size": 151936},
}

# Types whose output layer shares the input embedding unless the config says otherwise.
_TIED_NAMES = """
bart biogpt bloom cohere cohere2 cohere2_moe ernie4_5 ernie4_5_moe falcon falcon_mamba gemma
gemma2 gemma3 gemma3_text gemma3n gemma3n_text gemma4 gemma4_text gemma4_unified
gemma4_unified_text gpt2 gpt_bigcode gpt_neo granite_swa hunyuan_vl jetmoe lfm2 lfm2_moe mamba
mbart minicpm3 modernbert_decoder mpt openai-gpt opt paddleocr_vl recurrent_gemma smollm3
starcoder2 t5gemma vaultgemma whisper xglm youtu zamba zamba2 zaya
"""
TIED = frozenset(_TIED_NAMES.split())

# No attention at all: no heads to count.
ATTENTION_FREE = frozenset(("mamba", "mamba2", "falcon_mamba", "rwkv", "rwkv6", "rwkv7"))

# The engine caches the compressed KV of these, if kv_lora_rank is set.
# vLLM 0.32, transformers_utils/model_arch_config_convertor.py, is_deepseek_mla.
_MLA_TYPES_NAMES = """
axk1 bailing_hybrid bailing_hybrid_mtp bailing_hybrid_v3_mtp deepseek_mtp deepseek_v2 deepseek_v3
deepseek_v32 deepseek_v4 deepseek_v41 dots3_note glm4_moe_lite glm4_moe_lite_mtp glm5_next
glm5_next_text glm_moe_dsa hy_v4 hy_v4_mtp k3_dspark kimi_k2 kimi_linear longcat_flash
pangu_ultra_moe pangu_ultra_moe_mtp
"""
MLA_TYPES = frozenset(_MLA_TYPES_NAMES.split())
