"""(ServiceSpec, ModelFacts, GpuProfile) -> ServingPlan. Pure: no network, clock or process."""
