"""ServingPlan: what will run. Its JSON form is a documented contract (docs/reference/plan.md)."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from deployctl.errors import Reason

Verdict = Literal["fits", "does_not_fit", "cannot_run"]
PLAN_VERSION = 1


class EnginePlan(BaseModel):
    """The engine and the flags that every target passes to it."""

    model_config = ConfigDict(frozen=True)

    name: str  # vllm
    version: str  # 0.32.0
    image: str  # pinned
    args: tuple[str, ...]  # after model, host and port, which are the target's business
    env: dict[str, str] = {}  # what the engine needs wherever it runs; no secrets, no paths
    defaults: dict[str, Any] = {}  # what the engine will choose for settings left unset
    tasks: tuple[str, ...] = ("generate",)  # what it is asked to do: decides its routes


class Serving(BaseModel):
    """How chats are read. `tool_calls`: `parsed`, by `tool_parser`; `text`: the chat template
    knows tools, but nothing reads the calls; `off`: the user wants none; `none`: no tools known.
    """

    model_config = ConfigDict(frozen=True)

    tool_calls: Literal["parsed", "text", "off", "none"] = "none"
    tool_parser: str | None = None
    reasoning_parser: str | None = None
    sampling: dict[str, float] = {}  # where a request does not say, from generation_config.json


class MemoryBudget(BaseModel):
    """GiB per GPU (`kv_cache_tokens` and `kv_bytes_per_token` aside), as the engine counts."""

    model_config = ConfigDict(frozen=True)

    gpu_total_gib: float
    budget_gib: float
    weights_gib: float
    non_torch_gib: float
    activation_gib: float
    cudagraph_gib: float
    kv_cache_gib: float
    kv_cache_tokens: int
    kv_bytes_per_token: int  # per GPU


class CostEstimate(BaseModel):
    """A roofline, not a measurement: dollars and tokens a second of all replicas together."""

    model_config = ConfigDict(frozen=True)

    usd_per_hour: float
    decode_tokens_s: float
    prefill_tokens_s: float | None = None
    usd_per_million_output_tokens: float
    usd_per_million_input_tokens: float | None = None
    concurrency: float  # requests at once, each with half of the context filled
    estimate: bool = True  # until a load test says better


class ServingPlan(BaseModel):
    """What will run. A pure function of spec, facts, profile and engine version."""

    model_config = ConfigDict(frozen=True)

    version: int = PLAN_VERSION
    name: str  # of the service
    model: str
    model_local: bool
    revision: str | None = None
    served_model_name: str
    gpu: str  # profile name
    accelerator: Literal["cuda", "cpu"]
    verdict: Verdict
    reasons: tuple[Reason, ...] = ()
    warnings: tuple[Reason, ...] = ()
    engine: EnginePlan
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    replicas: int = 1
    max_model_len: int = 0
    max_concurrency: float = 0.0  # requests of max_model_len tokens at once
    startup_budget_s: int = 600
    shm_gib: float = 1.0
    memory: MemoryBudget | None = None  # None when the facts do not allow a figure
    graphs_in_budget: bool = True  # whether CUDA graphs are taken from the budget, by version
    longest_context: int = 0  # tokens of the longest request that would fit; 0: none
    safe_utilization: float | None = None  # gpu_memory_utilization that is safe under load
    cost: CostEstimate | None = None
    serving: Serving = Serving()
    notes: tuple[str, ...] = ()  # why these choices, in sentences

    @property
    def hub_revision(self) -> str | None:
        """What to ask the Hub for; None for a folder, and where a flag says it already."""
        said = self.model_local or "--revision" in self.engine.args
        return None if said else self.revision or None

    @property
    def world_size(self) -> int:
        """Processes of one replica, and on GPUs as many cards: one for every part of the model."""
        return self.tensor_parallel_size * self.pipeline_parallel_size
