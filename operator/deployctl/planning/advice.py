"""What a plan warns of: it will run, but not as well, as safely or as cheaply as it could."""

from collections.abc import Iterator
from typing import Any

from deployctl.engines.vllm import DEFAULT_VERSION, flags
from deployctl.engines.vllm.versions import OLDEST, at_least, unproven
from deployctl.errors import Reason
from deployctl.hardware import GpuProfile
from deployctl.model import ModelFacts, meaning
from deployctl.planning import adapters
from deployctl.planning.awq import MARLIN_GROUPS
from deployctl.planning.budget import CONTEXT_GIB, Memory, edge_gib
from deployctl.planning.context import SPARE_GIB, ContextChoice, rounded
from deployctl.planning.kvcache import COMPRESSED
from deployctl.planning.settings import EngineSettings
from deployctl.planning.shape import Shape
from deployctl.planning.states import STATEFUL
from deployctl.planning.tasks import BLIND, blinding
from deployctl.planning.transient import uses_v2_runner
from deployctl.spec import ServiceSpec
from deployctl.units import GIB

# GiB left for what a load brings that the dummy run does not: fragmentation, guided decoding.
LOAD_RESERVE_GIB = 0.25
# A model this small gains nothing from a second card (weights, GiB).
SMALL_MODEL_GIB = 20.0
# Engine arguments that take memory which the plan does not count.
_UNCOUNTED = (
    "speculative_config",
    "data_parallel_size",
    "decode_context_parallel_size",
    "enable_dbo",
)


def safe_utilization(memory: Memory) -> float:
    """The utilization that leaves room for the context, graphs outside the budget and load."""
    outside = 0.0 if memory.graphs_counted else memory.graphs / GIB
    total, free = memory.total / GIB, memory.free / GIB
    share = (free - CONTEXT_GIB - LOAD_RESERVE_GIB - outside) / total
    return max(0.1, int(share * 100) / 100)


def warnings(
    spec: ServiceSpec,
    facts: ModelFacts,
    profile: GpuProfile,
    choice: ContextChoice,
    replicas: int,
) -> Iterator[Reason]:
    """Yields what the user should know although the plan stands."""
    if spec.routing and replicas == 1 and spec.target != "kubernetes":  # where they may come later
        yield Reason(
            "routing_of_one",
            f"there is one engine, which has all requests: --routing {spec.routing} has no effect",
            "give it another with --replicas 2, or leave --routing out",
        )
    memory = choice.memory
    settings = memory.settings
    if choice.fp8 and choice.holds:
        yield Reason(
            "fp8_kv_cache_chosen",
            f"with a KV cache of {settings.dtype} the context would be less than "
            f"{choice.planner.least:,} tokens, so it is FP8: more fits, and answers may differ "
            "where the checkpoint brings no scales",
            "compare answers, or keep the dtype with --kv-cache-dtype auto and a "
            "--max-model-len that fits",
        )
    yield from _engine(settings, memory.shape)
    yield from _facts(facts, memory.shape)
    yield from _compressed(memory)
    yield from _vision(choice)
    yield from _quantization(profile, memory)
    if spec.users is not None and spec.users > settings.batch.sequences:
        yield Reason(
            "users_above_sequences",
            f"a step holds {settings.batch.sequences} sequences at most; of "
            f"{spec.users} users the others wait",
            f"set --max-num-seqs {spec.users}",
        )
    if profile.kind != "cuda":
        return
    if settings.sharding.gpus > profile.max_per_host:
        yield Reason(
            "several_nodes_unproven",
            f"a replica of {settings.sharding.gpus} cards is on several nodes, of which each has "
            f"{profile.max_per_host}: no test has run an engine so",
            "try it before you count on it, or take larger cards that one node holds",
        )
    yield from _sharing(spec, profile, memory)
    yield from _edge(choice)
    safe = safe_utilization(memory)
    if settings.utilization > safe + 0.005 and settings.kv_cache_bytes is None:
        yield Reason(
            "utilization_only_at_startup",
            f"a utilization of {settings.utilization:g} fits at start-up and leaves "
            f"{memory.total / GIB * (1 - settings.utilization):.1f} GiB for the CUDA context"
            + ("" if memory.graphs_counted else ", the CUDA graphs")
            + " and peaks under load",
            f"use --gpu-memory-utilization {safe:g} or less",
        )


