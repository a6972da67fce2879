"""Values of how pods live: where they are put, how they are probed, drained and replaced."""

from typing import Annotated, Any, Literal

from pydantic import Field

from deployctl.render.values.base import Labels, Line, ObjectName, Section

Seconds = Annotated[int, Field(ge=1, le=86400)]
Share = Annotated[int, Field(ge=0, le=100)]


class Toleration(Section):
    """A taint that pods may be put on."""

    key: Line = Field("", description="Key of the taint.")
    operator: Literal["Exists", "Equal"] = Field("Exists", description="How it is compared.")
    value: Line = Field("", description="Value, with Equal.")
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(
        "", description="Every effect when empty."
    )


class Scheduling(Section):
    """Which nodes."""

    gpu_nodes: list[Labels] = Field(
        [],
        max_length=50,
        description="Label sets of nodes with the right card; a node must have one of them.",
    )
    node_selector: Labels = Field({}, description="Labels that a node must have besides.")
    tolerations: list[Toleration] = Field(
        [Toleration(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")],
        max_length=50,
        description="Taints that are no obstacle.",
    )
    affinity: dict[str, Any] = Field(
        {}, description="Kubernetes' own affinity, instead of gpuNodes."
    )
    runtime_class_name: ObjectName = Field(
        "",
        description="nvidia where the container runtime's default sees no card; the class must "
        "exist.",
    )
    priority_class_name: ObjectName = Field("", description="PriorityClass of the engine.")
    spread: bool = Field(True, description="Replicas on several nodes and zones, if they can.")


class Probes(Section):
    """When a pod counts as started, ready and alive."""

    startup_seconds: int = Field(
        600, ge=30, le=86400, description="Loading may take this long: the plan's budget."
    )
    timeout_seconds: Seconds = Field(
        15, description="For one answer: a saturated engine answers late, and is not ill."
    )
    liveness_period_seconds: Seconds = Field(15, description="Between liveness probes.")
    liveness_failures: int = Field(10, ge=1, le=1000, description="In a row, before a restart.")
    readiness_period_seconds: Seconds = Field(5, description="Between readiness probes.")
    readiness_failures: int = Field(6, ge=1, le=1000, description="In a row, before no traffic.")
    stall_seconds: int = Field(
        600,
        ge=0,
        le=86400,
        description="An engine that has requests and makes no token for this long is hung, "
        "though /health says 200. 0 turns it off.",
    )


class Drain(Section):
    """How a pod ends without losing requests."""

    pre_stop_seconds: int = Field(
        15, ge=0, le=600, description="Wait until no new request comes, before the engine is told."
    )
    grace_period_seconds: int = Field(
        75, ge=30, le=86400, description="From the first word to the kill; requests get the rest."
    )


class Rollout(Section):
    """How pods are replaced."""

    max_surge: Share = Field(
        0, description="Pods more than replicas: each needs cards of its own. 1 if there are some."
    )
    max_unavailable: Share = Field(1, description="Pods fewer than replicas.")


class DisruptionBudget(Section):
    """What a node's drain may take at once."""

    enabled: bool = Field(True, description="Make a PodDisruptionBudget.")
    max_unavailable: int = Field(1, ge=1, le=100, description="Pods at once.")
