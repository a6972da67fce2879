"""Whatever a config.json holds, the answer is facts or an error of ours, and soon."""

import json

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from deployctl.errors import ModelError
from deployctl.model import Documents, TensorInfo, architecture, experts, facts_from

SETTINGS = settings(max_examples=100, deadline=20_000, suppress_health_check=[HealthCheck.too_slow])

# Every name that the readers look at, so that arbitrary values land where they hurt.
NAMES = sorted(
    {
        *architecture.LAYERS,
        *architecture.HIDDEN,
        *architecture.HEADS,
        *architecture.KV_HEADS,
        *architecture.INNER,
        *architecture.VOCAB,
        *experts.COUNT,
        *experts.PER_TOKEN,
        *architecture.CONTEXT,
        *("model_type", "architectures", "auto_map", "torch_dtype", "dtype", "head_dim"),
        *("text_config", "thinker_config", "llm_config", "vision_config", "decoder"),
        *("rope_scaling", "rope_parameters", "factor", "rope_type", "type", "layer_types"),
        *("sliding_window", "use_sliding_window", "max_window_layers", "sliding_window_pattern"),
        *("attn_config", "ffn_config", "kv_n_heads", "kv_lora_rank", "qk_rope_head_dim"),
        *("qk_nope_head_dim", "moe_layer_freq", "mlp_only_layers", "decoder_sparse_step"),
        *("first_k_dense_replace", "moe_layers", "moe_layer_interval", "moe_layer_end_index"),
        *("hybrid_override_pattern", "attn_type_list", "full_attn_idxs", "linear_attn_config"),
        *("no_rope_layers", "attention_chunk_size", "full_attention_interval", "multi_query"),
        *("quantization_config", "compression_config", "quant_method", "bits", "group_size"),
        *("w_bit", "desc_act", "sym", "zero_point", "config_groups", "weights", "num_bits"),
        *("quantization", "producer", "quant_algo", "global_quant_config", "dynamic", "ignore"),
        *("modules_to_not_convert", "tie_word_embeddings", "actorder", "expansion_ratio"),
    }
)
TYPES = ("llama", "gemma3_text", "qwen2", "qwen3_moe", "llama4_text", "jamba", "falcon", "mamba")
TYPES += ("deepseek_v3", "exaone4", "dbrx", "mpt", "gpt_bigcode", "phi3", "smollm3", "kimi_linear")
GGUF = ("x.block_count", "x.embedding_length", "x.attention.head_count", "x.context_length")
GGUF += ("tokenizer.ggml.tokens", "x.expert_count")
METHODS = ("awq", "gptq", "compressed-tensors", "modelopt", "quark", "bitsandbytes", "fp8")

leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.integers(),
    st.floats(),
    st.sampled_from((*TYPES, *METHODS, "full_attention", "linear", "longrope", "", "NaN")),
    st.text(st.characters(codec="utf-8"), max_size=20),
)
keys = st.sampled_from(NAMES)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=6),
        st.dictionaries(st.one_of(keys, st.text(max_size=8)), inner, max_size=6),
    ),
    max_leaves=30,
)
configs = st.dictionaries(keys, values, max_size=40)
tensors = st.lists(
    st.builds(
        TensorInfo,
        name=st.text(max_size=20),
        dtype=st.sampled_from(("I32", "F16", "U8", "F8_E4M3", "XX")),
        shape=st.lists(st.integers(0, 2**40), max_size=4).map(tuple),
        nbytes=st.integers(0, 2**50),
    ),
    max_size=5,
).map(tuple)


def showable(error):
    assert error.exit_code == 2
    assert error.message.isprintable()
    assert len(error.message) < 400


def check(config, **documents):
    """Facts that JSON can hold, or a ModelError that a terminal can show."""
    documents.setdefault("files", {"model.safetensors": 1})
    found = Documents(source="/m", local=True, config=config, **documents)
    try:
        facts = facts_from(found)
    except ModelError as error:
        return showable(error)
    arch = facts.architecture
    if arch is not None:
        assert arch.num_layers > 0
        assert arch.max_position_embeddings > 0
        assert arch.default_model_len <= arch.max_position_embeddings
        assert len(arch.layer_types) in (0, arch.num_layers)
        assert 0 <= arch.moe_layers <= arch.num_layers
        assert arch.experts_per_token <= arch.num_experts
    return facts


@SETTINGS
@given(configs)
@example({"model_type": ["llama"]})
@example({"model_type": "llama", "text_config": {"model_type": {}}})
@example({"model_type": "x", "num_hidden_layers": 10**9, "layer_types": []})
def test_arbitrary_configs(config):
    check(config)


@SETTINGS
@given(st.dictionaries(keys, values, max_size=4), st.sampled_from(TYPES), st.booleans())
def test_a_good_config_with_a_few_fields_gone_wrong(changes, model_type, nested):
    config = {
        "model_type": model_type,
        "num_hidden_layers": 4,
        "hidden_size": 64,
        "num_attention_heads": 4,
        "vocab_size": 100,
    }
    config |= changes
    check({"model_type": "vlm", "text_config": config} if nested else config)


@SETTINGS
@given(values, st.sampled_from(METHODS))
def test_arbitrary_quantization(value, method):
    config = {"model_type": "mamba", "num_hidden_layers": 2, "hidden_size": 8, "vocab_size": 9}
    check({**config, "quantization_config": value})
    if isinstance(value, dict):
        check({**config, "quantization_config": {**value, "quant_method": method}})
        check(config, quantize_config=value, quantize_config_file="quantize_config.json")


@SETTINGS
@given(
    tensors, st.dictionaries(keys, values, max_size=8), st.dictionaries(keys, values, max_size=8)
)
def test_arbitrary_headers_and_other_documents(held, tokenizer, generation):
    config = {"model_type": "mamba", "num_hidden_layers": 2, "hidden_size": 8, "vocab_size": 9}
    config["quantization_config"] = {"quant_method": "awq", "bits": 4}
    check(config, tensors=held, tokenizer_config=tokenizer, generation_config=generation)


@SETTINGS
@given(st.dictionaries(st.one_of(keys, st.text(max_size=30)), st.one_of(st.none(), st.integers(0))))
def test_arbitrary_file_lists(files):
    check({"model_type": "mamba", "num_hidden_layers": 2, "hidden_size": 8, "vocab_size": 9},
          files=files)  # fmt: skip


@SETTINGS
@given(st.dictionaries(st.sampled_from(GGUF), values))
def test_arbitrary_gguf_metadata(metadata):
    metadata["general.architecture"] = "x"
    facts = check(None, files={"m.gguf": 1}, gguf=metadata)
    json.dumps(facts.model_dump(mode="json", exclude={"quantization": {"raw"}}))
