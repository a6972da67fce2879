"""The memory of each GPU of one replica, added up as vLLM does.

    requested  = total × gpu_memory_utilization
    KV cache   = requested − weights − non-torch − activation peak − graphs (since 0.21)

Every pipeline stage is counted on its own; the stage with the fewest blocks decides, as
vLLM gives all of them the same number.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from deployctl.engines.vllm.versions import behaviour
from deployctl.hardware import GpuProfile
from deployctl.model import ModelFacts
from deployctl.planning import transient
from deployctl.planning.kvcache import Layout, cache_bytes, layout
from deployctl.planning.linear import DTYPE_BYTES
from deployctl.planning.plan import MemoryBudget
from deployctl.planning.shape import Shape
from deployctl.planning.transient import Batch, Engine
from deployctl.planning.weights import Parts, Sharding, parts
from deployctl.units import GIB


@dataclass(frozen=True)
class Setting:
    """What the memory depends on besides model and card."""

    version: str
    sharding: Sharding
    batch: Batch
    length: int
    utilization: float
    dtype: str
    kv_cache_dtype: str | None
    eager: bool
    hybrid: bool = True
    block_tokens: int = 16
    kv_cache_bytes: float | None = None  # set outright: no profiling, or a CPU
    environment: Mapping[str, str] = field(default_factory=dict)
    graph_limit: int | None = None  # largest batch of a CUDA graph, where the user says it
    offload: float = 0.0  # bytes of weights kept in the host's memory, a GPU


@dataclass(frozen=True)
class Stage:
    """One GPU of a pipeline stage, in bytes."""

    weights: float
    non_torch: float
    activation: float
    graphs: float
    pool: float  # what is left for the KV cache; negative when nothing is
    layout: Layout


@dataclass(frozen=True)
class Memory:
    """The memory of a replica."""

    total: float
    requested: float
    stages: tuple[Stage, ...]
    graphs_counted: bool
    load_peak: float  # bytes held at once while weights load
    setting: Setting

    @property
    def tightest(self) -> Stage:
        """The stage that decides how many blocks there are."""
        return min(self.stages, key=lambda s: (s.layout.blocks(s.pool), s.pool))

    @property
    def pool(self) -> float:
        """Bytes of KV cache on the deciding GPU; negative when the weights leave none."""
        return self.tightest.pool

    @property
    def longest(self) -> int:
        """The longest request that fits, as far as anybody would ask."""
        stage = self.tightest
        return stage.layout.longest(stage.pool, 1 << 24)

    @property
    def fits(self) -> bool:
        """Whether vLLM would start with this context."""
        stage = self.tightest
        return stage.pool > 0 and stage.layout.holds(stage.pool, self.setting.length)

    @property
    def concurrency(self) -> float:
        """Requests of full context held at once."""
        stage = self.tightest
        return stage.layout.concurrency(max(0.0, stage.pool), self.setting.length)

    def report(self) -> MemoryBudget:
        """The plan's own form: GiB on the deciding GPU, where the parts add up to the budget."""
        stage = self.tightest
        return MemoryBudget(
            gpu_total_gib=round(self.total / GIB, 4),
            budget_gib=round(self.requested / GIB, 4),
            weights_gib=round(stage.weights / GIB, 4),
            non_torch_gib=round(stage.non_torch / GIB, 4),
            activation_gib=round(stage.activation / GIB, 4),
            cudagraph_gib=round(stage.graphs / GIB, 4),
            kv_cache_gib=round(stage.pool / GIB, 4),
            kv_cache_tokens=stage.layout.tokens(max(0.0, stage.pool), self.setting.length),
            kv_bytes_per_token=stage.layout.token_bytes,
        )


