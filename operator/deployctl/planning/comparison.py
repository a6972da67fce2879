"""Several cards, compared: one table of plans for the same work. Pure."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from deployctl.hardware import GpuProfile
from deployctl.model import ModelFacts
from deployctl.planning.make import make_plan
from deployctl.planning.plan import PLAN_VERSION, ServingPlan
from deployctl.spec import ServiceSpec


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
    context_chosen: bool = False  # nobody asked for it: the longest that all hold
    users: int
    candidates: tuple[ComparedGpu, ...]
    cheapest: str | None = None


def compare(spec: ServiceSpec, facts: ModelFacts, profiles: Sequence[GpuProfile]) -> GpuComparison:
    """Plans for each profile with as few GPUs of one host as do, all with the same context.

    Where none is asked for, it is the longest that every card that does can hold.
    `spec.gpus` above one sets the most that may be used; otherwise as many as a host holds.
    """
    candidates = [_fewest(spec, facts, profile) for profile in profiles]
    holding = [c.plan for c in candidates if c.plan.verdict == "fits" and c.plan.context_chosen]
    common = min((plan.max_model_len for plan in holding), default=None)
    if common is not None:
        pairs = zip(candidates, profiles, strict=True)
        candidates = [_alike(c, spec, facts, profile, common) for c, profile in pairs]
    fitting = [c for c in candidates if c.plan.verdict == "fits"]
    priced = [c for c in fitting if c.usd_per_hour is not None]
    cheapest = min(priced, key=lambda c: c.usd_per_hour or 0.0, default=None)
    return GpuComparison(
        model=facts.source,
        max_model_len=(fitting or candidates)[0].plan.max_model_len if candidates else 0,
        context_chosen=common is not None,
        users=spec.users or 1,
        candidates=tuple(candidates),
        cheapest=cheapest.gpu if cheapest else None,
    )


def _fewest(spec: ServiceSpec, facts: ModelFacts, profile: GpuProfile) -> ComparedGpu:
    most = spec.gpus if spec.gpus > 1 else profile.max_per_host
    fixed = (spec.tensor_parallel_size or 1) * (spec.pipeline_parallel_size or 1)
    count = min(fixed, most) if profile.kind == "cuda" else 1
    while True:
        last = count >= most or profile.kind == "cpu"
        plan = make_plan(_of(spec, profile, count), facts, profile, advise=last)
        if plan.verdict == "fits" or last:
            return ComparedGpu(gpu=profile.name, title=profile.title, gpus=count, plan=plan)
        count = min(most, count * 2)


def _alike(
    candidate: ComparedGpu, spec: ServiceSpec, facts: ModelFacts, profile: GpuProfile, common: int
) -> ComparedGpu:
    """The same cards with the context that all of them hold."""
    if candidate.plan.verdict != "fits":
        return candidate
    plan = make_plan(_of(spec, profile, candidate.gpus), facts, profile, limit=common)
    return candidate.model_copy(update={"plan": plan})


def _of(spec: ServiceSpec, profile: GpuProfile, count: int) -> ServiceSpec:
    return spec.model_copy(update={"gpu": profile.name, "gpus": count, "replicas": 1})
