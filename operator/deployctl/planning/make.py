"""Joins what is wanted, what the checkpoint says and what the card can: the plan."""

from dataclasses import replace
from typing import Any

from deployctl.engines.vllm import flags
from deployctl.engines.vllm.images import image
from deployctl.hardware import GpuProfile, all_profiles
from deployctl.model import ModelFacts
from deployctl.model.meaning import DECLARED_IN
from deployctl.planning import advice, checks, cost, fit, kernels, notes, parallel, startup
from deployctl.planning.arguments import arguments
from deployctl.planning.budget import Memory, Setting, graph_count, memory, sharded_weights
from deployctl.planning.kvcache import BLOCK_TOKENS, CPU_BLOCK_TOKENS
from deployctl.planning.plan import EnginePlan, Finding, ServingPlan, Verdict
from deployctl.planning.settings import Settings, fold, offloaded, resolve
from deployctl.planning.shape import Shape, shape_of
from deployctl.planning.weights import Sharding
from deployctl.spec import ServiceSpec
from deployctl.units import GIB

MEMORY_CODES = {"kv_cache_too_small", "weights_too_large", "utilization_too_high"}


def make_plan(spec: ServiceSpec, facts: ModelFacts, profile: GpuProfile) -> ServingPlan:
    """Says what will run. Never raises for a bad fit: the verdict and its reasons tell.

    `spec.gpu_memory_gib` replaces the profile's memory. Figures are GiB per GPU.
    """
    if spec.gpu_memory_gib is not None:
        profile = profile.model_copy(update={"memory_gib": spec.gpu_memory_gib})
    spec, reasons = fold(spec)
    if "gpus" not in spec.model_fields_set:
        # Who names a split and no count means the split.
        split = (spec.tensor_parallel_size or 1) * (spec.pipeline_parallel_size or 1)
        spec = spec.model_copy(update={"gpus": min(split * (spec.replicas or 1), 1 << 20)})
    reasons += checks.checkpoint(spec, facts)
    if facts.architecture is None:
        settings = resolve(spec, facts, profile, 1)
        return _assemble(spec, facts, profile, settings, Sharding(), None, None, reasons)
    shape = shape_of(facts.architecture)
    planner = _Planner(spec, facts, profile, shape)
    options = list(parallel.candidates(spec, shape, profile.max_per_host))
    sharding, budget = parallel.choose(options, planner.measure, planner.runs, spec.users or 1)
    settings = planner.settings(sharding)
    reasons += checks.engine_arguments(spec, settings)
    reasons += checks.batches(spec, settings)
    reasons += checks.context(spec, facts, settings)
    reasons += checks.gpu_count(spec, profile, sharding, spec.replicas or 1)
    reasons += planner.shape_findings(sharding)
    if not any(reason.code in ("heads_not_divisible", "gpu_count") for reason in reasons):
        reasons += fit.findings(
            budget,
            profile,
            spec.users,
            lambda: planner.larger_than(sharding),
            lambda: planner.cards_for(sharding),
        )
    return _assemble(spec, facts, profile, settings, sharding, shape, budget, reasons)


