"""How deployctl itself is set up: where it keeps state and caches, and whom it tells. Slow to
import."""

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from deployctl.errors import SpecError
from deployctl.given import expanded
from deployctl.spec.service import NAMESPACE_PATTERN

# What pipelines call the commit that they work on.
_COMMIT = AliasChoices("DEPLOYCTL_COMMIT", "GITHUB_SHA", "CI_COMMIT_SHA")


class Settings(BaseSettings):
    """From `DEPLOYCTL_STATE_DIR` and its like.

    Raises:
        NotFoundError: a folder begins with a `~` of which nobody knows what it stands for.
        SpecError: an address is none, or holds a password.
    """

    model_config = SettingsConfigDict(
        env_prefix="DEPLOYCTL_", env_ignore_empty=True, extra="ignore", frozen=True
    )

    state_dir: Path = Field(
        default=Path("~/.local/state/deployctl"), description="Releases, their logs and histories."
    )
    context: str | None = Field(
        default=None, description="Context of the kubeconfig, for the target kubernetes."
    )
    namespace: str | None = Field(
        default=None,
        pattern=NAMESPACE_PATTERN,
        description="Namespace there. [default: the context's]",
    )
    impersonate: str | None = Field(default=None, description="User to act as there.")
    impersonate_groups: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Groups to act in there, with commas between."
    )
    cache_dir: Path = Field(
        default=Path("~/.cache/deployctl"), description="Compile caches, demo checkpoints, results."
    )
    grafana_url: str | None = Field(
        default=None,
        description="Grafana that is told of releases, rollbacks, load tests and tuning trials.",
    )
    grafana_token_file: Path | None = Field(
        default=None, description="File that holds the token of a service account there."
    )
    pushgateway_url: str | None = Field(
        default=None, description="Pushgateway that gets the figures of load tests."
    )
    commit: str | None = Field(
        default=None,
        validation_alias=_COMMIT,
        description="What they are grouped by there. [default: GITHUB_SHA, CI_COMMIT_SHA]",
    )
    gateway_image: str | None = Field(
        default=None,
        description="Image of the gateway's Caddy, for the target docker. [default: the official]",
    )
    textfile_dir: Path | None = Field(
        default=None,
        description="Folder of node-exporter's textfile collector, for releases and load tests.",
    )

    def in_cluster(self, context: str | None, namespace: str | None) -> Self:
        """The same for the cluster that a spec names, where it names one."""
        said = {"context": context, "namespace": namespace}
        return self.model_copy(update={k: v for k, v in said.items() if v is not None})

    @field_validator("state_dir", "cache_dir", "grafana_token_file", "textfile_dir")
    @classmethod
    def _in_full(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is None:
            return None
        variable = _variable(info)
        hint = f"set {variable} to the path in full"
        return expanded(value, where=f"{variable}: {value}", hint=hint).absolute()

    @field_validator("grafana_url", "pushgateway_url")
    @classmethod
    def _address(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            whole = None
        hint = "write it as https://HOST or http://HOST:PORT"
        if not whole or parts.query or parts.fragment or not value.isprintable():
            raise SpecError("this is no address", where=_variable(info), hint=hint)
        if "@" in parts.netloc:
            hint = "leave user and password out of it"
            raise SpecError("an address holds no password", where=_variable(info), hint=hint)
        return value.rstrip("/")

    @field_validator("impersonate_groups", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part for part in value.split(",") if part] if isinstance(value, str) else value


def _variable(info: ValidationInfo) -> str:
    return f"DEPLOYCTL_{str(info.field_name).upper()}"
