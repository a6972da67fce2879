"""ServiceSpec: one service, as the user describes it.

The one definition behind the keys of a spec file, the `DEPLOYCTL_*` variables and the
command line's options: a field's description is the option's help.
"""

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Scalar = str | int | float | bool
NAME_PATTERN = r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$"
_ENV_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_SECRET_WORDS = re.compile(r"(TOKEN|API_?KEY|SECRET|PASSWORD)$", re.IGNORECASE)


def _in(group: str) -> dict[str, Any]:
    """Names the heading under which `--help` lists the option."""
    return {"group": group}


class ServiceSpec(BaseModel):
    """What the user wants served, where, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(
        min_length=1,
        description="Checkpoint: a folder, or a Hub id such as Qwen/Qwen2.5-7B-Instruct-AWQ.",
        json_schema_extra=_in("What to serve"),
    )
    revision: str | None = Field(
        None,
        description="Branch, tag or commit on the Hub.",
        json_schema_extra=_in("What to serve"),
    )
    name: str | None = Field(
        None,
        pattern=NAME_PATTERN,
        description="Name of the service. [default: from the model]",
        json_schema_extra=_in("What to serve"),
    )
    served_model_name: str | None = Field(
        None,
        min_length=1,
        description="Name that clients ask for. [default: the model id or folder name]",
        json_schema_extra=_in("What to serve"),
    )
    trust_remote_code: bool = Field(
        False,
        description="Let the checkpoint run its own Python.",
        json_schema_extra=_in("What to serve"),
    )
    allow_pickle: bool = Field(
        False,
        description="Accept .bin weights, which can run code when loaded.",
        json_schema_extra=_in("What to serve"),
    )

    gpu: str = Field(
        "auto",
        min_length=1,
        description="Profile name or alias, a profile file, cpu, or auto (asks nvidia-smi).",
        json_schema_extra=_in("Hardware"),
    )
    gpus: int = Field(
        1, ge=1, le=1024, description="GPUs to use in all.", json_schema_extra=_in("Hardware")
    )
    gpu_memory_gib: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="GiB per GPU, instead of the profile's figure.",
        json_schema_extra=_in("Hardware"),
    )
    target: Literal["process", "docker"] | None = Field(
        None,
        description="Where it runs. [default: docker for a GPU, process for cpu]",
        json_schema_extra=_in("Hardware"),
    )

    tensor_parallel_size: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="GPUs that share one replica's layers.",
        json_schema_extra=_in("Engine"),
    )
    pipeline_parallel_size: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Stages of layers, one after the other.",
        json_schema_extra=_in("Engine"),
    )
    replicas: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Copies of the engine. [default: what the GPUs allow]",
        json_schema_extra=_in("Engine"),
    )
    max_model_len: int | None = Field(
        None,
        ge=1,
        description="Context in tokens, prompt and answer together.",
        json_schema_extra=_in("Engine"),
    )
    users: int | None = Field(
        None,
        ge=1,
        description="Requests of full context to hold at once; the plan checks it.",
        json_schema_extra=_in("Engine"),
    )
    gpu_memory_utilization: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Share of the GPU's memory the engine may take.",
        json_schema_extra=_in("Engine"),
    )
    kv_cache_gib: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="GiB of KV cache on a CPU. [default: 1]",
        json_schema_extra=_in("Engine"),
    )
    max_num_seqs: int | None = Field(
        None,
        ge=1,
        description="Sequences in one step at most.",
        json_schema_extra=_in("Engine"),
    )
    max_num_batched_tokens: int | None = Field(
        None,
        ge=1,
        description="Tokens in one step at most.",
        json_schema_extra=_in("Engine"),
    )
    kv_cache_dtype: str | None = Field(
        None, min_length=1, description="auto, fp8, …", json_schema_extra=_in("Engine")
    )
    dtype: str | None = Field(
        None,
        min_length=1,
        description="auto, float16, bfloat16, float32.",
        json_schema_extra=_in("Engine"),
    )
    enforce_eager: bool = Field(
        False,
        description="No torch.compile, no CUDA graphs: starts faster, runs slower.",
        json_schema_extra=_in("Engine"),
    )
    engine_version: str | None = Field(
        None,
        pattern=r"^\d+\.\d+\.[a-z0-9]+([.+-][a-z0-9]+)*$",
        description="vLLM release. [default: the one deployctl is tested with]",
        json_schema_extra=_in("Engine"),
    )
    image: str | None = Field(
        None,
        min_length=1,
        description="Container image, pinned by tag or digest.",
        json_schema_extra=_in("Engine"),
    )
    engine_args: dict[str, Scalar | list[Scalar] | None] = Field(
        {},
        description="Any other engine flag, name=value; repeat for more.",
        json_schema_extra=_in("Engine"),
    )
    env: dict[str, str] = Field(
        {},
        description="Environment of the engine, NAME=value; no secrets.",
        json_schema_extra=_in("Engine"),
    )

    port: int = Field(
        8000, ge=1, le=65535, description="Port on this host.", json_schema_extra=_in("Access")
    )
    expose: bool = Field(
        False,
        description="Listen on every interface instead of loopback; an API key is then required "
        "and made when none is given.",
        json_schema_extra=_in("Access"),
    )
    api_key_file: Path | None = Field(
        None,
        description="File that holds the API key. DEPLOYCTL_API_KEY works too.",
        json_schema_extra=_in("Access"),
    )
    hf_token_file: Path | None = Field(
        None,
        description="File that holds the Hub token. HF_TOKEN works too.",
        json_schema_extra=_in("Access"),
    )
    startup_timeout: int | None = Field(
        None,
        ge=1,
        description="Seconds to wait for the first answer. [default: from the plan]",
        json_schema_extra=_in("Access"),
    )

    @field_validator("model", "served_model_name", "revision", "image", "gpu", "dtype")
    @classmethod
    def _one_printable_line(cls, value: str | None) -> str | None:
        if value is not None and (not value.isprintable() or value.startswith("-")):
            raise ValueError("must be one printable line that does not begin with a dash")
        return value

    @field_validator("env")
    @classmethod
    def _plain_environment(cls, value: dict[str, str]) -> dict[str, str]:
        for name, content in value.items():
            if not _ENV_NAME.match(name):
                raise ValueError(f"{name!r} is not the name of an environment variable")
            if _SECRET_WORDS.search(name):
                raise ValueError(f"{name} looks like a secret; use api_key_file or hf_token_file")
            if "\0" in content:
                raise ValueError(f"{name} holds a NUL character")
        return value

    @property
    def service(self) -> str:
        """The service's name: `name`, or one made from the model."""
        return self.name or service_name(self.model)

    @property
    def needs_api_key(self) -> bool:
        """Whether clients must give an API key."""
        return self.expose or self.api_key_file is not None


def service_name(model: str) -> str:
    """Makes a service's name (a DNS label of at most 40 characters) from a folder or Hub id."""
    last = model.rstrip("/").rsplit("/", 1)[-1].lower()
    label = re.sub(r"[^a-z0-9]+", "-", last).strip("-")[:40].strip("-")
    if not label or not label[0].isalpha():
        label = f"m-{label}".strip("-")[:40].strip("-")
    return label