class _Planner:
    """Measures one sharding after another for the same wish."""

    def __init__(
        self, spec: ServiceSpec, facts: ModelFacts, profile: GpuProfile, shape: Shape
    ) -> None:
        self.spec, self.facts, self.profile, self.shape = spec, facts, profile, shape

    def settings(self, sharding: Sharding) -> Settings:
        world = sharding.tensor * sharding.pipeline
        return resolve(self.spec, self.facts, self.profile, world)

    def measure(self, sharding: Sharding) -> Memory:
        settings = self.settings(sharding)
        facts = self.facts.model_copy(update={"quantization": settings.quantization})
        # The CPU's MLA kernel knows blocks of 16 alone (vllm/platforms/cpu.py).
        wide = self.profile.kind == "cpu" and not self.shape.latent
        default = CPU_BLOCK_TOKENS if wide else BLOCK_TOKENS
        setting = Setting(
            version=settings.version,
            sharding=sharding,
            batch=settings.batch,
            length=settings.length,
            utilization=settings.utilization,
            dtype=settings.dtype,
            kv_cache_dtype=settings.kv_cache_dtype,
            eager=settings.eager,
            hybrid=settings.hybrid,
            block_tokens=settings.block_tokens or default,
            kv_cache_bytes=settings.kv_cache_bytes,
            environment=self.spec.env,
            graph_limit=settings.graph_limit,
            offload=offloaded(settings.rest) if self.profile.kind == "cuda" else 0.0,
        )
        found = memory(facts, self.shape, self.profile, setting)
        if settings.online:
            whole = sharded_weights(self.facts, self.shape, self.profile, setting)
            found = replace(found, load_peak=whole * fit.ONLINE_LOAD)
        return found

    def shape_findings(self, sharding: Sharding) -> list[Finding]:
        settings = self.settings(sharding)
        whole = kernels.whole_experts(settings)
        found = list(checks.parallel(self.shape, sharding, whole_experts=whole))
        if not found or found[0].code != "heads_not_divisible":
            found += kernels.findings(self.shape, settings, self.profile, sharding)
        return found

    def runs(self, sharding: Sharding) -> bool:
        return not self.shape_findings(sharding)

    def cards_for(self, sharding: Sharding) -> list[str]:
        """Names the shipped profiles on which this sharding would fit, smallest first."""
        found = []
        for profile in sorted(all_profiles(), key=lambda p: p.memory_gib):
            if profile.kind != "cuda" or profile.memory_gib <= self.profile.memory_gib:
                continue
            other = _Planner(self.spec, self.facts, profile, self.shape)
            memory = other.measure(sharding)
            enough = memory.fits and memory.concurrency >= (self.spec.users or 1)
            if enough and memory.load_peak < memory.total and other.runs(sharding):
                found.append(profile.name)
        return found

    def larger_than(self, sharding: Sharding) -> Sharding | None:
        """The smallest sharding of one host that would fit, had the user the GPUs."""
        host = self.profile.max_per_host
        wish = self.spec.model_copy(
            update={
                "gpus": max(self.spec.gpus, host),
                "tensor_parallel_size": None,
                "pipeline_parallel_size": None,
            }
        )
        for option in parallel.candidates(wish, self.shape, host):
            if option.tensor * option.pipeline <= sharding.tensor * sharding.pipeline:
                continue
            found = self.measure(option)
            enough = found.concurrency >= (self.spec.users or 1)
            if found.load_peak < found.total and found.fits and enough and self.runs(option):
                return option
        return None


def _assemble(
    spec: ServiceSpec,
    facts: ModelFacts,
    profile: GpuProfile,
    settings: Settings,
    sharding: Sharding,
    shape: Shape | None,
    budget: Memory | None,
    reasons: list[Finding],
) -> ServingPlan:
    world = sharding.tensor * sharding.pipeline
    replicas = spec.replicas or (1 if profile.kind == "cpu" else max(1, spec.gpus // world))
    name = spec.served_model_name or _default_name(facts)
    warnings: list[Finding] = []
    if shape is not None and budget is not None:
        warnings += advice.warnings(spec, facts, shape, settings, profile, budget)
    fits = _verdict(reasons) == "fits"
    return ServingPlan(
        name=spec.service,
        model=facts.source,
        model_local=facts.local,
        revision=facts.revision or spec.revision,
        served_model_name=name,
        gpu=profile.name,
        accelerator=profile.kind,
        verdict=_verdict(reasons),
        reasons=tuple(reasons),
        warnings=tuple(warnings),
        engine=EnginePlan(
            name="vllm",
            version=settings.version,
            image=spec.image or image(settings.version, profile.kind),
            args=arguments(
                spec, settings.version, _chosen(name, facts, settings, sharding, profile)
            ),
            env=_environment(spec, settings, sharding, profile),
            defaults=notes.defaults(spec, settings, profile, shape),
        ),
        tensor_parallel_size=sharding.tensor,
        pipeline_parallel_size=sharding.pipeline,
        replicas=replicas,
        max_model_len=settings.length,
        max_concurrency=round(budget.concurrency, 2) if budget else 0.0,
        startup_budget_s=_startup(facts, settings, sharding, profile, shape, budget),
        shm_gib=1.0 if world == 1 else float(min(64, 8 * world)),
        memory=budget.report() if budget else None,
        graphs_in_budget=budget.graphs_counted if budget else True,
        longest_context=_longest(facts, budget),
        safe_utilization=advice.safe_utilization(budget)
        if budget and profile.kind == "cuda"
        else None,
        cost=cost.estimate(budget, shape, profile, replicas) if budget and shape and fits else None,
        notes=notes.why(spec, facts, settings, sharding, replicas, profile, budget),
    )


def _verdict(reasons: list[Finding]) -> Verdict:
    if not reasons:
        return "fits"
    return "does_not_fit" if all(r.code in MEMORY_CODES for r in reasons) else "cannot_run"


def _default_name(facts: ModelFacts) -> str:
    return facts.source.rstrip("/").rsplit("/", 1)[-1] if facts.local else facts.source


def _chosen(
    name: str, facts: ModelFacts, settings: Settings, sharding: Sharding, profile: GpuProfile
) -> dict[str, Any]:
    chosen: dict[str, Any] = {
        "served_model_name": name,
        "quantization": _named_quantization(facts, settings),
        "max_model_len": settings.length,
        "tensor_parallel_size": sharding.tensor if sharding.tensor > 1 else None,
        "pipeline_parallel_size": sharding.pipeline if sharding.pipeline > 1 else None,
    }
    quiet = "disable_access_log_for_endpoints"
    known = flags.known(settings.version) and flags.flag(quiet.replace("_", "-"), settings.version)
    if known and quiet not in settings.rest:
        # Probes and scrapes, every few seconds, are not what a log is read for.
        chosen[quiet] = "/health,/metrics"
    if profile.kind == "cpu":
        chosen["gpu_memory_utilization"] = None
        if _by_bytes(settings):
            chosen["kv_cache_memory_bytes"] = round(settings.kv_cache_bytes or 0)
    return chosen


def _named_quantization(facts: ModelFacts, settings: Settings) -> str | None:
    """The method, where the engine must be told: it looks for it in config.json alone.

    Everywhere else it is left unset, so that vLLM picks its fastest kernel (vllm#21376).
    """
    quantization = facts.quantization
    if quantization is None or "quantization" in settings.rest:
        return None
    return None if quantization.file in DECLARED_IN else quantization.method


def _gib(settings: Settings) -> float:
    return (settings.kv_cache_bytes or 0.0) / GIB


def _by_bytes(settings: Settings) -> bool:
    """Whether the CPU's cache is no whole number of GiB.

    VLLM_CPU_KVCACHE_SPACE is read with int() (vllm/platforms/cpu.py), so a fraction needs the
    flag that counts bytes.
    """
    return "kv_cache_memory_bytes" not in settings.rest and not _gib(settings).is_integer()


def _environment(
    spec: ServiceSpec, settings: Settings, sharding: Sharding, profile: GpuProfile
) -> dict[str, str]:
    found: dict[str, str] = {}
    flagged = "kv_cache_memory_bytes" in settings.rest or _by_bytes(settings)
    if profile.kind == "cpu" and not flagged:
        found["VLLM_CPU_KVCACHE_SPACE"] = f"{_gib(settings):.0f}"
    if sharding.tensor > 1 and profile.kind == "cpu":
        # vLLM gives each rank the cores of a NUMA node of its own, and most machines have one.
        found["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
    elif sharding.tensor > 1:
        link = profile.interconnect
        if link is None or not link.peer_to_peer:
            found["NCCL_P2P_DISABLE"] = "1"
    return {**found, **spec.env}


def _startup(
    facts: ModelFacts,
    settings: Settings,
    sharding: Sharding,
    profile: GpuProfile,
    shape: Shape | None,
    budget: Memory | None,
) -> int:
    stages = budget.stages if budget else ()
    weights = sum(s.weights for s in stages) * sharding.tensor
    return startup.budget_s(
        weight_bytes=max(float(facts.weight_bytes or 0), weights),
        local=facts.local,
        layers=shape.layers if shape else 0,
        graphs=graph_count(shape, budget.setting) if shape and budget else 0,
        eager=settings.eager,
        world=sharding.tensor * sharding.pipeline,
        cpu=profile.kind == "cpu",
    )


def _longest(facts: ModelFacts, budget: Memory | None) -> int:
    if budget is None or facts.architecture is None or budget.pool <= 0:
        return 0
    return min(budget.longest, facts.architecture.max_position_embeddings)
