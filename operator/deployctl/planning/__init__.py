"""(ServiceSpec, ModelFacts, GpuProfile) -> ServingPlan. Pure: no network, clock or process."""

from deployctl.planning.make import make_plan
from deployctl.planning.plan import EnginePlan, Finding, MemoryBudget, ServingPlan

__all__ = ["EnginePlan", "Finding", "MemoryBudget", "ServingPlan", "make_plan"]
