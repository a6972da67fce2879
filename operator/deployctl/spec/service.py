"""ServiceSpec: one service, as the user describes it.

The one definition behind the keys of a spec file, the `DEPLOYCTL_*` variables and the
command line's options: a field's description is the option's help.
"""

from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from deployctl.spec import enginearguments, environment
from deployctl.spec.collector import CollectorAddress
from deployctl.spec.domain import Domain, service_name
from deployctl.spec.number import NO_SWITCHES, Seconds
from deployctl.spec.option import option
from deployctl.spec.requestlimits import REQUEST_LIMITS, RequestLimits
from deployctl.spec.watchdog import Watchdog

Scalar = str | int | float | bool
TargetKind = Literal["process", "docker", "kubernetes"]  # each with a driver in targets/
TARGETS: tuple[TargetKind, ...] = get_args(TargetKind)
HOSTS: tuple[TargetKind, ...] = ("process", "docker")  # targets that are one machine
Routing = Literal["least-busy", "prefix"]  # which of several engines a request goes to
ANY_CARD = "any"  # of `gpu`: every kind that is known
MOST_KINDS = 8  # alternatives that one request of a Kubernetes claim may have
MOST_GIB = 4096  # of memory of a card, as of a profile's
MOST_WAIT_S = 604_800  # a week
MOST_HOLD_S = 3600
MOST_TOKENS = 2**31  # of any count of tokens or sequences, which vLLM keeps in 32 bits
NAME_PATTERN = r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$"
NAMESPACE_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
NAMESPACE_RULE = "lower-case letters, digits and dashes, 63 at most"
# The context of a validation of what was accepted once: rules that came later do not undo it.
RECORDED = {"recorded": True}


