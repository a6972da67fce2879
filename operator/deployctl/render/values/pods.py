"""Values of the pods: what runs in them, what it needs, and how they live and are replaced."""

from typing import Annotated, Literal

from pydantic import Field

from deployctl.engines.vllm import DEFAULT_VERSION, image
from deployctl.render.values.base import (
    Annotations,
    EnvName,
    Image,
    Line,
    ObjectName,
    Path,
    Quantity,
    SecretKey,
    Section,
    Text,
)

Seconds = Annotated[int, Field(ge=1, le=86400)]
# Half of what alive.py takes for a freeze (GAP_S), so that one look may be missed.
Interval = Annotated[int, Field(ge=1, le=60)]
Share = Annotated[int, Field(ge=0, le=100)]


class EngineSection(Section):
    """The engine and what it is told: the plan's flags, the same on every target."""

    version: str = Field(
        DEFAULT_VERSION,
        pattern=r"^[0-9]+\.[0-9]+\.[0-9]+[.a-z0-9]*$",
        max_length=40,
        description="vLLM release in the image. Flags and metric names follow it.",
    )
    image: Image = Field(
        image(DEFAULT_VERSION, "cuda"), description="Image, pinned by a tag or a digest."
    )
    pull_policy: Literal["IfNotPresent", "Always", "Never"] = Field(
        "IfNotPresent", description="Images are pinned and large: not pulled again."
    )
    pull_secrets: list[ObjectName] = Field(
        [], max_length=20, description="Names of Secrets for the image's registry."
    )
    args: list[Text] = Field(
        [],
        max_length=500,
        description="Flags from the plan. Model, host, port and drain are set by the chart.",
    )
    env: dict[EnvName, Text] = Field(
        {}, description="Environment from the plan. No secrets: see apiKey and hubToken."
    )
    port: int = Field(8000, ge=1024, le=65535, description="Port the engine listens on.")


class ModelUpload(Section):
    """The claim that up makes for a checkpoint in a local folder. The chart does not read it."""

    storage_class: ObjectName = Field("", description="[default: the cluster's]")
    access_mode: Literal["", "ReadWriteOnce", "ReadWriteMany"] = Field(
        "",
        description="One node's, or all nodes'. [default: ReadWriteOnce for one replica, "
        "ReadWriteMany for more]",
    )
    size: Quantity = Field("", description="[default: the checkpoint's, and a twentieth]")


class Model(Section):
    """Which checkpoint, and where it is."""

    id: Line = Field(
        "Qwen/Qwen2.5-7B-Instruct-AWQ",
        min_length=1,
        description="Hub id, or a name for the checkpoint in claim, image or hostPath.",
    )
    revision: Line = Field("", description="Branch, tag or commit on the Hub.")
    claim: ObjectName = Field(
        "", description="PersistentVolumeClaim that holds the checkpoint, instead of the Hub."
    )
    image: Image | Literal[""] = Field(
        "",
        description="OCI image that holds the checkpoint, mounted as a volume. Kubernetes 1.35, or "
        "1.33 with its feature gate ImageVolume.",
    )
    sub_path: Line = Field("", description="Folder inside the claim or the image.")
    host_path: Path = Field(
        "",
        description="Folder on every node, instead of the Hub. For a laptop's cluster: pod "
        "security level restricted forbids it.",
    )
    digest: str = Field(
        "",
        pattern=r"^([0-9a-f]{64})?$",
        description="SHA-256 of the checkpoint that up brings onto the claim. [default: none: the "
        "claim is yours]",
    )
    upload: ModelUpload = Field(ModelUpload(), description=ModelUpload.__doc__)


class ApiKey(Section):
    """The keys that clients must give."""

    enabled: bool = Field(True, description="Require an API key of clients.")
    existing_secret: ObjectName = Field(
        "",
        description="Secret that holds the key named default, or named keys in keys.json, or both. "
        "[default: RELEASE-api-key]",
    )
    key: SecretKey = Field("api_key", description="The default key's key inside the Secret.")
    value: Line = Field(
        "",
        description="For trying out: the chart makes the Secret. It then shows in the release and "
        "wherever these values are kept.",
    )


class OperatorToken(Section):
    """The token for the operator's routes: metrics, tokenizer, adapters. A Secret may hold none."""

    existing_secret: ObjectName = Field(
        "", description="Secret that holds it. [default: that of apiKey]"
    )
    key: SecretKey = Field("operator_token", description="Its key inside the Secret.")
    value: Line = Field("", description="For trying out, as apiKey.value.")


class HubToken(Section):
    """The token for gated and private models."""

    existing_secret: ObjectName = Field("", description="Secret that holds it; none when empty.")
    key: SecretKey = Field("hf_token", description="Its key inside the Secret.")
    value: Line = Field("", description="For trying out, as apiKey.value.")


class Cache(Section):
    """Where downloads and compiled code are kept between restarts."""

    enabled: bool = Field(
        True, description="Keep them on a volume. Otherwise every start downloads and compiles."
    )
    existing_claim: ObjectName = Field("", description="Use this claim instead of making one.")
    access_mode: Literal["", "ReadWriteOnce", "ReadWriteMany"] = Field(
        "", description="[default: ReadWriteOnce for one replica, ReadWriteMany for more]"
    )
    size: Quantity = Field("50Gi", min_length=1, description="Size of the claim.")
    storage_class: ObjectName = Field("", description="[default: the cluster's]")
    annotations: Annotations = Field(
        {}, description="On the claim, e.g. helm.sh/resource-policy: keep."
    )
    ephemeral_size: Quantity = Field(
        "50Gi", min_length=1, description="Space on the node when there is no claim."
    )


