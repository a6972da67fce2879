"""Values of where pods may run: labels and taints of nodes."""

from typing import Any, Literal

from pydantic import Field, model_validator

from deployctl.render.values.base import Labels, Line, ObjectName, Section


class TolerationSection(Section):
    """A taint that pods tolerate."""

    key: Line = Field("", description="Key of the taint.")
    operator: Literal["Exists", "Equal"] = Field(
        "Exists", description="How it is compared; Equal where there is a value."
    )
    value: Line = Field("", description="Value, with Equal.")
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(
        "", description="Every effect when empty."
    )

    @model_validator(mode="before")
    @classmethod
    def _compares_a_value(cls, given: object) -> object:
        """Kubernetes refuses a value with Exists, and means Equal where nothing is said."""
        if isinstance(given, dict) and given.get("value"):
            return {"operator": "Equal", **given}
        return given


class Scheduling(Section):
    """Which nodes it may run on."""

    gpu_nodes: list[Labels] = Field(
        [],
        max_length=50,
        description="Label sets of nodes with the right GPU; a node must have one of them.",
    )
    node_selector: Labels = Field({}, description="Further labels that a node must have.")
    tolerations: list[TolerationSection] = Field(
        [TolerationSection(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")],
        max_length=50,
        description="Taints that pods tolerate.",
    )
    affinity: dict[str, Any] = Field(
        {}, description="Kubernetes' own affinity, instead of gpuNodes."
    )
    runtime_class_name: ObjectName = Field(
        "",
        description="nvidia if the container runtime's default sees no GPU; the class must exist.",
    )
    priority_class_name: ObjectName = Field("", description="PriorityClass of the engine.")
    spread: bool = Field(True, description="Spread replicas over nodes and zones, if possible.")
