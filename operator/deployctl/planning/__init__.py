"""(ServiceSpec, ModelFacts, GpuProfile) -> ServingPlan. Pure: no network, clock or process."""

from deployctl.planning.make import make_plan
from deployctl.planning.plan import EnginePlan, MemoryBudget, ServingPlan

__all__ = ["EnginePlan", "MemoryBudget", "ServingPlan", "make_plan"]