def _edge(choice: ContextChoice) -> Iterator[Reason]:
    """Warns where another start with the same flags may end otherwise."""
    memory, users = choice.memory, choice.planner.spec.users or 1
    margin, later = (memory.margin(users, later=found) / GIB for found in (False, True))
    stage, utilization = memory.tightest, f"use --gpu-memory-utilization {safe_utilization(memory)}"
    if later < 0 <= margin:
        yield Reason(
            "later_start_too_full",
            "a start that finds the compile cache gives the KV cache "
            f"{stage.compiling / GIB:.2f} GiB more, and is {-later:.2f} GiB short then",
            utilization,
        )
    edge = edge_gib(memory.pool / GIB)
    if abs(margin) <= edge and memory.pool > 0:
        room = stage.pool - max(SPARE_GIB, 2 * edge) * GIB
        shorter = rounded(stage.layout.longest(room, memory.settings.length))
        full = -memory.overflow() <= edge * GIB
        yield Reason(
            "at_the_edge",
            f"{margin:+.2f} GiB decide, and starts with the same flags differ by {edge:.2g} GiB "
            "either way: another one may end otherwise",
            f"use --max-model-len {shorter}" if shorter and not full else utilization,
        )


def _engine(settings: EngineSettings, shape: Shape) -> Iterator[Reason]:
    version = settings.version
    lora = () if adapters.counted(shape, settings) else ("enable_lora",)
    for name in (*_UNCOUNTED, *lora):
        value = settings.rest.get(name)
        if value is True or value not in (None, False, 1):  # True == 1, of which one rank is said
            yield Reason(
                "memory_not_counted",
                f"the memory that {name} takes or changes is not in this plan",
                "leave room with a lower --gpu-memory-utilization, and read the first log",
            )
    if not at_least(version, OLDEST):
        yield Reason(
            "engine_version_old",
            f"vLLM {version} is older than what the planner models ({OLDEST}); the "
            "figures are rough",
            "use a newer --engine-version",
        )
    elif not flags.known(version):
        yield Reason(
            "flags_unchecked",
            f"the flags of vLLM {version} are unknown, so engine arguments were not checked",
            f"use --engine-version {DEFAULT_VERSION}, or check them by hand",
        )
    elif (why := unproven(version)) is not None:
        yield Reason(
            "engine_unproven",
            f"vLLM {version} is planned from its source; no test of deployctl runs it: {why}",
            f"use --engine-version {DEFAULT_VERSION}, or try it before you rely on it",
        )


def _facts(facts: ModelFacts, shape: Shape) -> Iterator[Reason]:
    if facts.format == "unknown":
        yield Reason(
            "weights_estimated",
            "no weights were found beside config.json: their size is computed from the "
            "architecture",
            "point --model at the whole checkpoint before serving it",
        )
    for remark in meaning.remarks(facts):
        # No refusal: whoever plans from a config written by hand may have left it out.
        if remark.code == "quantization_incomplete":
            yield Reason(remark.code, remark.message, remark.fix)
    if shape.state is None and STATEFUL & set(shape.kinds):
        yield Reason(
            "hybrid_estimate",
            "how large the state is that some layers keep is not known of this model type, so "
            "it is not counted",
            "trust the first start's log over this plan's KV cache",
        )


def _compressed(memory: Memory) -> Iterator[Reason]:
    """Warns where the layers of a compressed cache are grouped in a way that is not planned."""
    shape, version = memory.shape, memory.settings.version
    unread = shape.ratios and not at_least(version, COMPRESSED)
    if unread or (shape.model_type == "deepseek_v4" and not shape.ratios):
        yield Reason(
            "hybrid_estimate",
            f"how vLLM {version} groups the layers of its compressed cache was not read: its "
            "blocks may be a tenth larger than planned"
            if unread
            else "config.json does not say how the cache is compressed (compress_ratios), so it is "
            "planned as if it were not",
            f"use --engine-version {COMPRESSED} or newer, or trust the first start's log"
            if unread
            else "take the author's config.json",
        )


