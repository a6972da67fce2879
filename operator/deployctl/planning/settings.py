"""What will be in force: the user's settings, and what vLLM chooses where he says nothing."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deployctl.engines.vllm import DEFAULT_VERSION
from deployctl.engines.vllm.flags import MANAGED
from deployctl.engines.vllm.versions import at_least, behaviour
from deployctl.errors import Reason
from deployctl.hardware import GpuProfile
from deployctl.model import ModelFacts, Quantization
from deployctl.model.tables import TYPES
from deployctl.planning.linear import DTYPE_BYTES
from deployctl.planning.states import arguments_on_a_cpu
from deployctl.spec import ServiceSpec
from deployctl.spec.service import RECORDED
from deployctl.units import GIB

CPU_KV_CACHE_GIB = 1.0
_NAMES = {"half": "float16", "float": "float32"}
# Engine arguments in the order in which they are written. One that has no field in the spec is
# chosen in arguments.py.
ARGUMENTS = (
    "served_model_name",
    "trust_remote_code",
    "quantization",
    "max_model_len",
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "gpu_memory_utilization",
    "max_num_seqs",
    "max_num_batched_tokens",
    "dtype",
    "kv_cache_dtype",
    "enforce_eager",
    "kv_cache_memory_bytes",
    "disable_access_log_for_endpoints",
    "otlp_traces_endpoint",
)
# Those that may be given as a field of the spec or with --engine-arg, and mean the same.
SHARED = tuple(
    name
    for name in ARGUMENTS
    if name in ServiceSpec.model_fields and name.replace("_", "-") not in MANAGED
)
# A compilation_config with which the compiler joins kernels without timing them.
UNTIMED = '{"inductor_compile_config":{"combo_kernels":true,"benchmark_combo_kernel":false}}'
_SUFFIXES = {"k": 1000, "m": 1000**2, "g": 1000**3, "K": 1024, "M": 1024**2, "G": 1024**3}


@dataclass(frozen=True)
class Batch:
    """What one step may hold."""

    tokens: int
    sequences: int


@dataclass(frozen=True)
class Sharding:
    """How one replica is cut up."""

    tensor: int = 1
    pipeline: int = 1

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.tensor * self.pipeline

    def stage_layers(self, layers: int) -> tuple[int, ...]:
        """Layers of each pipeline stage."""
        each, rest = divmod(layers, self.pipeline)
        sizes = [each] * self.pipeline
        # With a remainder vLLM grows the stages before the last, from the back.
        for index in range(2, rest + 2):
            sizes[-index % self.pipeline] += 1
        return tuple(sizes)


@dataclass(frozen=True)
class EngineSettings:
    """What the engine runs with, however it came about."""

    version: str
    sharding: Sharding
    dtype: str
    length: int  # tokens of context
    batch: Batch
    utilization: float
    kv_cache_dtype: str | None
    eager: bool
    quantization: Quantization | None
    online: bool  # weights are quantized while they load
    hybrid: bool
    kv_cache_bytes: float | None  # set outright: no profiling, or a CPU
    block_tokens: int | None  # None: the platform's own
    graph_limit: int | None  # largest batch of a CUDA graph, where the user says it
    offload: float  # bytes of weights kept in the host's memory, a GPU
    held: float  # bytes that others have of each GPU
    environment: Mapping[str, str]  # the engine's
    rest: Mapping[str, Any]  # engine arguments, by the names of Python

    @property
    def dtype_bytes(self) -> int:
        """Bytes of one value in the engine's dtype."""
        return DTYPE_BYTES.get(self.dtype, 2)

    @property
    def whole_experts(self) -> bool:
        """Whether each rank has some of the experts, uncut (expert parallelism)."""
        return self.rest.get("enable_expert_parallel") is True

    @property
    def untimed_kernels(self) -> bool:
        """Whether the compiler is told not to time combo kernels (`UNTIMED`)."""
        text = str(self.rest.get("compilation_config", ""))
        return re.search(r'"benchmark_combo_kernel"\s*:\s*false', text) is not None

    def switch(self, name: str) -> bool | None:
        """A variable that is 0 or 1; None when it is unset or something else."""
        return {"0": False, "1": True}.get(self.environment.get(name, ""))


