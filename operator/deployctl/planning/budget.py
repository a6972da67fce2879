"""The memory of each GPU of one replica, added up as vLLM does.

    requested  = total × gpu_memory_utilization
    KV cache   = requested − weights − non-torch − activation peak − graphs (since 0.21)

Every pipeline stage is counted on its own; the stage with the fewest blocks decides, as
vLLM gives all of them the same number.
"""

import math
from dataclasses import dataclass, replace

from deployctl.engines.vllm.versions import behaviour
from deployctl.hardware import GpuProfile
from deployctl.model import ModelFacts
from deployctl.planning import adapters, graphs, transient
from deployctl.planning.kvcache import Layout, layout
from deployctl.planning.plan import MemoryBudget
from deployctl.planning.settings import EngineSettings, Sharding
from deployctl.planning.shape import Shape
from deployctl.planning.weights import Parts, parts
from deployctl.units import GIB

# GiB that the CUDA context and the driver keep of an idle card: 0.45 to 0.51 in logged
# start-ups (23.08 of 23.53 free on 24 GB, 78.68 of 79.19 on an H100).
CONTEXT_GIB = 0.5
# Bytes of a checkpoint that is quantized while it loads that are alive at once, over its
# unquantized weights: Qwen2.5-72B ran out of 139.7 GiB with 135.4 GiB of BF16 weights.
ONLINE_LOAD = 1.03
# GiB of an idle card that nobody can have, for refusals of a budget that nothing is captured
# on top of, where a wrong refusal would be worse than a late one.
UNUSABLE_GIB = 0.25

# GiB by which a start may have more or less than another with the same flags: half of what twins
# differed by on one card (RTX 3090, vLLM 0.17.1: 5.68 and 5.61 GiB, 0.49 and 0.41).
EDGE_GIB = 0.04
# What plans miss the KV cache by, as a share of it: what is closer they cannot tell. Between what
# the fitted start-ups (1.8%) and those held back while fitting (1.1%) had at the 90th percentile,
# and their medians (0.0 and 0.2%).
EDGE_SHARE = 0.01


def edge_gib(cache_gib: float) -> float:
    """GiB by which a start with a KV cache of this size may have more or less than planned."""
    return max(EDGE_GIB, EDGE_SHARE * cache_gib)


@dataclass(frozen=True)
class Stage:
    """One GPU of a pipeline stage, in bytes."""

    weights: float
    non_torch: float
    activation: float  # the peak of a first start, which compiles
    graphs: float
    pool: float  # what is left for the KV cache; negative when nothing is
    layout: Layout
    compiling: float = 0.0  # of activation; where the compile cache is found, the KV cache has it
    warm_up: float = 0.0  # of the sampler, with the KV cache in place
    before: float = 0.0  # there before the engine looks, and so in no budget
    unpacked: float = 0.0  # of one matrix, where graphs capture a kernel that unpacks it

    def started(self, *, cache_given: bool, later: bool) -> float:
        """What is held at once before the engine is up, KV cache and first batch too.

        `later`: the compile cache is found, and what compiling took is the KV cache's.
        """
        step = self.activation - self.compiling
        busy = max(step, self.warm_up) + self.graphs + self.unpacked
        pool = max(0.0, self.pool) + (self.compiling if later and not cache_given else 0.0)
        held = max(pool + busy, 0.0 if later else self.activation)
        return self.weights + self.non_torch + self.before + held