def _vision(choice: ContextChoice) -> Iterator[Reason]:
    """Warns that images are estimated roughly, and says what serving text alone would give."""
    memory, planner = choice.memory, choice.planner
    if memory.shape.vision is None or memory.shape.text_alone:
        return
    without = blinding(memory.settings.version)
    fix = f"take vLLM {BLIND} or newer to serve text alone, without them"
    if without is not None:
        flags, arguments = without
        blind = planner.given(engine_args={**planner.spec.engine_args, **arguments})
        more = blind.measure(memory.settings.sharding).pool - memory.pool
        fix = f"serve text alone with {flags} to do without them"
        fix += f": {more / GIB:.1f} GiB more of KV cache" if more > 0 else ""
    yield Reason(
        "multimodal_estimate",
        "the vision tower's weights and its start-up peak are rough estimates",
        fix,
    )


def _quantization(profile: GpuProfile, memory: Memory) -> Iterator[Reason]:
    settings, quantization = memory.settings, memory.settings.quantization
    forced = settings.rest.get("quantization")
    if forced in ("awq", "gptq") and profile.kind == "cuda" and profile.capability >= 7.5:
        yield Reason(
            "slow_kernel_forced",
            f"quantization={forced} can force a slow kernel (23 against 123 tok/s with "
            "Marlin, vllm#21376)",
            "leave quantization unset; vLLM picks the fastest kernel itself",
        )
    if quantization is None or settings.online:
        return
    four = any(word in quantization.method for word in ("awq", "gptq")) and quantization.bits == 4
    if four and quantization.act_order:
        yield Reason(
            "act_order",
            "act-order GPTQ (desc_act) is slower, most of all with tensor parallelism",
            "prefer a checkpoint made with desc_act=false",
        )
    if four and (quantization.group_size or 0) not in MARLIN_GROUPS:
        yield Reason(
            "slow_group_size",
            f"Marlin has no kernel for a group size of {quantization.group_size}; a "
            "slower one is used",
            "prefer a checkpoint with group size 128",
        )
    if four and profile.kind == "cuda" and profile.memory_gib >= 38:
        tensor = settings.sharding.tensor
        unpacked = 3.6 * memory.tightest.weights * tensor / GIB
        if unpacked < 0.6 * profile.memory_gib * tensor:
            fp8 = profile.capability >= 8.9
            yield Reason(
                "quantized_with_memory_to_spare",
                "BF16 weights would fit too, and on cards like this one 4-bit is slower: "
                "Qwen3-8B on vLLM 0.9.2 gave AWQ against BF16 −7% tok/s on an A100 and −27% on "
                "an H100 (gpustack)",
                "consider the BF16 checkpoint"
                + (", or FP8: 16453 against 9756 tok/s on that H100" if fp8 else ""),
            )


def _sharing(spec: ServiceSpec, profile: GpuProfile, memory: Memory) -> Iterator[Reason]:
    sharding = memory.settings.sharding
    if sharding.tensor < 2:
        return
    link = profile.interconnect
    if link is None or not link.peer_to_peer:
        yield Reason(
            "no_peer_to_peer",
            f"{profile.title} cards cannot write to each other's memory: tensor "
            "parallelism goes through the host, and NCCL can hang when it tries",
            "the plan sets NCCL_P2P_DISABLE=1; prefer replicas where one card is enough",
        )
    weights = sum(s.weights for s in memory.stages) * sharding.tensor / GIB
    if spec.tensor_parallel_size and weights < min(SMALL_MODEL_GIB, 0.5 * profile.memory_gib):
        yield Reason(
            "tensor_parallel_needless",
            f"{weights:.1f} GiB of weights fit one card; tensor parallelism adds "
            "communication to every layer and rarely helps a small model",
            f"use --tensor-parallel-size 1 and {sharding.tensor} replicas",
        )


def defaults(settings: EngineSettings, profile: GpuProfile, shape: Shape | None) -> dict[str, Any]:
    """The settings in force, whether the user or the engine chose them."""
    in_force: dict[str, Any] = {
        "dtype": settings.dtype,
        "kv_cache_dtype": settings.kv_cache_dtype or "auto",
        "max_num_seqs": settings.batch.sequences,
        "max_num_batched_tokens": settings.batch.tokens,
        "enforce_eager": settings.eager,
    }
    if profile.kind == "cuda":
        in_force["gpu_memory_utilization"] = settings.utilization
        if shape is not None:
            in_force["model_runner"] = "v2" if uses_v2_runner(shape, settings) else "v1"
    return in_force
