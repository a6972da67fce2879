"""What layers of each kind keep, by version; the figures are vLLM's own, asked for without a start.

tests/e2e/test_cache_against_vllm.py asks the installed engine about whole models.
"""

import math

import pytest

from deployctl.hardware import load_profile
from deployctl.model import Documents, facts_from
from deployctl.planning.kvcache import layout
from deployctl.planning.pages import state_bytes
from deployctl.planning.settings import Sharding, resolve
from deployctl.planning.shape import shape_of
from deployctl.spec import ServiceSpec
from hybrid_parts import BASE, GEMMA4, GRANITE, KIMI, NEMOTRON, NEXT, SPARSE


@pytest.fixture
def laid():
    """`laid(config, version, …)`: the layout on a card, and the plan's shape and settings."""

    def make(config, version="0.32.0", *, tensor=1, dtype=None, cpu=False, **arguments):
        documents = Documents(
            source="/m", local=True, config=config, files={"model.safetensors": 1}
        )
        facts = facts_from(documents)
        shape = shape_of(facts.architecture)
        profile = load_profile("cpu" if cpu else "rtx4090")
        spec = ServiceSpec(
            model="/m",
            gpu=profile.name,
            max_model_len=4096,
            engine_version=version,
            kv_cache_dtype=dtype,
            engine_args=arguments,
        )
        settings = resolve(spec, facts, profile, Sharding(tensor))
        return layout(shape, settings, (0, shape.layers), cpu=cpu)

    return make


def test_pages_of_states_are_those_of_attention_blocks_that_grew(laid):
    # A state of 2,149,888 bytes, and 4,096 bytes a token: 525 tokens, in steps of 16.
    found = laid(GRANITE)
    assert [page.kind for page in found.groups] == ["state"] * 9 + ["full"]
    assert (found.groups[0].nbytes, found.groups[-1].tokens) == (528 * 4096, 528)
    assert found.block_bytes == 4 * 528 * 4096
    assert found.token_bytes == 4 * 4096  # a state does not grow
    # A CPU's blocks are 128 tokens, and grow in steps of that; its states are in float32.
    assert laid(GRANITE, cpu=True).groups[-1].tokens == 1152
    # A given block is a step too, from 0.20 on; before, all that counts is that it suffices.
    assert laid(GRANITE, block_size=256).groups[-1].tokens == 768
    assert laid(GRANITE, "0.19.0", block_size=256).groups[-1].tokens == 528


@pytest.mark.parametrize(
    ("version", "prefix", "states"),
    [
        ("0.11.0", True, 1),  # there was none
        ("0.19.0", None, 1),  # off unless asked for
        ("0.19.0", True, 0),  # one for every block
        ("0.26.0", None, 0),  # on by itself
        ("0.28.0", None, 2),  # the last ones
        ("0.32.0", None, 3),  # and a checkpoint
        ("0.32.0", False, 1),
    ],
)
def test_prefix_caching_decides_how_many_states_a_request_keeps(laid, version, prefix, states):
    wish = {} if prefix is None else {"enable_prefix_caching": prefix}
    found = laid(GRANITE, version, **wish)
    assert found.groups[0].states == states
    if not states:  # blocks are whole chunks of the kernel
        assert found.groups[0].tokens == found.groups[-1].tokens == 768
        assert found.request_blocks(4096) == 10 * 6
    else:
        assert found.request_blocks(4096) == 9 * states + 8


def test_the_mode_of_states_can_be_chosen_where_there_is_a_choice(laid):
    assert laid(GRANITE, "0.28.0", mamba_cache_mode="all").groups[0].states == 0
    assert laid(GRANITE, "0.32.0", mamba_cache_mode="all").groups[0].states == 3
    # Kimi's layers cannot keep the state of every block.
    assert laid(KIMI, "0.28.0", mamba_cache_mode="all").groups[0].states == 2
    assert laid(KIMI, "0.13.0", enable_prefix_caching=True).groups[0].states == 1