@dataclass(frozen=True)
class Memory:
    """The memory of a replica."""

    total: float
    requested: float
    stages: tuple[Stage, ...]
    graphs_counted: bool
    load_peak: float  # bytes held at once while weights load
    settings: EngineSettings
    shape: Shape

    @property
    def tightest(self) -> Stage:
        """The stage that decides how many blocks there are."""
        return min(self.stages, key=lambda s: (s.layout.blocks(s.pool), s.pool))

    @property
    def pool(self) -> float:
        """Bytes of KV cache on the deciding GPU; negative when the weights leave none."""
        return self.tightest.pool

    def overflow(self, *, later: bool = False) -> float:
        """Bytes that the start-up needs beyond what others leave; negative when it has room.

        The KV cache takes what profiling left of the budget. Graphs that are not counted, a
        sampler that was not profiled, and a cache that was given outright come on top.
        """
        given = self.settings.kv_cache_bytes is not None
        kept = CONTEXT_GIB if self.graphs or given else UNUSABLE_GIB
        # Without a cache it ends before.
        pool = self.pool + (self.tightest.compiling if later else 0.0)
        held = self.started(later=later) if pool > 0 else 0.0
        return max(held, 0.0 if given else self.requested) - self.free + kept * GIB

    @property
    def free(self) -> float:
        """Bytes of a GPU that others leave."""
        return self.total - self.settings.held

    def started(self, *, later: bool = False) -> float:
        """Bytes held at once before the engine is up, on the GPU that holds most."""
        given = self.settings.kv_cache_bytes is not None
        return max(stage.started(cache_given=given, later=later) for stage in self.stages)

    @property
    def request_bytes(self) -> int:
        """Bytes of KV cache that one request of full context takes."""
        layout = self.tightest.layout
        return layout.request_blocks(self.settings.length) * layout.block_bytes

    @property
    def graphs(self) -> float:
        """Bytes that CUDA graphs take on the GPU where they take most."""
        return max(stage.graphs for stage in self.stages)

    @property
    def longest(self) -> int:
        """The longest request that fits, as far as anybody would ask."""
        stage = self.tightest
        return stage.layout.longest(stage.pool, 1 << 24)

    @property
    def fits(self) -> bool:
        """Whether vLLM would start with this context."""
        stage = self.tightest
        return stage.pool > 0 and stage.layout.holds(stage.pool, self.settings.length)

    def margin(self, users: int = 1, *, later: bool = False) -> float:
        """Bytes between this start and another outcome; negative: so many are missing.

        Of the KV cache beyond what `users` full requests take, or of the card beyond what the
        start-up holds, where that is less. `later`: of a start that finds the compile cache.
        """
        stage = self.tightest
        given = self.settings.kv_cache_bytes is not None
        pool = stage.pool + (stage.compiling if later and not given else 0.0)
        blocks = stage.layout.request_blocks(self.settings.length) * users
        needed = (blocks + stage.layout.reserved_blocks) * stage.layout.block_bytes
        return min(pool - needed, -self.overflow(later=later))

    @property
    def concurrency(self) -> float:
        """Requests of full context held at once."""
        stage = self.tightest
        return stage.layout.concurrency(max(0.0, stage.pool), self.settings.length)

    def concurrency_at(self, length: int) -> float:
        """Requests of `length` tokens held at once; of the full context, if that is shorter."""
        stage = self.tightest
        return stage.layout.concurrency(max(0.0, stage.pool), min(length, self.settings.length))

    def report(self) -> MemoryBudget:
        """The plan's own form: GiB on the deciding GPU, where the parts add up to the budget."""
        stage = self.tightest
        return MemoryBudget(
            gpu_total_gib=round(self.total / GIB, 4),
            budget_gib=round(self.requested / GIB, 4),
            weights_gib=round(stage.weights / GIB, 4),
            non_torch_gib=round(stage.non_torch / GIB, 4),
            activation_gib=round(stage.activation / GIB, 4),
            compile_gib=round(stage.compiling / GIB, 4),
            cudagraph_gib=round(stage.graphs / GIB, 4),
            kv_cache_gib=round(stage.pool / GIB, 4),
            kv_cache_tokens=stage.layout.tokens(max(0.0, stage.pool), self.settings.length),
            kv_bytes_per_token=stage.layout.token_bytes,
        )