class Download(Section):
    """A Job that fetches the model once, before engines and without a GPU."""

    enabled: bool = Field(False, description="Needs a cache that several nodes can write.")
    image: Image | Literal[""] = Field("", description="[default: the engine's]")
    cpu: Quantity = Field("1", min_length=1, description="CPU request.")
    memory: Quantity = Field("4Gi", min_length=1, description="Memory request and limit.")


Capability = Annotated[str, Field(pattern=r"^([0-9]{1,2}\.[0-9])?$", max_length=4)]


class ClaimedCard(Section):
    """A kind of card that a claim may be given."""

    name: str = Field(
        "card",
        pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
        max_length=63,
        description="What the claim's status calls it.",
    )
    products: list[Line] = Field(
        [], max_length=20, description="Its names, as the driver says productName; any if empty."
    )
    memory: Quantity = Field(
        "", description="Memory that it must have, all of it, as the driver says it."
    )
    least_capability: Capability = Field("", description="Compute capability, from.")
    most_capability: Capability = Field("", description="Compute capability, to.")
    slice: str = Field(
        "",
        pattern=r"^([0-9]{1,2}g\.[0-9]{1,4}gb)?$",
        max_length=12,
        description="MIG slice, with deviceClass mig.nvidia.com.",
    )


class Gpu(Section):
    """Cards of one replica: whole ones, requests equal to limits."""

    count: int = Field(1, ge=0, le=16, description="GPUs of one pod; 0 on a CPU.")
    allocation: Literal["devicePlugin", "claim"] = Field(
        "devicePlugin",
        description="claim: by a ResourceClaimTemplate (DRA, Kubernetes 1.34 and newer), which "
        "says what the model needs. devicePlugin: so many of resource.",
    )
    device_class: ObjectName = Field(
        "gpu.nvidia.com", min_length=1, description="DeviceClass of a claim."
    )
    cards: list[ClaimedCard] = Field(
        [], max_length=8, description="Cards that a claim may be given: the first that is free."
    )
    resource: str = Field(
        "nvidia.com/gpu",
        pattern=r"^[a-z0-9.-]+/[a-zA-Z0-9._-]+$",
        max_length=253,
        description="Extended resource, e.g. nvidia.com/mig-3g.40gb.",
    )


class NodeGroup(Section):
    """Nodes that share one replica (LeaderWorkerSet): no engine was proven so."""

    size: int = Field(1, ge=1, le=64, description="Pods of one replica, each with gpu.count cards.")


class Resources(Section):
    """What a replica needs beside its cards."""

    cpu: Quantity = Field("4", min_length=1, description="CPU request.")
    cpu_limit: Quantity = Field(
        "", description="CPU limit. [default: none: throttling stalls the engine]"
    )
    exclusive_cores: bool = Field(
        False,
        description="On a CPU: the node's CPU manager is static, and gives the pod cores of its "
        "own, to which the engine binds its threads.",
    )
    memory: Quantity = Field("24Gi", min_length=1, description="Memory request.")
    memory_limit: Quantity | Literal["none"] = Field(
        "", description="Memory limit, or none. [default: the request]"
    )
    shared_memory: Quantity = Field(
        "1Gi", min_length=1, description="Size of shared memory, for NCCL; counts as memory."
    )


class Security(Section):
    """User and group of the containers; no capabilities, no escalation."""

    run_as_user: int = Field(10001, ge=1, le=2**31 - 1, description="uid; never root.")
    run_as_group: int = Field(10001, ge=1, le=2**31 - 1, description="gid, and the volumes'.")
    read_only_root_filesystem: bool = Field(
        False,
        description="True on a CPU. NVIDIA's hook writes the driver's libraries into the root.",
    )


class Probes(Section):
    """When a pod counts as started, ready and alive."""

    startup_seconds: int = Field(
        600, ge=30, le=86400, description="Loading may take as long: the plan's start-up budget."
    )
    timeout_seconds: Seconds = Field(
        15, description="For one answer: a saturated engine is slow, not broken."
    )
    liveness_period_seconds: Interval = Field(
        15, description="Interval of liveness probes. Rarer ones would see no engine that hangs."
    )
    liveness_failures: int = Field(10, ge=1, le=1000, description="In a row, before a restart.")
    readiness_period_seconds: Interval = Field(
        5, description="Interval of readiness probes. Rarer ones would see none that stands still."
    )
    readiness_failures: int = Field(6, ge=1, le=1000, description="In a row, before no traffic.")
    stall_seconds: int = Field(
        600,
        ge=0,
        le=86400,
        description="An engine that has requests and makes no token for this long is restarted, "
        "even if /health answers 200. 0 disables it.",
    )
    readiness_stall_seconds: int = Field(
        45,
        ge=0,
        le=86400,
        description="So long, while requests run, and the pod leaves its Service: no new ones for "
        "an engine that stands still. 0: readiness asks /health alone.",
    )


class Drain(Section):
    """How a pod stops without losing requests."""

    pre_stop_seconds: int = Field(
        15,
        ge=0,
        le=600,
        description="At least, from the door's closing to SIGTERM: until no new client is routed "
        "here. SIGTERM waits for requests under way too.",
    )
    grace_period_seconds: int = Field(
        75,
        ge=30,
        le=86400,
        description="From the door's closing to SIGKILL. Requests that come in the last 20 s are "
        "turned away.",
    )


class RolloutSection(Section):
    """How pods are replaced."""

    max_surge: Share = Field(
        0, description="Pods above replicas: each needs its own cards. 1 where some are free."
    )
    max_unavailable: Share = Field(1, description="Pods below replicas.")


class DisruptionBudget(Section):
    """How many pods the drain of a node may evict at once."""

    enabled: bool = Field(True, description="Make a PodDisruptionBudget.")
    max_unavailable: int = Field(1, ge=1, le=100, description="Pods evicted at once.")
