"""Tiny models of every kind that vLLM's CPU build can run: shapes, and checkpoints of chance.

A shape is what differs from the tiny checkpoint's config. Each has states or windows that are
large enough to decide the blocks of its cache.
"""

import json
import shutil
import subprocess
import sys

BASE = {"max_position_embeddings": 8192, "torch_dtype": "bfloat16"}
WINDOWS = {
    "architectures": ["Gemma3ForCausalLM"],
    "model_type": "gemma3_text",
    "num_hidden_layers": 8,
    "layer_types": [*["sliding_attention"] * 5, "full_attention", *["sliding_attention"] * 2],
    "sliding_window": 512,
    "hidden_activation": "gelu_pytorch_tanh",
    "query_pre_attn_scalar": 32,
    "rope_local_base_freq": 10000.0,
}
HEADS = {  # full layers have heads of another width
    "architectures": ["Gemma4ForCausalLM"],
    "model_type": "gemma4_text",
    "num_hidden_layers": 6,
    "layer_types": [*["sliding_attention"] * 5, "full_attention"],
    "sliding_window": 512,
    "global_head_dim": 64,
    "hidden_activation": "gelu_pytorch_tanh",
    "num_kv_shared_layers": 0,
    "hidden_size_per_layer_input": 0,
}
SLIDING = {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "num_hidden_layers": 3,
    "sliding_window": 1024,
}
SINKS = {
    "architectures": ["GptOssForCausalLM"],
    "model_type": "gpt_oss",
    "num_hidden_layers": 4,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "sliding_window": 128,
    "intermediate_size": 128,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "swiglu_limit": 7.0,
}
EXPERTS = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "num_hidden_layers": 2,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 64,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}
LATENT = {
    "architectures": ["DeepseekV2ForCausalLM"],
    "model_type": "deepseek_v2",
    "num_hidden_layers": 3,
    "num_key_value_heads": 4,
    "q_lora_rank": None,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "moe_intermediate_size": 64,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "num_experts_per_tok": 2,
    "moe_layer_freq": 1,
    "scoring_func": "softmax",
    "topk_method": "greedy",
    "n_group": 1,
    "topk_group": 1,
    "norm_topk_prob": False,
    "routed_scaling_factor": 1.0,
}
DELTA_NETS = {  # and experts
    "architectures": ["Qwen3NextForCausalLM"],
    "model_type": "qwen3_next",
    "num_hidden_layers": 4,
    "layer_types": [*["linear_attention"] * 3, "full_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 64,
    "shared_expert_intermediate_size": 64,
    "decoder_sparse_step": 1,
    "partial_rotary_factor": 0.25,
    "tie_word_embeddings": False,  # vLLM's class ties none: its head would be of zeros
}
GRANITE = {  # Mamba2 and experts
    "architectures": ["GraniteMoeHybridForCausalLM"],
    "model_type": "granitemoehybrid",
    "num_hidden_layers": 4,
    "layer_types": ["mamba", "mamba", "attention", "mamba"],
    "mamba_n_heads": 4,
    "mamba_d_head": 64,
    "mamba_d_state": 128,
    "mamba_n_groups": 1,
    "mamba_d_conv": 4,
    "mamba_expand": 2,
    "mamba_chunk_size": 64,
    "intermediate_size": 64,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "shared_intermediate_size": 128,
    "attention_multiplier": 0.1,
    "position_embedding_type": "nope",
}
NEMOTRON = {  # Mamba2, a mixer or an MLP in each layer
    "architectures": ["NemotronHForCausalLM"],
    "model_type": "nemotron_h",
    "num_hidden_layers": 5,
    "layers_block_type": ["mamba", "mlp", "mamba", "attention", "mlp"],
    "mamba_num_heads": 8,
    "mamba_head_dim": 64,
    "ssm_state_size": 128,
    "n_groups": 1,
    "conv_kernel": 4,
    "chunk_size": 64,
    "mlp_hidden_act": "relu2",
}
CONVOLUTIONS = {
    "architectures": ["Lfm2ForCausalLM"],
    "model_type": "lfm2",
    "num_hidden_layers": 4,
    "layer_types": ["conv", "conv", "full_attention", "conv"],
    "conv_L_cache": 3,
    "conv_dim": 128,
    "block_dim": 128,
    "block_ff_dim": 256,
    "block_multiple_of": 64,
    "block_auto_adjust_ff_dim": False,
    "norm_eps": 1e-5,
}
BOTH = {  # Mamba2 and attention in each layer
    "architectures": ["FalconH1ForCausalLM"],
    "model_type": "falcon_h1",
    "num_hidden_layers": 2,
    "mamba_n_heads": 8,
    "mamba_d_head": 64,
    "mamba_d_ssm": 512,
    "mamba_d_state": 128,
    "mamba_n_groups": 1,
    "mamba_d_conv": 4,
    "mamba_chunk_size": 64,
}

MADE = """
import json, sys, torch
from pathlib import Path
from safetensors import torch as stored
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from deployctl.demo.checkpoint import quantization_config, quantized_tensors
folder, config, mute, fmt = json.load(sys.stdin)
kind = config.pop("model_type")
for name in ("architectures", "torch_dtype"):
    config.pop(name)
torch.manual_seed(0)
config = CONFIG_MAPPING[kind](**config)
model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
model.get_output_embeddings().weight.data[mute] = 0
model.save_pretrained(folder)
if fmt:
    folder, tensors = Path(folder), {}
    for name, weight in stored.load_file(folder / "model.safetensors").items():
        tensors |= quantized_tensors(name, weight.float().numpy(), fmt)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config |= {"dtype": "float16", "quantization_config": quantization_config(fmt)}
    (folder / "config.json").write_text(json.dumps(config))
"""


def config_of(base, shape):
    """A config that is not quantized; `base` is the tiny checkpoint's."""
    config = {**base, **BASE, **shape}
    config.pop("quantization_config", None)
    return {name: value for name, value in config.items() if value is not None}


def checkpoint_of(shape, tiny, folder, fmt=None):
    """A checkpoint of random weights as transformers saves it, with the tiny one's tokenizer.

    `fmt`, awq or gptq: its linear layers have four bits, all but the routers.
    """
    shutil.copytree(tiny, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    config = config_of(json.loads((tiny / "config.json").read_text()), shape)
    # It says words alone: an answer of blanks is none, and what it says is chance.
    vocabulary = json.loads((tiny / "tokenizer.json").read_text())["model"]["vocab"]
    words = {token: token.strip("Ġ") for token in vocabulary}
    mute = [vocabulary[t] for t, word in words.items() if not (word.isascii() and word.isalpha())]
    asked = [str(folder), config, mute, fmt]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MADE],
        input=json.dumps(asked), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder
