"""Joins what is wanted, what the checkpoint says and what the card can: the plan."""

from deployctl.engines.vllm import image
from deployctl.errors import Reason
from deployctl.hardware import GpuProfile
from deployctl.model import ModelFacts
from deployctl.planning import advice, checks, cost, fit, invocation, notes, parallel, startup
from deployctl.planning.arguments import arguments
from deployctl.planning.budget import Memory, graph_count
from deployctl.planning.plan import EnginePlan, ServingPlan, Verdict
from deployctl.planning.planner import Planner
from deployctl.planning.settings import Settings, fold, resolve
from deployctl.planning.shape import Shape, shape_of
from deployctl.planning.weights import Sharding
from deployctl.spec import ServiceSpec

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
    planner = Planner(spec, facts, profile, shape)
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


def _assemble(
    spec: ServiceSpec,
    facts: ModelFacts,
    profile: GpuProfile,
    settings: Settings,
    sharding: Sharding,
    shape: Shape | None,
    budget: Memory | None,
    reasons: list[Reason],
) -> ServingPlan:
    world = sharding.tensor * sharding.pipeline
    replicas = spec.replicas or (1 if profile.kind == "cpu" else max(1, spec.gpus // world))
    name = spec.served_model_name or _default_name(facts)
    warnings: list[Reason] = []
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
                spec,
                settings.version,
                invocation.arguments_of(name, facts, settings, sharding, profile),
            ),
            env=invocation.environment(spec, settings, sharding, profile),
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


def _verdict(reasons: list[Reason]) -> Verdict:
    if not reasons:
        return "fits"
    return "does_not_fit" if all(r.code in MEMORY_CODES for r in reasons) else "cannot_run"


def _default_name(facts: ModelFacts) -> str:
    return facts.source.rstrip("/").rsplit("/", 1)[-1] if facts.local else facts.source


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
