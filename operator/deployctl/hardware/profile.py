"""GpuProfile: a piece of hardware, as a YAML file describes it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Interconnect(BaseModel):
    """How the cards of one host reach each other."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["nvlink", "pcie", "none"]
    bandwidth_gb_s: float = Field(
        gt=0, allow_inf_nan=False, description="GB/s a card, one direction"
    )
    peer_to_peer: bool = Field(description="whether the driver lets cards write to each other")
    pcie_generation: int | None = Field(None, ge=1, le=8, description="of the card's slot")


class Toleration(BaseModel):
    """A taint of the nodes with this card, which pods may be put on all the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(min_length=1)
    value: str | None = None  # any, unless it is given
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = "NoSchedule"


class GpuProfile(BaseModel):
    """A piece of hardware. Every figure's source is in `sources`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    title: str  # as people write it: "NVIDIA L4 (24 GB)"
    kind: Literal["cuda", "cpu"] = "cuda"
    aliases: tuple[str, ...] = ()
    matches: tuple[str, ...] = ()  # names nvidia-smi prints, whole
    memory_gib: float = Field(
        gt=0,
        le=4096,
        allow_inf_nan=False,
        description="GiB a card, as the driver (torch) reports it; the host's for a CPU",
    )
    memory_bandwidth_gb_s: float = Field(gt=0, allow_inf_nan=False, description="GB/s a card")
    # "8.9"; None for a CPU
    compute_capability: str | None = Field(None, pattern=r"^[0-9]{1,2}\.[0-9]$")
    dense_tflops_bf16: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="TFLOPS in BF16 without sparsity"
    )
    interconnect: Interconnect | None = None
    max_per_host: int = Field(8, ge=1)
    price_per_hour_usd: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="US dollars a card and hour, on demand; rough"
    )
    node_selector: dict[str, str] = {}  # labels that NVIDIA's GPU feature discovery sets
    node_selector_gke: dict[str, str] = {}  # labels that GKE sets instead
    tolerations: tuple[Toleration, ...] = ()  # of taints besides nvidia.com/gpu
    runtime_class: str | None = Field(
        None, description="RuntimeClass of pods, where a cluster's default sees no card"
    )
    sources: dict[str, str] = {}  # field -> where the figure comes from
