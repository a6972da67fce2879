"""ServingPlan: what will run. Its JSON form is a documented contract (docs/reference/plan.md)."""

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from deployctl.errors import Reason
from deployctl.spec.service import MOST_KINDS

Verdict = Literal["fits", "does_not_fit", "cannot_run"]
Accelerator = Literal["cuda", "cpu"]
PLAN_VERSION = 1
OTHER_CARD = "other"
SHORT_REQUEST = 2048  # tokens of the requests that are counted beside those of full length


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
    activation_gib: float  # of a first start, which compiles
    compile_gib: float = 0.0  # of it; a start that finds the compile cache has it for the KV cache
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
    concurrency: float  # requests at once, each with half of request_tokens filled
    request_tokens: int = 0  # the context, or SHORT_REQUEST where nobody asked for one
    estimate: bool = True  # until a load test says better


class SearchStep(BaseModel):
    """One split that was tried, with one dtype of the KV cache."""

    model_config = ConfigDict(frozen=True)

    tensor_parallel_size: int
    pipeline_parallel_size: int
    kv_cache_dtype: str  # auto, fp8
    max_model_len: int  # the context that it holds; 0: none that would do
    kv_cache_gib: float  # on a GPU; negative: so much is missing
    outcome: str  # a word or two on what came of it


class Fix(BaseModel):
    """A change that makes a refused service start, and what it would have then."""

    model_config = ConfigDict(frozen=True)

    change: str  # the flags to give
    cost: str  # what the user gives for it
    gpu: str  # profile name
    gpus: int  # of one replica
    max_model_len: int
    max_concurrency: float  # requests of max_model_len tokens at once
    concurrency_2048: float  # requests of SHORT_REQUEST tokens at once
    kv_cache_gib: float  # on a GPU

    def __str__(self) -> str:
        return (
            f"use {self.change} ({self.max_model_len:,} tokens of context, "
            f"{self.max_concurrency:,.1f} full requests at once, "
            f"{self.kv_cache_gib:.1f} GiB of KV cache)"
        )


class CardOption(BaseModel):
    """A kind of card that a claim may be given, or why it is not one of them."""

    model_config = ConfigDict(frozen=True)

    gpu: str  # profile name; OTHER_CARD for any that no profile describes
    title: str
    verdict: Verdict
    why: str = ""  # it does not fit
    missing_gib: float = 0.0  # GiB of memory that a card of it lacks, where that is why
    products: tuple[str, ...] = ()  # as its driver calls it; none: whatever it is called
    slice: str | None = None  # of MIG
    memory_mib: int = 0  # that a card must have for this plan, all of it, as its driver tells
    least_capability: str = ""  # compute capability that the plan's kernels take: from, to
    most_capability: str = ""
    usd_per_hour: float | None = None  # of a replica

    @property
    def fits(self) -> bool:
        """Whether the plan runs on it."""
        return self.verdict == "fits"


# Flags that may name another repository of the Hub, or code that does; and values that do not.
_NAMES_ANOTHER = frozenset(
    {
        *("--tokenizer", "--tokenizer-revision", "--code-revision", "--trust-remote-code"),
        *("--hf-config-path", "--generation-config", "--load-format", "--model-weights"),
        *("--speculative-config", "--speculative-model", "--enable-lora", "--lora-modules"),
    }
)
_NONE = frozenset({"auto", "vllm", "safetensors"})
# A repository of the Hub in a flag's value: org/name, adapter=org/name, {"model": "org/name"}.
_REPOSITORY = re.compile(r'(^|[="])[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*($|")')


