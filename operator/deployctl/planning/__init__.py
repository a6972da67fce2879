"""(ServiceSpec, ModelFacts, GpuProfile) -> ServingPlan. Pure: no network, clock or process.

`make` plans, `plan` says what a plan is. Nothing is imported here: whoever reads records needs the
second alone, and does not wait for the first.
"""
