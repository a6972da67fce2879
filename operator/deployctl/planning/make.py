"""Joins what is wanted, what the checkpoint says and what the card can: the plan; and plans for
several cards, to compare them.
"""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from deployctl.engines.vllm import image
from deployctl.errors import Reason
from deployctl.hardware import GpuProfile
from deployctl.model import ModelFacts
from deployctl.planning import advice, checks, estimates, fit, serving
from deployctl.planning.arguments import arguments, environment
from deployctl.planning.budget import Memory
from deployctl.planning.plan import PLAN_VERSION, EnginePlan, Serving, ServingPlan, Verdict
from deployctl.planning.settings import EngineSettings, Sharding, fold, resolve
from deployctl.planning.shape import shape_of
from deployctl.planning.sharding import Planner
from deployctl.planning.tasks import tasks
from deployctl.planning.transient import graph_count
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
        settings = resolve(spec, facts, profile, Sharding())
        return _assemble(spec, facts, profile, settings, None, reasons)
    planner = Planner(spec, facts, profile, shape_of(facts.architecture))
    memory = planner.choose()
    settings = memory.settings
    reasons += checks.engine_arguments(spec, settings)
    reasons += serving.refusals(settings)
    reasons += checks.batches(spec, settings)
    reasons += checks.context(spec, facts, settings)
    reasons += checks.gpu_count(spec, profile, settings)
    reasons += planner.shape_reasons(settings.sharding)
    if not any(reason.code in ("heads_not_divisible", "gpu_count") for reason in reasons):
        reasons += fit.refusals(planner, memory)
    return _assemble(spec, facts, profile, settings, memory, reasons)


def _assemble(
    spec: ServiceSpec,
    facts: ModelFacts,
    profile: GpuProfile,
    settings: EngineSettings,
    memory: Memory | None,
    reasons: list[Reason],
) -> ServingPlan:
    """Puts the plan together; `memory` is None where the facts do not allow a figure."""
    sharding = settings.sharding
    replicas = spec.replicas or (1 if profile.kind == "cpu" else max(1, spec.gpus // sharding.gpus))
    source = facts.source.rstrip("/").rsplit("/", 1)[-1] if facts.local else facts.source
    name = spec.served_model_name or source
    verdict = _verdict(reasons)
    asked = tasks(facts, settings.rest)
    served = serving.choose(spec, facts, profile, settings) if "generate" in asked else None
    served = served or serving.Choice(Serving(), {})
    return ServingPlan(
        name=spec.service,
        model=facts.source,
        model_local=facts.local,
        revision=facts.revision or spec.revision,
        served_model_name=name,
        gpu=profile.name,
        accelerator=profile.kind,
        verdict=verdict,
        reasons=tuple(reasons),
        engine=EnginePlan(
            name="vllm",
            version=settings.version,
            image=spec.image or image(settings.version, profile.kind),
            args=arguments(spec, facts, profile, settings, name, served.arguments),
            env=environment(profile, settings),
            defaults=advice.defaults(settings, profile, memory.shape if memory else None),
            tasks=asked,
        ),
        tensor_parallel_size=sharding.tensor,
        pipeline_parallel_size=sharding.pipeline,
        replicas=replicas,
        max_model_len=settings.length,
        startup_budget_s=_startup_s(facts, profile, settings, memory),
        shm_gib=1.0 if sharding.gpus == 1 else float(min(64, 8 * sharding.gpus)),
        serving=served.serving,
        notes=(*advice.notes(spec, facts, profile, memory, replicas), *served.notes)
        if memory
        else (),
        warnings=(*advice.warnings(spec, facts, profile, memory), *served.warnings)
        if memory
        else (),
        cost=estimates.cost(memory, profile, replicas) if memory and verdict == "fits" else None,
        **(_figures(facts, profile, memory) if memory else {}),
    )


def _figures(facts: ModelFacts, profile: GpuProfile, memory: Memory) -> dict[str, Any]:
    """What the plan says of memory, by field."""
    longest = 0
    if facts.architecture is not None and memory.pool > 0:
        longest = min(memory.longest, facts.architecture.max_position_embeddings)
    return {
        "max_concurrency": round(memory.concurrency, 2),
        "memory": memory.report(),
        "graphs_in_budget": memory.graphs_counted,
        "longest_context": longest,
        "safe_utilization": advice.safe_utilization(memory) if profile.kind == "cuda" else None,
    }


def _verdict(reasons: list[Reason]) -> Verdict:
    if not reasons:
        return "fits"
    return "does_not_fit" if all(r.code in MEMORY_CODES for r in reasons) else "cannot_run"


def _startup_s(
    facts: ModelFacts, profile: GpuProfile, settings: EngineSettings, memory: Memory | None
) -> int:
    weights = sum(stage.weights for stage in memory.stages) if memory else 0.0
    return estimates.startup_s(
        weight_bytes=max(float(facts.weight_bytes or 0), weights * settings.sharding.tensor),
        local=facts.local,
        layers=memory.shape.layers if memory else 0,
        graphs=graph_count(memory.shape, settings) if memory else 0,
        eager=settings.eager,
        world=settings.sharding.gpus,
        cpu=profile.kind == "cpu",
    )


class ComparedGpu(BaseModel):
    """One card: the fewest of them that do, or why none of them does."""

    model_config = ConfigDict(frozen=True)

    gpu: str
    title: str
    gpus: int
    plan: ServingPlan

    @property
    def usd_per_hour(self) -> float | None:
        """Price of what the plan uses; None when it does not fit or the profile has no price."""
        return self.plan.cost.usd_per_hour if self.plan.cost else None


class GpuComparison(BaseModel):
    """The table. `cheapest` is a profile's name, or None when nothing fits or has a price."""

    model_config = ConfigDict(frozen=True)

    version: int = PLAN_VERSION
    model: str
    max_model_len: int
    users: int
    candidates: tuple[ComparedGpu, ...]
    cheapest: str | None = None


def compare(spec: ServiceSpec, facts: ModelFacts, profiles: Sequence[GpuProfile]) -> GpuComparison:
    """Plans for each profile with as few GPUs of one host as do.

    `spec.gpus` above one sets the most that may be used; otherwise as many as a host holds.
    """
    candidates = tuple(_fewest(spec, facts, profile) for profile in profiles)
    fitting = [c for c in candidates if c.plan.verdict == "fits" and c.usd_per_hour is not None]
    cheapest = min(fitting, key=lambda c: c.usd_per_hour or 0.0, default=None)
    return GpuComparison(
        model=facts.source,
        max_model_len=candidates[0].plan.max_model_len if candidates else 0,
        users=spec.users or 1,
        candidates=candidates,
        cheapest=cheapest.gpu if cheapest else None,
    )


def _fewest(spec: ServiceSpec, facts: ModelFacts, profile: GpuProfile) -> ComparedGpu:
    most = spec.gpus if spec.gpus > 1 else profile.max_per_host
    fixed = (spec.tensor_parallel_size or 1) * (spec.pipeline_parallel_size or 1)
    count = min(fixed, most) if profile.kind == "cuda" else 1
    while True:
        wanted = spec.model_copy(update={"gpu": profile.name, "gpus": count, "replicas": 1})
        plan = make_plan(wanted, facts, profile)
        if plan.verdict == "fits" or count >= most or profile.kind == "cpu":
            return ComparedGpu(gpu=profile.name, title=profile.title, gpus=count, plan=plan)
        count = min(most, count * 2)
