"""States: what a layer keeps of a request, of one size whatever the request's length.

Linear attention, Mamba and short convolutions keep the last inputs of a convolution and, most
of them, a recurrent state. Their shapes and dtypes are those of MambaStateShapeCalculator and
MambaStateDtypeCalculator (vllm/model_executor/layers/mamba/mamba_utils.py), with the numbers
that each model class hands to them (get_mamba_state_shape_from_config of vllm/…/models/*.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deployctl.engines.vllm import flags
from deployctl.model import Architecture
from deployctl.model.fields import count
from deployctl.planning.linear import DTYPE_BYTES

# Kinds of layers that keep one; "hybrid" layers keep every token as well.
STATEFUL = frozenset({"linear_attention", "conv", "hybrid"})
CACHELESS = frozenset({"mlp", "moe"})  # these keep nothing at all
# Read at these names, in the families that share one kind of state.
_HEADS = ("mamba_n_heads", "n_mamba_heads", "mamba_num_heads")
_HEAD_DIM = ("mamba_d_head", "mamba_headdim", "mamba_head_dim")
_GROUPS = ("mamba_n_groups", "mamba_ngroups", "n_groups")
_SIZE = ("mamba_d_state", "ssm_state_size", "state_size")
_KERNEL = ("mamba_d_conv", "conv_kernel")
BY_VERSION = "by_version"  # a dtype that the engine chooses where the checkpoint says none


@dataclass(frozen=True)
class State:
    """The values that one request keeps in one layer, on all ranks together."""

    kind: str  # gated_delta_net, kimi_delta, mamba1, mamba2, short_conv, lightning
    channels: int = 0  # of the convolution, groups aside
    kernel: int = 1  # inputs that the convolution sees; it keeps all but one
    recurrent: int = 0  # values of the recurrent state
    groups: int = 0  # of Mamba2: inputs that heads share
    group_channels: int = 0
    chunk: int = 2048  # tokens that a kernel takes at once (vllm/config/model.py)
    dtype: str = "auto"  # of the recurrent state, as the checkpoint says; auto: the convolution's
    # Of the weights around it (planning/mixers.py)
    inner: int = 0  # width of what the layer puts out
    heads: int = 0
    rank: int = 0  # of low-rank projections; of a gated delta net, the width of a head

    def channels_of(self, tensor: int) -> int:
        """Channels of the convolution on each of `tensor` ranks, groups included."""
        # Groups that do not divide are repeated, one for each rank.
        groups = self.groups if self.groups % tensor == 0 else tensor
        return (self.channels + groups * self.group_channels) // tensor


def arguments_on_a_cpu(architecture: Architecture | None, version: str) -> dict[str, Any]:
    """Engine arguments, by the names of Python, with which a CPU keeps states as planned.

    Where the CPU has AVX-512 BF16, vLLM keeps recurrent states in float32 whatever was asked for
    (vllm/platforms/cpu.py): asked for, every CPU does. Its Mamba2 kernel for CPUs returns no state
    inside of a prompt, which prefix caching reads: the engine dies with the first long prompt
    (mamba/ops/cpu/mamba_ssm.py and mamba_mixer2.py, 0.32 and 0.33).
    """
    if architecture is None:
        return {}
    state = state_of(
        architecture.raw,
        architecture.text_type or architecture.model_type,
        architecture.hidden_size,
        (architecture.num_heads, architecture.head_dim),
    )
    chosen: dict[str, Any] = {}
    if state is not None and state.kind not in ("short_conv", "lightning"):
        chosen["mamba_ssm_cache_dtype"] = "float32"
    if state is not None and state.kind == "mamba2":
        chosen["enable_prefix_caching"] = False
    known = flags.known(version)
    return {k: v for k, v in chosen.items() if known and flags.flag(k.replace("_", "-"), version)}


def state_of(raw: Mapping[str, Any], kind: str, hidden: int, head: tuple[int, int]) -> State | None:
    """Reads a decoder's state; None where it has none, or one that is not known.

    `kind` is the type of the text part, `head` its attention heads and their width.
    """
    if count(raw, "linear_num_value_heads"):
        return _gated_delta_net(raw)
    delta = raw.get("linear_attn_config")
    if isinstance(delta, Mapping):  # Kimi Delta Attention, whose recurrent state is in float32
        heads, width = count(delta, "num_heads"), count(delta, "head_dim")
        kernel = _kernel(delta, "short_conv_kernel_size")
        return State(
            "kimi_delta", 3 * heads * width, kernel, heads * width**2, dtype="float32",
            inner=heads * width, heads=heads, rank=width,
        )  # fmt: skip
    if kind.startswith("lfm2"):
        inner = count(raw, "conv_dim", default=hidden)
        return State("short_conv", inner, _kernel(raw, "conv_L_cache"), inner=inner)
    if count(raw, *_HEADS) or kind == "mamba2":
        return _mamba2(raw, kind, hidden)
    if count(raw, "mamba_d_state") or kind in ("mamba", "falcon_mamba"):
        inner = count(raw, "intermediate_size", default=2 * hidden)
        if kind not in ("mamba", "falcon_mamba"):
            inner = count(raw, "mamba_expand", default=2) * hidden
        rank = count(raw, "mamba_dt_rank", "time_step_rank", default=-(-hidden // 16))
        size = count(raw, *_SIZE, default=16)
        return State("mamba1", inner, _kernel(raw, *_KERNEL), inner * size, inner=inner, rank=rank)
    if kind.startswith("minimax") and isinstance(raw.get("attn_type_list"), list):
        return State("lightning", recurrent=head[0] * head[1] ** 2, inner=head[0] * head[1])
    return None


def _gated_delta_net(raw: Mapping[str, Any]) -> State:
    values = count(raw, "linear_num_value_heads")
    keys = count(raw, "linear_num_key_heads", default=values)
    key_dim = count(raw, "linear_key_head_dim", default=128)
    value_dim = count(raw, "linear_value_head_dim", default=128)
    return State(
        "gated_delta_net",
        channels=2 * keys * key_dim + values * value_dim,
        kernel=_kernel(raw, "linear_conv_kernel_dim"),
        recurrent=values * value_dim * key_dim,
        dtype=_dtype(raw, "mamba_ssm_dtype"),
        inner=values * value_dim,
        heads=values,
        rank=value_dim,
    )


def _mamba2(raw: Mapping[str, Any], kind: str, hidden: int) -> State:
    heads = count(raw, *_HEADS, "num_heads")
    width = count(raw, *_HEAD_DIM, "head_dim")
    size = count(raw, *_SIZE, default=128)
    inner, dtype = heads * width, _dtype(raw, "mamba_ssm_cache_dtype")
    if kind == "nemotron_h":
        dtype = dtype if dtype != "auto" else BY_VERSION
    else:
        expand = count(raw, "mamba_expand", "expand", default=2)
        inner = count(raw, "mamba_d_ssm", default=expand * hidden)
    return State(
        "mamba2",
        channels=inner,
        kernel=_kernel(raw, *_KERNEL),
        recurrent=heads * width * size,
        groups=max(1, count(raw, *_GROUPS, default=1)),
        group_channels=2 * size,
        chunk=max(1, min(1 << 16, count(raw, "mamba_chunk_size", "chunk_size", default=2048))),
        dtype=dtype if kind == "nemotron_h" else "auto",
        inner=inner,
        heads=heads,
    )


def _kernel(raw: Mapping[str, Any], *names: str) -> int:
    return max(1, min(64, count(raw, *names, default=4)))


def _dtype(raw: Mapping[str, Any], name: str) -> str:
    value = raw.get(name)
    return value if isinstance(value, str) and value in DTYPE_BYTES else "auto"
