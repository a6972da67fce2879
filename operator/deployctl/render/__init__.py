"""ServingPlan -> Bundle: the files of one target. Pure."""

from typing import assert_never

from deployctl.errors import PlanRefusedError
from deployctl.planning.plan import ServingPlan
from deployctl.render.bundle import Bundle
from deployctl.render.compose import render_compose
from deployctl.render.process import render_process
from deployctl.spec import ServiceSpec, TargetKind

# deployctl.render.helm is imported where it is used: the chart's values are a large model, for
# which the other targets need not wait.
__all__ = ["Bundle", "render_compose", "render_for", "render_process"]


def render_for(target: TargetKind, plan: ServingPlan, spec: ServiceSpec) -> Bundle:
    """Renders a plan for a target that a driver runs.

    Raises:
        PlanRefusedError: the target cannot run it.
    """
    if target == "docker":
        return render_compose(plan, spec)
    if target == "process":
        return render_process(plan, spec)
    if target == "kubernetes":
        raise PlanRefusedError(
            "an engine is not tried on its own on Kubernetes",
            where="target",
            hint="try it on a host with --target docker",
        )
    assert_never(target)