def fold(spec: ServiceSpec) -> tuple[ServiceSpec, list[Reason]]:
    """Moves engine arguments that are fields of the spec to where they belong."""
    rest = dict(spec.engine_args)
    update: dict[str, Any] = {}
    problems: list[Reason] = []
    for name in list(rest):
        if name not in SHARED or _needs_value(name, rest[name]):
            continue
        value = _number(rest.pop(name))
        current = getattr(spec, name)
        if current not in (None, False) and current != value:
            problems.append(
                Reason(
                    "flag_conflict",
                    f"{name} is {current} and, as an engine argument, {value}",
                    "set it once",
                )
            )
            continue
        update[name] = value
    if not update:
        return spec, problems
    try:
        folded = ServiceSpec.model_validate(
            {**spec.model_dump(exclude_unset=True), **update, "engine_args": rest},
            context=RECORDED,  # it may be one: its own settings were accepted once
        )
    except ValueError:
        problems.append(
            Reason(
                "wrong_flag_value",
                "an engine argument has a value that vLLM does not take: "
                + ", ".join(f"{name}={value!r}" for name, value in update.items()),
                "give it a number in range",
            )
        )
        return spec.model_copy(update={"engine_args": rest}), problems
    return folded, problems


def _needs_value(name: str, value: Any) -> bool:
    """Whether a name stands alone that needs a value: it is refused as a flag."""
    return isinstance(value, bool) and ServiceSpec.model_fields[name].annotation is not bool


def _number(value: Any) -> Any:
    plain = isinstance(value, str) and len(value) < 20
    if plain and value[:-1].replace(".", "", 1).isdecimal():
        scale = _SUFFIXES.get(value[-1])
        return int(float(value[:-1]) * scale) if scale else value
    return value


def resolve(
    spec: ServiceSpec, facts: ModelFacts, profile: GpuProfile, sharding: Sharding
) -> EngineSettings:
    """Fills in what vLLM would choose."""
    version = spec.engine_version or DEFAULT_VERSION
    rest, architecture = spec.engine_args, facts.architecture
    if profile.kind == "cpu":
        rest = {**arguments_on_a_cpu(architecture, version), **rest}
    own = architecture.max_position_embeddings if architecture else 2048
    length = spec.max_model_len or own
    quantization, online = _quantization(facts, rest)
    return EngineSettings(
        version=version,
        sharding=sharding,
        dtype=resolved_dtype(spec.dtype, facts, profile),
        length=length,
        batch=batch(spec, profile, version, length, sharding.gpus),
        utilization=spec.gpu_memory_utilization
        or float(behaviour("gpu_memory_utilization", version)),
        kv_cache_dtype=_cache_dtype(spec.kv_cache_dtype, quantization, version),
        eager=spec.enforce_eager or _graph_limit(rest) == 0,
        quantization=quantization,
        online=online,
        hybrid=rest.get("disable_hybrid_kv_cache_manager") is not True,
        kv_cache_bytes=_cache_bytes(spec, rest, profile),
        block_tokens=_block_tokens(rest),
        graph_limit=_graph_limit(rest),
        offload=_offload(rest) if profile.kind == "cuda" else 0.0,
        held=(spec.gpu_memory_held_gib or 0.0) * GIB if profile.kind == "cuda" else 0.0,
        environment={**({"HF_HUB_OFFLINE": "1"} if spec.offline else {}), **spec.env},
        rest=rest,
    )


def _quantization(facts: ModelFacts, rest: dict[str, Any]) -> tuple[Quantization | None, bool]:
    """The checkpoint's quantization, or one made while loading."""
    asked = rest.get("quantization")
    if facts.quantization is None and asked in ("fp8", "experts_int8", "ptpc_fp8"):
        return Quantization(method="fp8", bits=8), True
    if facts.quantization is None and asked == "bitsandbytes":
        return Quantization(method="bitsandbytes", bits=4), True
    return facts.quantization, False


def _graph_limit(rest: dict[str, Any]) -> int | None:
    """The largest CUDA graph that the user asks for; 0 turns graphs off."""
    largest = rest.get("max_cudagraph_capture_size")
    sizes = rest.get("cudagraph_capture_sizes")
    if isinstance(sizes, list):
        whole = [s for s in sizes if isinstance(s, int) and not isinstance(s, bool)]
        largest = max(whole, default=None)
    if isinstance(largest, bool) or not isinstance(largest, int):
        return None
    return max(0, min(largest, 1 << 20))