@pytest.mark.parametrize(
    ("version", "said", "width"),
    [
        ("0.12.0", None, 2),
        ("0.19.0", None, 2),
        ("0.20.0", None, 4),
        ("0.19.0", "float32", 4),
        ("0.32.0", "bfloat16", 2),
    ],
)
def test_nemotron_keeps_its_state_as_the_checkpoint_or_the_version_say(laid, version, said, width):
    config = {**NEMOTRON, "mamba_ssm_cache_dtype": said}
    bare = (8192 + 2 * 8 * 128) * 3 * 2 + 128 * 64 * 128 * width
    tokens = math.ceil(bare / 4096 / 16) * 16
    assert laid(config, version).groups[0].nbytes == tokens * 4096
    asked = laid(config, version, mamba_ssm_cache_dtype="float32").groups[0].nbytes
    assert asked >= laid(config, version).groups[0].nbytes


def test_groups_of_mamba_are_repeated_where_ranks_outnumber_them(laid):
    lone = shape_state(GRANITE)
    assert lone(1) == (8192 + 256) * 3 * 2 + 128 * 64 * 128 * 2
    assert lone(4) == (8192 + 4 * 256) // 4 * 3 * 2 + 128 * 64 * 128 // 4 * 2


def shape_state(config):
    documents = Documents(source="/m", local=True, config=config, files={"model.safetensors": 1})
    facts = facts_from(documents)
    spec = ServiceSpec(model="/m", gpu="rtx4090", engine_version="0.32.0")
    state, profile = shape_of(facts.architecture).state, load_profile("rtx4090")
    return lambda ranks: state_bytes(state, resolve(spec, facts, profile, Sharding(ranks)))


@pytest.mark.parametrize(
    ("version", "tokens"), [("0.11.0", 1888), ("0.19.0", 1920), ("0.32.0", 1920)]
)
def test_kimi_pages_hold_whole_kernel_blocks_of_latent_attention(laid, version, tokens):
    found = laid(KIMI, version, enable_prefix_caching=False)
    assert found.groups[-1].tokens == tokens
    assert found.groups[0].nbytes == tokens * 1152
    assert found.block_bytes == tokens * 1152  # groups of one layer


def test_sparse_attention_keeps_an_index_beside_its_latent_vectors(laid):
    found = laid(SPARSE)
    assert len(found.groups) == 1
    assert found.block_bytes == 4 * 64 * (1152 + 132)
    assert laid(SPARSE, dtype="fp8").block_bytes == 4 * 64 * (656 + 132)
    assert laid(SPARSE, "0.11.0").block_bytes == 4 * 64 * (656 + 132)
    # GLM's layers share what another has chosen.
    shared = {**SPARSE, "index_topk_pattern": "FSSF"}
    assert laid(shared).block_bytes == 64 * (4 * 1152 + 2 * 132)
    every = {**SPARSE, "index_topk_freq": 2, "index_skip_topk_offset": 1}
    assert laid(every).block_bytes == 64 * (4 * 1152 + 2 * 132)


def test_full_layers_of_gemma_4_have_heads_of_their_own(laid):
    found = laid(GEMMA4)
    window, full = found.groups[0], found.groups[-1]
    assert (window.kind, window.tokens, window.nbytes) == ("window", 16, 2 * 16 * 256 * 2 * 16)
    # Half as large a token, so twice as many of them in a page.
    assert (full.kind, full.tokens, full.nbytes) == ("full", 32, window.nbytes)
    # The last layers may read what others cached: here ten sliding ones and one full are left.
    assert len(laid({**GEMMA4, "num_kv_shared_layers": 1}).groups) == 11
    assert len(found.groups) == 6


def test_a_page_that_divides_no_other_is_padded(laid):
    config = {**GEMMA4, "num_attention_heads": 24, "num_key_value_heads": 12}
    found = laid(config)
    assert {page.nbytes for page in found.groups} == {2 * 12 * 256 * 2 * 16}
    assert {page.tokens for page in found.groups} == {16}


