"""GpuProfile: a piece of hardware, as a YAML file describes it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Interconnect(BaseModel):
    """How the cards of one host reach each other."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["nvlink", "pcie", "none"]
    bandwidth_gb_s: float = Field(gt=0, description="GB/s a card, one direction")
    peer_to_peer: bool = Field(description="whether the driver lets cards write to each other")


class GpuProfile(BaseModel):
    """A piece of hardware. Every figure's source is in `sources`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    title: str  # as people write it: "NVIDIA L4 (24 GB)"
    kind: Literal["cuda", "cpu"] = "cuda"
    aliases: tuple[str, ...] = ()
    matches: tuple[str, ...] = ()  # names nvidia-smi prints, whole
    memory_gib: float = Field(gt=0, description="GiB, as the driver (torch) reports it")
    memory_bandwidth_gb_s: float = Field(gt=0, description="GB/s")
    compute_capability: str | None = None  # "8.9"; None for a CPU
    dense_tflops_bf16: float | None = Field(None, gt=0)
    interconnect: Interconnect | None = None
    max_per_host: int = Field(8, ge=1)
    price_per_hour_usd: float | None = Field(None, ge=0)
    node_selector: dict[str, str] = {}
    sources: dict[str, str] = {}  # field -> where the figure comes from