def _cache_dtype(asked: str | None, quantization: Quantization | None, version: str) -> str | None:
    """ModelOpt checkpoints bring the cache's dtype (vllm/utils/torch_utils.py, from 0.14 on), those
    of compressed-tensors a scheme of it (layers/attention/attention.py): before 0.22 whatever is
    asked.
    """
    if quantization is not None and quantization.method == "compressed-tensors":
        brought = quantization.raw.get("kv_cache_scheme") is not None
        heeded = asked in (None, "auto") or not at_least(version, "0.22.0")
        return "fp8" if brought and heeded and at_least(version, "0.15.0") else asked
    if asked not in (None, "auto") or quantization is None or not at_least(version, "0.14.0"):
        return asked
    if not quantization.method.startswith("modelopt"):
        return asked
    inner = quantization.raw.get("quantization")
    for place in (inner if isinstance(inner, dict) else {}, quantization.raw):
        scheme = place.get("kv_cache_scheme") or place.get("kv_cache_quant_algo")
        eight = isinstance(scheme, dict) and scheme.get("num_bits") == 8
        if eight or str(scheme).lower() == "fp8":
            return "fp8"
    return asked


def _offload(rest: dict[str, Any]) -> float:
    """Bytes of weights that --cpu-offload-gb moves to the host; 0 when it is not set."""
    given = rest.get("cpu_offload_gb")
    if isinstance(given, bool) or not isinstance(given, int | float):
        return 0.0
    return float(given) * GIB if 0 < given < 1e6 else 0.0


def _block_tokens(rest: dict[str, Any]) -> int | None:
    given = rest.get("block_size")
    return given if isinstance(given, int) and 1 <= given <= 4096 else None


def _cache_bytes(spec: ServiceSpec, rest: dict[str, Any], profile: GpuProfile) -> float | None:
    given = rest.get("kv_cache_memory_bytes")
    number = _number(given)
    if isinstance(number, int | float) and not isinstance(number, bool) and number > 0:
        return float(number)
    if profile.kind == "cpu":
        return (spec.kv_cache_gib or CPU_KV_CACHE_GIB) * GIB
    return None


def resolved_dtype(asked: str | None, facts: ModelFacts, profile: GpuProfile) -> str:
    """The dtype in force (vllm/config/model.py, _resolve_auto_dtype).

    `auto` is the checkpoint's own; float32 becomes bfloat16, and a card without that gets
    float16 instead, or float32 where the model forbids float16.
    """
    if asked and asked != "auto":
        return _NAMES.get(asked, asked)
    known = facts.architecture
    own = _NAMES.get(known.dtype, known.dtype) if known else "bfloat16"
    if own not in ("float32", "bfloat16"):
        return own
    if not profile.before_ampere:
        return "bfloat16"
    return "float32" if known and known.model_type in TYPES["no_float16"] else "float16"


def batch(spec: ServiceSpec, profile: GpuProfile, version: str, length: int, world: int) -> Batch:
    """Tokens and sequences a step (vllm/engine/arg_utils.py, get_batch_defaults).

    The card's memory decides, A100 and GB10 excepted; what is unset is clamped to what is possible.
    """
    tokens, sequences = 2048, 256
    gib = profile.memory_gib
    a100 = "a100" in f"{profile.name} {profile.title}".lower()
    small = a100 and behaviour("batch_a100_is_small", version)
    small = small or (profile.capability == 12.1 and behaviour("batch_gb10_is_small", version))
    if profile.kind == "cpu":
        tokens, sequences = 2048 * world, 128 * world
        if not at_least(version, "0.10.0"):
            tokens, sequences = 2048, 256
    elif gib >= 160 and behaviour("batch_160_gib_tier", version):
        tokens, sequences = 16384, 1024
    elif gib >= 70 and not small:
        tokens, sequences = 8192, 1024
    # V1 took cards below 8.0 from 0.10.2 on (engine/arg_utils.py, _is_v1_supported_oracle).
    v0 = profile.before_ampere and not at_least(version, "0.10.2")
    if v0 or behaviour("engine", version) == "v0":
        # Up to 32768 tokens V0 does not chunk: the whole prompt goes into one step.
        tokens, sequences = (max(2048, length) if length <= 32768 else 2048), 256
    sequences_set, tokens_set = spec.max_num_seqs, spec.max_num_batched_tokens
    tokens = tokens_set or tokens
    sequences = sequences_set or min(sequences, tokens)
    if tokens_set is None:
        tokens = max(1, min(tokens, sequences * max(1, length)))
    if sequences_set is None:
        sequences = min(sequences, tokens)
    return Batch(tokens, sequences)