def memory(facts: ModelFacts, shape: Shape, profile: GpuProfile, setting: Setting) -> Memory:
    """Adds up one replica."""
    total = profile.memory_gib * GIB
    requested = float(math.ceil(total * setting.utilization))
    width = DTYPE_BYTES.get(setting.dtype, 2)
    engine = Engine(setting.version, facts.quantization is not None, setting.environment)
    in_budget = transient.graphs_in_budget(shape, engine)
    sizes = setting.sharding.stage_layers(shape.layers)
    scale = _measured(facts, shape, setting, width)
    world = setting.sharding.tensor * setting.sharding.pipeline
    stages = []
    for index, count in enumerate(sizes):
        own = stage_parts(facts, shape, profile, setting, index)
        weights = own.total + (scale - 1) * own.layers
        weights -= min(setting.offload, own.layers)
        start = sum(sizes[:index])
        cache = layout(
            shape,
            version=setting.version,
            tensor=setting.sharding.tensor,
            layers=(start, start + count),
            value_bytes=cache_bytes(setting.kv_cache_dtype, setting.dtype),
            batched_tokens=setting.batch.tokens,
            block_tokens=setting.block_tokens,
            hybrid=setting.hybrid,
            overlapped=profile.kind == "cuda",
        )
        if profile.kind == "cpu":
            pool = setting.kv_cache_bytes or 0.0
            stages.append(Stage(weights, 0.0, 0.0, 0.0, pool, cache))
            continue
        peak = transient.activation(
            shape,
            setting.batch,
            profile,
            engine,
            tensor=setting.sharding.tensor,
            last_stage=index == len(sizes) - 1,
            dtype_bytes=width,
        )
        outside = transient.non_torch(profile, setting.version, world, setting.sharding.tensor)
        outside += transient.persistent(shape, setting.batch, engine)
        graphs = 0.0
        if not setting.eager:
            graphs = transient.cudagraphs(
                count, graph_count(shape, setting), setting.sharding.tensor
            )
        pool = requested - weights - outside - peak - (graphs if in_budget else 0.0)
        if setting.kv_cache_bytes is not None:
            pool = setting.kv_cache_bytes
        stages.append(Stage(weights, outside, peak, graphs, pool, cache))
    return Memory(
        total=total,
        requested=requested,
        stages=tuple(stages),
        graphs_counted=in_budget,
        load_peak=max(stage.weights for stage in stages),
        setting=setting,
    )


def graph_count(shape: Shape, setting: Setting) -> int:
    """How many CUDA graphs this setting captures."""
    if setting.eager:
        return 0
    limit = transient.graph_limit(shape, setting.batch, setting.graph_limit)
    return transient.graph_count(setting.batch, setting.version, limit)


def sharded_weights(
    facts: ModelFacts, shape: Shape, profile: GpuProfile, setting: Setting
) -> float:
    """Bytes of weights on the fullest GPU, as the checkpoint stores them."""
    return max(
        stage_parts(facts, shape, profile, setting, stage).total
        for stage in range(setting.sharding.pipeline)
    )


def stage_parts(
    facts: ModelFacts, shape: Shape, profile: GpuProfile, setting: Setting, stage: int
) -> Parts:
    """The weights of one stage, from the architecture."""
    return parts(
        shape,
        facts.quantization,
        setting.sharding,
        stage=stage,
        dtype_bytes=DTYPE_BYTES.get(setting.dtype, 2),
        hopper_mxfp4=9.0 <= profile.capability < 10.0,
        coarse=bool(behaviour("load_unsplit", setting.version)) and profile.kind == "cuda",
    )


def _measured(facts: ModelFacts, shape: Shape, setting: Setting, width: int) -> float:
    """How the layers in the headers compare with the layers computed; 1 when unread."""
    if not facts.layer_bytes:
        return 1.0
    quantization = facts.quantization
    mxfp4 = quantization is not None and quantization.method == "mxfp4"
    whole = parts(shape, quantization, Sharding(), stage=0, dtype_bytes=width, rounded=False)
    computed = whole.layers + whole.vision
    read = facts.layer_bytes * (width / 2 if quantization is None else 1)
    # Padded layouts are not in the headers; headers that say something else entirely belong to
    # another model: keep to the architecture.
    if mxfp4 or not computed or not 0.25 < read / computed < 4:
        return 1.0
    return read / computed
