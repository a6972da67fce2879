"""Facts against the engine's own: what vLLM derives from a config, and what we derive from it."""

import json
import subprocess
import sys

import pytest

from deployctl.model import Documents, facts_from

pytestmark = pytest.mark.vllm

# Decoders that vLLM serves; each is tried with its configuration class's own defaults.
TYPES = """
arcee bloom cohere cohere2 deepseek_v2 deepseek_v3 ernie4_5 ernie4_5_moe exaone4 falcon gemma
gemma2 gemma3 gemma3_text gemma3n glm glm4 glm4_moe gpt2 gpt_bigcode gpt_neox gpt_oss gptj
granite granitemoe internvl lfm2 llama llama4 llava minimax ministral mistral mistral3 mixtral
mpt olmo olmo2 olmo3 olmoe opt paligemma phi phi3 phimoe qwen2 qwen2_5_vl qwen2_moe qwen2_vl
qwen3 qwen3_moe qwen3_next qwen3_vl seed_oss smollm3 stablelm starcoder2
""".split()  # noqa: SIM905
# Rotary settings, laid over a Llama of 8192 positions.
ROPES = [
    {},
    {"rope_scaling": {"type": "linear", "factor": 2.0}},
    {"rope_scaling": {"rope_type": "dynamic", "factor": 4.0}},
    {"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048}},
    {
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        }
    },
]

ASK = """
import json, os, sys, warnings
warnings.filterwarnings("ignore")
os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
import vllm.config
from transformers import LlamaConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from vllm.config.model import _get_and_verify_max_len
from vllm.transformers_utils.model_arch_config_convertor import (
    MODEL_ARCH_CONFIG_CONVERTORS as CONVERTORS, ModelArchConfigConvertorBase as Base)

def ask(config, name):
    text = config.get_text_config()
    found = CONVERTORS.get(name, Base)(config, text).convert(True)
    kinds = getattr(text, "layer_types", None)
    window = getattr(text, "sliding_window", None)
    if not kinds:
        kinds = ["sliding_attention" if window else "full_attention"]
        kinds *= found.total_num_hidden_layers
    length = _get_and_verify_max_len(text, found, None, None, False, window)
    tied = text.__dict__.get("tie_word_embeddings")
    tied = getattr(config, "tie_word_embeddings", False) if tied is None else tied
    return {"layers": found.total_num_hidden_layers, "hidden": found.hidden_size,
            "heads": found.total_num_attention_heads, "kv": found.total_num_kv_heads,
            "head": found.head_size, "vocabulary": found.vocab_size,
            "experts": found.num_experts, "mla": found.is_deepseek_mla, "tied": bool(tied),
            "kinds": list(kinds), "length": length}

types, ropes = json.load(sys.stdin)
answers = []
for name in types:
    config = CONFIG_MAPPING[name]()
    answers.append([name, config.to_dict(), ask(config, name)])
for rope in ropes:
    raw = {"model_type": "llama", "max_position_embeddings": 8192, **rope}
    answers.append(["llama", {**LlamaConfig().to_dict(), "rope_parameters": None, **raw},
                    ask(LlamaConfig(**json.loads(json.dumps(raw))), "llama")])
sys.stdout.write("ANSWER" + json.dumps(answers, default=str))
"""


@pytest.fixture(scope="module")
def answers():
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        input=json.dumps([TYPES, ROPES]),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.split("ANSWER", 1)[1])


def test_every_number_is_the_engines(answers):
    assert len(answers) == len(TYPES) + len(ROPES)
    different = {}
    for name, config, expected in answers:
        config["architectures"] = [name]
        documents = Documents(
            source="/m", local=True, config=config, files={"model.safetensors": 1}
        )
        a = facts_from(documents).architecture
        found = {
            "layers": a.num_layers,
            "hidden": a.hidden_size,
            "heads": a.num_heads,
            "kv": a.num_kv_heads,
            "head": a.kv_lora_rank + a.qk_rope_head_dim if a.mla else a.head_dim,
            "vocabulary": a.vocab_size,
            "experts": a.num_experts,
            "mla": a.mla,
            "tied": a.tied_embeddings,
            "kinds": list(a.layer_types) or ["full_attention"] * a.num_layers,
            "length": a.default_model_len,
        }
        for key, value in expected.items():
            if found[key] != value:
                different[f"{name}.{key}"] = (found[key], value)
    assert different == {}