def memory(
    facts: ModelFacts, shape: Shape, profile: GpuProfile, settings: EngineSettings
) -> Memory:
    """Adds up one replica."""
    count = len(settings.sharding.stage_layers(shape.layers))
    scale = _measured(facts, shape, settings)
    stages = [_stage(shape, profile, settings, index, scale) for index in range(count)]
    load_peak = max(stage.weights for stage in stages)
    if settings.online:
        # Before they are quantized, the weights are there as the checkpoint stores them.
        plain = replace(settings, quantization=facts.quantization)
        whole = max(_parts(shape, profile, plain, index).total for index in range(count))
        load_peak = whole * ONLINE_LOAD
    return Memory(
        total=profile.memory_gib * GIB,
        requested=_requested(profile, settings),
        stages=tuple(stages),
        graphs_counted=graphs.graphs_in_budget(shape, settings),
        load_peak=load_peak,
        settings=settings,
        shape=shape,
    )


def _requested(profile: GpuProfile, settings: EngineSettings) -> float:
    return float(math.ceil(profile.memory_gib * GIB * settings.utilization))


def _stage(
    shape: Shape, profile: GpuProfile, settings: EngineSettings, index: int, scale: float
) -> Stage:
    """Stage `index`, with layers of `scale` times their computed size."""
    sizes = settings.sharding.stage_layers(shape.layers)
    own = _parts(shape, profile, settings, index)
    weights = own.total + (scale - 1) * own.layers - min(settings.offload, own.layers)
    start = sum(sizes[:index])
    weights += adapters.nbytes(shape, settings, start, start + sizes[index])
    weights += transient.loaded_beside(shape, settings)
    cpu = profile.kind == "cpu"
    cache = layout(shape, settings, (start, start + sizes[index]), cpu=cpu)
    if cpu:
        return Stage(weights, 0.0, 0.0, 0.0, settings.kv_cache_bytes or 0.0, cache)
    peak = transient.activation(shape, settings, profile, last_stage=index == len(sizes) - 1)
    first = transient.compiling(shape, settings) if index == 0 else 0.0
    compiling = max(0.0, first - peak)
    peak += compiling
    outside = transient.non_torch(profile, settings) + transient.persistent(shape, settings)
    captured = graphs.cudagraphs(shape, settings, profile, sizes[index])
    pool = settings.kv_cache_bytes
    if pool is None:
        taken = captured if graphs.graphs_in_budget(shape, settings) else 0.0
        pool = _requested(profile, settings) - weights - outside - peak - taken
    warm = transient.warm_up(shape, settings, profile) if index == len(sizes) - 1 else 0.0
    before = transient.before_snapshot(settings)
    unpacked = graphs.unpacked_in_graphs(shape, settings, profile)
    return Stage(weights, outside, peak, captured, pool, cache, compiling, warm, before, unpacked)


def _parts(shape: Shape, profile: GpuProfile, settings: EngineSettings, stage: int) -> Parts:
    """The weights of one stage, from the architecture."""
    if shape.kv_shared and behaviour("shared_layers_project", settings.version):
        shape = replace(shape, all_project=True)
    return parts(
        shape,
        settings.quantization,
        settings.sharding,
        stage=stage,
        dtype_bytes=settings.dtype_bytes,
        capability=profile.capability,
        coarse=bool(behaviour("load_unsplit", settings.version)) and profile.kind == "cuda",
    )


def _measured(facts: ModelFacts, shape: Shape, settings: EngineSettings) -> float:
    """How the layers in the headers compare with the layers computed; 1 when unread."""
    if not facts.layer_bytes:
        return 1.0
    quantization, width = settings.quantization, settings.dtype_bytes
    mxfp4 = quantization is not None and quantization.method == "mxfp4"
    read_all = replace(shape, text_alone=False, deaf=False)  # headers have every tower
    whole = parts(read_all, quantization, Sharding(), stage=0, dtype_bytes=width, rounded=False)
    computed = whole.layers + whole.towers
    read = facts.layer_bytes * (width / 2 if quantization is None else 1)
    # Padded layouts are not in the headers; headers that say something else entirely belong to
    # another model: keep to the architecture.
    if mxfp4 or not computed or not 0.25 < read / computed < 4:
        return 1.0
    return read / computed