class ServiceSpec(BaseModel):
    """What the user wants served, where, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(
        min_length=1,
        description="Checkpoint: a folder, or a Hub id such as Qwen/Qwen2.5-7B-Instruct-AWQ.",
        json_schema_extra={"group": "What to serve"},
    )
    revision: str | None = option(None, "Branch, tag or commit on the Hub.", "What to serve")
    offline: bool = option(
        False,
        "Ask no network: model and image are there, or it is refused.",
        "What to serve",
    )
    name: str | None = option(
        None,
        "Name of the service. [default: from the model]",
        "What to serve",
        pattern=NAME_PATTERN,
    )
    served_model_name: str | None = option(
        None,
        "Name that clients ask for. [default: the model id or folder name]",
        "What to serve",
        min_length=1,
    )
    trust_remote_code: bool = option(
        False, "Let the checkpoint run its own Python.", "What to serve"
    )
    allow_pickle: bool = option(
        False, "Accept .bin weights, which can run code when loaded.", "What to serve"
    )

    gpu: str = option(
        "auto",
        "Profile name or alias, a profile file, cpu, or auto: asks nvidia-smi, or on Kubernetes "
        "the cluster for its only kind. There also several with commas between, or any: the "
        "cheapest that is free.",
        "Hardware",
        min_length=1,
    )
    cards: Literal["device-plugin", "claim"] | None = option(
        None,
        "How pods get cards on Kubernetes: by a device plugin, or by a claim (DRA) that says what "
        "the model needs. [default: device-plugin; claim for several kinds]",
        "Hardware",
    )
    gpus: int = option(1, "GPUs to use in all.", "Hardware", ge=1, le=1024)
    gpu_memory_gib: float | None = option(
        None, "GiB per GPU, instead of the profile's figure.", "Hardware", gt=0, le=MOST_GIB
    )
    gpu_memory_held_gib: float | None = option(
        None, "GiB per GPU that others hold: a desktop.", "Hardware", ge=0, le=MOST_GIB
    )
    target: TargetKind | None = option(
        None,
        "Where it runs. [default: kubernetes with --context or --namespace, else docker for a GPU, "
        "process for cpu]",
        "Where it runs",
    )
    context: str | None = option(
        None, "Context of the kubeconfig. [default: the current one]", "Where it runs"
    )
    namespace: str | None = option(
        None,
        "Namespace on Kubernetes. [default: the context's]",
        "Where it runs",
        pattern=NAMESPACE_PATTERN,
    )

    watchdog: Watchdog = option(
        {},
        "How an engine on a host is watched, NAME=N: stall (seconds without progress; 300), "
        "restarts (an hour; 5, 0 for none), memory (share of the machine's, said beyond), "
        "quiet_hour (UTC; one beyond is restarted then).",
        "Where it runs",
    )

    tensor_parallel_size: int | None = option(
        None, "GPUs that share one replica's layers.", "Engine", ge=1, le=1024
    )
    pipeline_parallel_size: int | None = option(
        None, "Stages of layers, one after the other.", "Engine", ge=1, le=1024
    )
    replicas: int | None = option(
        None,
        "Copies of the engine, one or more; on a host several stand behind a gateway. [default: "
        "what the GPUs allow]",
        "Engine",
        ge=1,
        le=1024,
    )
    routing: Routing | None = option(
        None,
        "Which copy a request goes to: the one with the fewest requests, or the one that has the "
        "prompt's beginning in its cache. [default: least-busy]",
        "Engine",
    )
    max_model_len: int | None = option(
        None,
        "Context in tokens, prompt and answer together. [default: the longest that fits]",
        "Engine",
        ge=1,
        le=MOST_TOKENS,
    )
    min_model_len: int = option(
        4096,
        "Least context, in tokens, where none is asked for; less is refused.",
        "Engine",
        ge=1,
        le=MOST_TOKENS,
    )
    users: int | None = option(
        None,
        "Requests of full context to hold at once; the plan checks it.",
        "Engine",
        ge=1,
        le=MOST_TOKENS,
    )
    gpu_memory_utilization: float | None = option(
        None, "Share of the GPU's memory the engine may take.", "Engine", gt=0, le=1
    )
    kv_cache_gib: float | None = option(
        None, "GiB of KV cache on a CPU. [default: 1]", "Engine", gt=0, le=MOST_GIB
    )
    max_num_seqs: int | None = option(
        None, "Sequences in one step at most.", "Engine", ge=1, le=MOST_TOKENS
    )
    max_num_batched_tokens: int | None = option(
        None, "Tokens in one step at most.", "Engine", ge=1, le=MOST_TOKENS
    )
    kv_cache_dtype: str | None = option(None, "auto, fp8, …", "Engine", min_length=1)
    dtype: str | None = option(None, "auto, float16, bfloat16, float32.", "Engine", min_length=1)
    enforce_eager: bool = option(
        False, "No torch.compile, no CUDA graphs: starts faster, runs slower.", "Engine"
    )
    engine_version: str | None = option(
        None,
        "vLLM release. [default: the one deployctl is tested with]",
        "Engine",
        pattern=r"^\d+\.\d+\.[a-z0-9]+([.+-][a-z0-9]+)*$",
    )
    image: str | None = option(
        None, "Container image, pinned by tag or digest.", "Engine", min_length=1
    )
    engine_args: dict[str, Scalar | list[Scalar] | None] = option(
        {},
        "Any other engine flag, name=value, or a switch's name alone; repeat for more.",
        "Engine",
        flag="--engine-arg",
    )
    env: dict[str, str] = option({}, "Environment of the engine, NAME=value; no secrets.", "Engine")

    port: int = option(8000, "Port on this host.", "Access", ge=1, le=65535)
    expose: bool = option(
        False,
        "Listen on every interface instead of loopback; an API key is then required "
        "and made when none is given.",
        "Access",
    )
    api_key_file: Path | None = option(
        None, "File that holds the API key. DEPLOYCTL_API_KEY works too.", "Access"
    )
    request_log: bool = option(
        False, "A line of JSON a request in the engine's log; never a prompt.", "Access"
    )
    request_limits: RequestLimits = option(
        {},
        "The most that one request may ask for, NAME=N: " + ", ".join(REQUEST_LIMITS) + ".",
        "Access",
        flag="--request-limit",
    )
    otlp_traces_endpoint: CollectorAddress | None = option(
        None,
        "Where the engine sends traces: http://HOST:4317, or http://HOST:4318/v1/traces.",
        "Access",
        flag="--otlp-endpoint",
    )
    gateway: bool | None = option(
        None,
        "Serve behind this host's gateway, which lets requests wait while an engine is replaced.",
        "Gateway",
    )
    gateway_port: int | None = option(
        None,
        "The gateway's port. [default: 8080, or 443 with --domain]",
        "Gateway",
        ge=1,
        le=65535,
    )
    domain: Domain | None = option(
        None, "Name that the gateway serves with TLS; implies --gateway.", "Gateway"
    )
    tls: Literal["acme", "internal"] | None = option(
        None,
        "Who signs the domain's certificate: a public authority, or one of the gateway's own. "
        "[default: acme]",
        "Gateway",
    )
    hold: Seconds | None = option(
        None,
        "How long a request waits in the gateway for an engine: 300 (seconds), 5m. [default: 5m]",
        "Gateway",
        metavar="TIME",
        ge=1,
        le=MOST_HOLD_S,
    )
    with_chat: bool = option(
        False, "Serve a page to chat on beside the API, at /chat/; goes with --gateway.", "Gateway"
    )
    hf_token_file: Path | None = option(
        None, "File that holds the Hub token. HF_TOKEN works too.", "Access"
    )
    startup_timeout: Seconds | None = option(
        None,
        "How long to wait for the first answer: 900 (seconds), 15m. [default: from the plan]",
        "Access",
        metavar="TIME",
        ge=1,
        le=MOST_WAIT_S,
    )

    @model_validator(mode="before")
    @classmethod
    def _cluster_where_one_is_named(cls, value: object) -> object:
        """A context or a namespace is of a cluster, so that no host is meant."""
        if isinstance(value, dict) and (value.get("context") or value.get("namespace")):
            return {**value, "target": value.get("target") or "kubernetes"}
        return value

    _numbers = NO_SWITCHES

    @field_validator("model", "served_model_name", "revision", "image", "gpu", "dtype")
    @classmethod
    def _one_printable_line(cls, value: str | None) -> str | None:
        if value is not None and (not value.isprintable() or value.startswith("-")):
            raise ValueError("must be one printable line that does not begin with a dash")
        return value

    @field_validator("engine_args", mode="before")
    @classmethod
    def _json_as_text(cls, value: object) -> object:
        return enginearguments.as_text(value)

    @field_validator("engine_args")
    @classmethod
    def _one_name_each(cls, value: dict[str, Any]) -> dict[str, Any]:
        return enginearguments.one_name_each(value)

    @field_validator("env")
    @classmethod
    def _plain_environment(cls, value: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        return environment.plain(value, recorded=_recorded(info))

    @field_validator("startup_timeout", mode="before")
    @classmethod
    def _bounded_wait(cls, value: object, info: ValidationInfo) -> object:
        """Records of before there was a bound are read as if they kept to it."""
        return min(value, MOST_WAIT_S) if _recorded(info) and isinstance(value, int) else value

    @field_validator("tls")
    @classmethod
    def _of_a_domain(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value and info.data.get("domain", "wrong") is None:
            raise ValueError("tls is of a domain: give the name with --domain, or leave it out")
        return value

    @property
    def wants_gateway(self) -> bool:
        """Whether it says so: several engines of a host are behind the gateway without a word."""
        return bool(self.gateway) or self.domain is not None

    @property
    def service(self) -> str:
        """The service's name: `name`, or one made from the model."""
        return self.name or service_name(self.model)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of cards that `gpu` names; `any` and `auto` are told as they are."""
        return tuple(filter(None, (name.strip() for name in self.gpu.split(","))))

    @property
    def claims_cards(self) -> bool:
        """Whether pods get their cards by a claim."""
        return self.cards == "claim" or self.gpu == ANY_CARD or len(self.kinds) > 1

    @property
    def needs_api_key(self) -> bool:
        """Whether clients must give an API key."""
        return self.expose or self.api_key_file is not None


def _recorded(info: ValidationInfo) -> bool:
    return bool(info.context and info.context.get("recorded"))