class ServingPlan(BaseModel):
    """What will run. A pure function of spec, facts, profile and engine version."""

    model_config = ConfigDict(frozen=True)

    version: int = PLAN_VERSION
    name: str  # of the service
    model: str
    model_local: bool
    revision: str | None = None
    # Of a folder that its engine does not see, and has been sent: SHA-256 of all, hexadecimal.
    checkpoint: str = Field(default="", exclude_if=lambda digest: not digest)
    served_model_name: str
    gpu: str  # profile name
    accelerator: Accelerator
    verdict: Verdict
    reasons: tuple[Reason, ...] = ()
    warnings: tuple[Reason, ...] = ()
    engine: EnginePlan
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    replicas: int = 1
    max_model_len: int = 0
    context_chosen: bool = False  # nobody asked for it: the longest that fits
    model_context: int = 0  # tokens, the model's own limit
    max_concurrency: float = 0.0  # requests of max_model_len tokens at once
    concurrency_2048: float = 0.0  # requests of SHORT_REQUEST tokens at once; shorter if context is
    startup_budget_s: int = 600
    shm_gib: float = 1.0
    memory: MemoryBudget | None = None  # None when the facts do not allow a figure
    graphs_in_budget: bool = True  # whether CUDA graphs are taken from the budget, by version
    longest_context: int = 0  # tokens of the longest request that would fit; 0: none
    margin_gib: float | None = None  # left beyond what the start needs; negative: missing
    later_margin_gib: float | None = None  # of a start that finds the compile cache
    safe_utilization: float | None = None  # gpu_memory_utilization that is safe under load
    cost: CostEstimate | None = None
    serving: Serving = Serving()
    notes: tuple[str, ...] = ()  # why these choices, in sentences
    fixes: tuple[Fix, ...] = ()  # of a plan that does not fit: the cheapest for the user first
    search: tuple[SearchStep, ...] = ()  # what was tried, in that order
    cards: tuple[CardOption, ...] = ()  # of a claim: the cheapest that fits first

    @property
    def context_words(self) -> str:
        """The context for a person; where it was chosen, why, and what else fits at once."""
        words = f"{self.max_model_len:,} tokens of context"
        if not self.context_chosen or self.verdict != "fits":
            return words
        if self.max_model_len < self.model_context:
            words += f", the longest that fits of {self.model_context:,}"
        else:
            words += ", the model's own"
        return words + ", with an FP8 KV cache" if self.fp8_chosen else words

    @property
    def requests_words(self) -> str:
        """How many requests fit at once, for a person."""
        each = "each with " if self.replicas > 1 else ""
        words = f"{each}{self.max_concurrency:,.1f} full requests at once"
        if not self.context_chosen or self.max_model_len <= SHORT_REQUEST:
            return words
        most = min(self.concurrency_2048, self.engine.defaults.get("max_num_seqs", 0))
        return f"{words}, or {int(most):,} of {SHORT_REQUEST:,} tokens"

    @property
    def fp8_chosen(self) -> bool:
        """Whether the plan chose an FP8 KV cache, which nobody asked for."""
        return any(warning.code == "fp8_kv_cache_chosen" for warning in self.warnings)

    @property
    def hub_revision(self) -> str | None:
        """What to ask the Hub for; None for a folder, and where a flag says it already."""
        said = self.model_local or "--revision" in self.engine.args
        return None if said else self.revision or None

    @property
    def asks_for_its_model_alone(self) -> bool:
        """Whether there is nothing that the engine would ask the Hub for but its model: then it
        needs no Hub once that is there. False too where its environment says itself whether to
        ask, and for a folder.
        """
        args, env = self.engine.args, self.engine.env
        for word, following in zip(args, (*args[1:], ""), strict=False):
            flag, _, value = word.partition("=")
            if flag.partition(".")[0] in _NAMES_ANOTHER and (value or following) not in _NONE:
                return False
        said = any(name == "HF_HUB_OFFLINE" or "LORA" in name for name in env)
        return not (self.model_local or said)

    @property
    def asks_the_hub(self) -> bool:
        """Whether its engine may ask the Hub: for its model; a folder's, for another repository
        that a flag names, or where its environment says so. The token is for those alone.
        """
        if not self.model_local:
            return True
        if (said := self.engine.env.get("HF_HUB_OFFLINE")) is not None:
            return said.upper() not in ("1", "ON", "YES", "TRUE")
        flag = ""
        for word in self.engine.args:
            value = word
            if word.startswith("--"):
                flag, _, value = word.partition("=")
            if flag.partition(".")[0] in _NAMES_ANOTHER and _REPOSITORY.search(value):
                return True
        return False

    @property
    def alternatives(self) -> tuple[CardOption, ...]:
        """The cards that a claim asks for, in this order: as many as Kubernetes takes."""
        named = [card for card in self.cards if card.fits and card.gpu != OTHER_CARD]
        other = [card for card in self.cards if card.gpu == OTHER_CARD]
        return (*named[: MOST_KINDS - len(other)], *other)

    @property
    def world_size(self) -> int:
        """Processes of one replica, and on GPUs as many cards: one for every part of the model."""
        return self.tensor_parallel_size * self.pipeline_parallel_size