def test_layers_may_keep_a_state_and_every_token(laid):
    config = {
        **GRANITE,
        "architectures": ["FalconH1ForCausalLM"],
        "model_type": "falcon_h1",
        "num_hidden_layers": 3,
        "layer_types": None,
        "mamba_d_ssm": 4096,
        "mamba_n_heads": 64,
    }
    found = laid(config)
    assert [page.kind for page in found.groups] == ["state", "full"]
    assert found.block_bytes == 3 * found.groups[0].nbytes


def test_without_attention_a_request_is_one_state(laid):
    config = {
        **BASE,
        "architectures": ["MambaForCausalLM"],
        "model_type": "falcon_mamba",
        "hidden_size": 4096,
        "num_hidden_layers": 2,
        "intermediate_size": 8192,
        "state_size": 16,
        "conv_kernel": 4,
    }
    found = laid(config)
    assert [page.kind for page in found.groups] == ["state"]
    assert found.block_bytes == 2 * (8192 * 3 + 8192 * 16) * 2
    assert found.request_blocks(100_000) == 1
    assert found.token_bytes == 0


def test_short_convolutions_and_lightning_attention_keep_a_state(laid):
    lfm = {
        **BASE,
        "architectures": ["Lfm2ForCausalLM"],
        "model_type": "lfm2",
        "hidden_size": 2048,
        "num_hidden_layers": 4,
        "layer_types": ["conv", "full_attention", "conv", "conv"],
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "conv_L_cache": 3,
    }
    found = laid(lfm)  # 8,192 bytes of state fit into a block of 16 tokens
    assert [page.kind for page in found.groups] == ["state"] * 3 + ["full"]
    assert found.block_bytes == 16 * 2 * 8 * 64 * 2
    minimax = {
        **BASE,
        "architectures": ["MiniMaxText01ForCausalLM"],
        "model_type": "minimax_text_01",
        "hidden_size": 6144,
        "num_hidden_layers": 2,
        "attn_type_list": [0, 1],
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 128,
    }
    found = laid(minimax, "0.19.0")
    assert found.groups[0].nbytes == 64 * 128 * 128 * 2


def test_a_state_that_is_not_known_is_said_to_be_missing(plan):
    config = {
        **BASE,
        "architectures": ["NewForCausalLM"],
        "model_type": "new",
        "hidden_size": 2048,
        "num_hidden_layers": 4,
        "layer_types": ["linear_attention", "full_attention"] * 2,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    }
    found = plan(config, max_model_len=4096)
    assert "hybrid_estimate" in [warning.code for warning in found.warnings]
    known = plan(GRANITE, max_model_len=4096)
    assert "hybrid_estimate" not in [warning.code for warning in known.warnings]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (NEXT, ["--mamba-ssm-cache-dtype", "float32"]),
        (GRANITE, ["--no-enable-prefix-caching", "--mamba-ssm-cache-dtype", "float32"]),
    ],
    ids=["delta nets", "mamba2"],
)
def test_a_cpu_is_told_how_to_keep_states(plan, config, expected):
    found = plan(config, "cpu")
    assert [word for word in found.engine.args if word in expected] == expected
    assert any("kept as every CPU can" in note for note in found.notes)
    assert "--mamba-ssm-cache-dtype" not in plan(config, "h100").engine.args


def test_what_the_user_says_of_states_on_a_cpu_stands(plan):
    args = plan(GRANITE, "cpu", engine_args={"enable_prefix_caching": True}).engine.args
    assert "--enable-prefix-caching" in args
    assert "--no-enable-prefix-caching" not in args


def test_states_without_a_kernel_for_cpus_are_refused(plan):
    jamba = {**BASE, "architectures": ["JambaForCausalLM"], "model_type": "jamba",
             "hidden_size": 256, "num_hidden_layers": 8, "num_attention_heads": 4,
             "mamba_d_state": 16, "intermediate_size": 512}  # fmt: skip
    refused = plan(jamba, "cpu")
    assert [reason.code for reason in refused.reasons] == ["no_kernel_on_cpu"]
    assert plan(jamba, "h100").verdict == "fits"
