"""Joins what is wanted, what the checkpoint says and what the card can: the plan."""

from dataclasses import replace
from typing import Any

from deployctl.engines.vllm import image
from deployctl.errors import Reason
from deployctl.hardware import GpuProfile
from deployctl.model import ModelFacts
from deployctl.planning import advice, checks, estimates, fit, serving
from deployctl.planning.arguments import arguments, environment
from deployctl.planning.budget import Memory
from deployctl.planning.context import ContextChoice, choose
from deployctl.planning.fixes import fixes, shortlist
from deployctl.planning.graphs import graph_count
from deployctl.planning.notes import notes
from deployctl.planning.plan import (
    SHORT_REQUEST,
    EnginePlan,
    Fix,
    Serving,
    ServingPlan,
    Verdict,
)
from deployctl.planning.settings import EngineSettings, Sharding, fold, resolve
from deployctl.planning.shape import shape_of
from deployctl.planning.sharding import Planner
from deployctl.planning.tasks import deaf, tasks, text_alone
from deployctl.spec import ServiceSpec
from deployctl.units import GIB

FIXED_CODES = {"kv_cache_too_small", "weights_too_large"}  # those that `fixes` are for
MEMORY_CODES = {*FIXED_CODES, "utilization_too_high"}


def make_plan(
    spec: ServiceSpec,
    facts: ModelFacts,
    profile: GpuProfile,
    *,
    limit: int | None = None,
    advise: bool = True,
) -> ServingPlan:
    """Says what will run. Never raises for a bad fit: the verdict and its reasons tell.

    `spec.gpu_memory_gib` replaces the profile's memory. Where the spec asks for no context, it
    is `limit` tokens at most, or the model's own limit. Figures are GiB per GPU. Without
    `advise`, what would let a refused service start is not looked for, which takes longest.
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
    shape = shape_of(facts.architecture, text_alone=text_alone(spec), deaf=deaf(spec))
    planner = Planner(spec, facts, profile, shape, limit)
    choice = choose(planner)
    settings = choice.memory.settings
    reasons += checks.architecture(facts, settings)
    reasons += checks.engine_arguments(spec, settings)
    reasons += serving.refusals(settings)
    reasons += checks.batches(spec, settings)
    reasons += checks.context(spec, facts, settings)
    reasons += checks.image(spec, profile, settings.version)
    reasons += checks.gpu_count(spec, profile, settings)
    reasons += choice.planner.shape_reasons(settings.sharding)
    ways: tuple[Fix, ...] = ()
    if not any(reason.code in ("heads_not_divisible", "gpu_count") for reason in reasons):
        refused = [*fit.refusals(choice)]
        if advise and any(reason.code in FIXED_CODES for reason in refused):
            ways = fixes(planner, choice)
        told = [*map(str, shortlist(ways))]
        if not told and not choice.planner.runs(settings.sharding):
            told = ["first take a split that can run"]
        elif len(told) < 2 and not any(way.gpu != profile.name for way in ways):
            told.append(fit.large_enough(choice.memory))
        fix = ", or ".join(told)
        reasons += [reason if reason.fix else replace(reason, fix=fix) for reason in refused]
    made = _assemble(choice.planner.spec, facts, profile, settings, choice, reasons)
    return made.model_copy(update={"fixes": ways, "search": choice.steps})


def _assemble(
    spec: ServiceSpec,
    facts: ModelFacts,
    profile: GpuProfile,
    settings: EngineSettings,
    choice: ContextChoice | None,
    reasons: list[Reason],
) -> ServingPlan:
    """Puts the plan together; `choice` is None where the facts do not allow a figure."""
    memory = choice.memory if choice else None
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
            env=environment(spec, profile, settings),
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
        notes=(*notes(spec, facts, profile, choice, replicas), *served.notes) if choice else (),
        warnings=(*advice.warnings(spec, facts, profile, choice, replicas), *served.warnings)
        if choice
        else (),
        cost=estimates.cost(memory, profile, replicas, _request(choice))
        if memory and verdict == "fits"
        else None,
        **(_figures(facts, profile, choice) if choice else {}),
    )


def _figures(facts: ModelFacts, profile: GpuProfile, choice: ContextChoice) -> dict[str, Any]:
    """What the plan says of context and memory, by field."""
    memory = choice.memory
    own = facts.architecture.max_position_embeddings if facts.architecture else 0
    longest = min(memory.longest, own) if memory.pool > 0 else 0
    return {
        "context_chosen": choice.chosen,
        "model_context": own,
        "concurrency_2048": round(memory.concurrency_at(SHORT_REQUEST), 2),
        "max_concurrency": round(memory.concurrency, 2),
        "memory": memory.report(),
        "graphs_in_budget": memory.graphs_counted,
        "longest_context": longest,
        "margin_gib": _margin(choice, later=False),
        "later_margin_gib": _margin(choice, later=True),
        "safe_utilization": advice.safe_utilization(memory) if profile.kind == "cuda" else None,
    }


def _margin(choice: ContextChoice, *, later: bool) -> float | None:
    if choice.planner.profile.kind == "cpu":
        return None
    return round(choice.memory.margin(choice.planner.spec.users or 1, later=later) / GIB, 4)


def _request(choice: ContextChoice | None) -> int | None:
    """Tokens of the requests that the cost is for; None: of the context that was asked for."""
    return SHORT_REQUEST if choice is not None and choice.chosen else None


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
