"""Values of what runs: the engine, its model, its secrets, caches and figures."""

from typing import Literal

from pydantic import Field

from deployctl.engines.vllm.images import DEFAULT_VERSION, image
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


class Engine(Section):
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
        description="Flags from the plan. Model, host, port and drain are the chart's own.",
    )
    env: dict[EnvName, Text] = Field(
        {}, description="Environment from the plan. No secrets: see apiKey and hubToken."
    )
    port: int = Field(8000, ge=1024, le=65535, description="Port the engine listens on.")


class Model(Section):
    """Which checkpoint, and where it lies."""

    id: Line = Field(
        "Qwen/Qwen2.5-7B-Instruct-AWQ",
        min_length=1,
        description="Hub id, or a name for the checkpoint in claim or hostPath.",
    )
    revision: Line = Field("", description="Branch, tag or commit on the Hub.")
    claim: ObjectName = Field(
        "", description="PersistentVolumeClaim that holds the checkpoint, instead of the Hub."
    )
    sub_path: Line = Field("", description="Folder inside the claim.")
    host_path: Path = Field(
        "",
        description="Folder on every node, instead of the Hub. For a laptop's cluster: pod "
        "security level restricted forbids it.",
    )


class ApiKey(Section):
    """The key that clients must give."""

    enabled: bool = Field(True, description="Ask clients for a key.")
    existing_secret: ObjectName = Field(
        "", description="Secret that holds it. [default: RELEASE-api-key]"
    )
    key: SecretKey = Field("api_key", description="Its key inside the Secret.")
    value: Line = Field(
        "",
        description="For a trial: the chart makes the Secret. It then shows in the release and "
        "wherever these values are kept.",
    )


class HubToken(Section):
    """The token for gated and private models."""

    existing_secret: ObjectName = Field("", description="Secret that holds it; none when empty.")
    key: SecretKey = Field("hf_token", description="Its key inside the Secret.")
    value: Line = Field("", description="For a trial, as apiKey.value.")


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
        "50Gi", min_length=1, description="Room on the node when there is no claim."
    )


class Download(Section):
    """A Job that fetches the model once, before engines and without a GPU."""

    enabled: bool = Field(False, description="Needs a cache that several nodes can write.")
    image: Image | Literal[""] = Field("", description="[default: the engine's]")
    cpu: Quantity = Field("1", min_length=1, description="Request.")
    memory: Quantity = Field("4Gi", min_length=1, description="Request and limit.")


class Gpu(Section):
    """Cards of one replica: whole ones, requests equal to limits."""

    count: int = Field(1, ge=0, le=16, description="Cards of one pod; 0 on a CPU.")
    resource: str = Field(
        "nvidia.com/gpu",
        pattern=r"^[a-z0-9.-]+/[a-zA-Z0-9._-]+$",
        max_length=253,
        description="Extended resource, e.g. nvidia.com/mig-3g.40gb.",
    )


class Resources(Section):
    """What a replica needs beside its cards."""

    cpu: Quantity = Field("4", min_length=1, description="Request.")
    cpu_limit: Quantity = Field(
        "", description="[default: none, for throttling stalls the engine's loop]"
    )
    memory: Quantity = Field("24Gi", min_length=1, description="Request.")
    memory_limit: Quantity = Field("", description="[default: the request]")
    shared_memory: Quantity = Field(
        "1Gi", min_length=1, description="Size of shared memory, for NCCL; counts as memory."
    )


class Security(Section):
    """Who the containers run as. No capabilities and no escalation, whatever is said here."""

    run_as_user: int = Field(10001, ge=1, le=2**31 - 1, description="uid; never root.")
    run_as_group: int = Field(10001, ge=1, le=2**31 - 1, description="gid, and the volumes'.")
    read_only_root_filesystem: bool = Field(
        False,
        description="True on a CPU. NVIDIA's hook writes the driver's libraries into the root.",
    )
