"""Weights from safetensors headers: what is loaded, at the size it is kept."""

import pytest

from deployctl.hardware import load_profile
from deployctl.model import Documents, TensorInfo, facts_from
from deployctl.planning.make import make_plan
from deployctl.planning.settings import Sharding
from deployctl.planning.shape import shape_of
from deployctl.planning.weights import parts
from deployctl.spec import ServiceSpec

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_hidden_layers": 2,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 1024,
    "tie_word_embeddings": False,
    "max_position_embeddings": 2048,
    "torch_dtype": "float16",
}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": True}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True}
MATRICES = {
    "self_attn.q_proj": (128, 128),
    "self_attn.k_proj": (128, 64),
    "self_attn.v_proj": (128, 64),
    "self_attn.o_proj": (128, 128),
    "mlp.gate_proj": (128, 256),
    "mlp.up_proj": (128, 256),
    "mlp.down_proj": (256, 128),
}


def tensor(name, dtype, *shape):
    width = {"I32": 4, "F16": 2, "F32": 4, "BF16": 2}[dtype]
    size = width
    for n in shape:
        size *= n
    return TensorInfo(name=name, dtype=dtype, shape=shape, nbytes=size)


def checkpoint(kind, extra=()):
    held = [tensor("model.embed_tokens.weight", "F16", 1024, 128)]
    held += [tensor("lm_head.weight", "F16", 1024, 128), tensor("model.norm.weight", "F16", 128)]
    for layer in range(2):
        at = f"model.layers.{layer}."
        held += [tensor(at + "input_layernorm.weight", "F16", 128)]
        held += [tensor(at + "post_attention_layernorm.weight", "F16", 128)]
        for name, (inputs, outputs) in MATRICES.items():
            at = f"model.layers.{layer}.{name}."
            if kind is None:
                held += [tensor(at + "weight", "F32", outputs, inputs)]
                continue
            held += [tensor(at + "qweight", "I32", inputs // 8, outputs)]
            held += [tensor(at + "scales", "F16", inputs // 32, outputs)]
            held += [tensor(at + "qzeros", "I32", inputs // 32, outputs // 8)]
            if kind is GPTQ:
                held += [tensor(at + "g_idx", "I32", inputs)]
    config = {**CONFIG, "quantization_config": kind} if kind else CONFIG
    return facts_from(
        Documents(
            source="/m",
            local=True,
            config=config,
            files={"model.safetensors": 1},
            tensors=(*held, *extra),
        )
    )


@pytest.mark.parametrize("kind", [None, AWQ, GPTQ], ids=["plain", "awq", "gptq"])
def test_headers_and_architecture_agree_to_the_byte(kind):
    facts = checkpoint(kind)
    whole = parts(
        shape_of(facts.architecture),
        facts.quantization,
        Sharding(),
        stage=0,
        dtype_bytes=2,
        rounded=False,
    )
    assert facts.layer_bytes == whole.layers


def test_what_the_engine_does_not_load_does_not_count():
    extra = (
        tensor("model.layers.2.mlp.up_proj.weight", "F16", 4096, 4096),  # a prediction layer
        tensor("model.layers.0.self_attn.rotary_emb.inv_freq", "F32", 16),
    )
    assert checkpoint(None, extra).layer_bytes == checkpoint(None).layer_bytes


def test_a_tensor_that_the_architecture_does_not_know_counts():
    extra = (tensor("model.adapter.weight", "F16", 128, 128),)
    more = checkpoint(None, extra).layer_bytes - checkpoint(None).layer_bytes
    assert more == 128 * 128 * 2


def test_headers_of_another_model_are_not_believed():
    facts = checkpoint(None).model_copy(update={"layer_bytes": 10**12})
    spec = ServiceSpec(model="/m", gpu="l4")
    assert make_plan(spec, facts, load_profile("l4")).memory.weights_gib < 1
