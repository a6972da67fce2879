"""Which card is enough, and which is cheapest, for one model, context and number of users."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from deployctl.hardware import GpuProfile
from deployctl.model import ModelFacts
from deployctl.planning.make import make_plan
from deployctl.planning.plan import PLAN_VERSION, ServingPlan
from deployctl.spec import ServiceSpec


class Candidate(BaseModel):
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


class Comparison(BaseModel):
    """The table. `cheapest` is a profile's name, or None when nothing fits or has a price."""

    model_config = ConfigDict(frozen=True)

    version: int = PLAN_VERSION
    model: str
    max_model_len: int
    users: int
    candidates: tuple[Candidate, ...]
    cheapest: str | None = None


def compare(spec: ServiceSpec, facts: ModelFacts, profiles: Sequence[GpuProfile]) -> Comparison:
    """Plans for each profile with as few GPUs of one host as do.

    `spec.gpus` above one sets the most that may be used; otherwise a host's worth.
    """
    candidates = tuple(_candidate(spec, facts, profile) for profile in profiles)
    fitting = [c for c in candidates if c.plan.verdict == "fits" and c.usd_per_hour is not None]
    cheapest = min(fitting, key=lambda c: c.usd_per_hour or 0.0, default=None)
    return Comparison(
        model=facts.source,
        max_model_len=candidates[0].plan.max_model_len if candidates else 0,
        users=spec.users or 1,
        candidates=candidates,
        cheapest=cheapest.gpu if cheapest else None,
    )


def _candidate(spec: ServiceSpec, facts: ModelFacts, profile: GpuProfile) -> Candidate:
    most = spec.gpus if spec.gpus > 1 else profile.max_per_host
    fixed = (spec.tensor_parallel_size or 1) * (spec.pipeline_parallel_size or 1)
    count = min(fixed, most) if profile.kind == "cuda" else 1
    while True:
        wish = spec.model_copy(update={"gpu": profile.name, "gpus": count, "replicas": 1})
        plan = make_plan(wish, facts, profile)
        if plan.verdict == "fits" or count >= most or profile.kind == "cpu":
            return Candidate(gpu=profile.name, title=profile.title, gpus=count, plan=plan)
        count = min(most, count * 2)
