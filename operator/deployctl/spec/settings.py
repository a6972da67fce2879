"""How deployctl itself is set up: where it keeps state and caches. Slow to import."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from deployctl.given import expanded
from deployctl.spec.service import NAMESPACE_PATTERN


class Settings(BaseSettings):
    """From `DEPLOYCTL_STATE_DIR` and its like.

    Raises:
        NotFoundError: a folder begins with a `~` of which nobody knows what it stands for.
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

    def in_cluster(self, context: str | None, namespace: str | None) -> Self:
        """The same for the cluster that a spec names, where it names one."""
        said = {"context": context, "namespace": namespace}
        return self.model_copy(update={k: v for k, v in said.items() if v is not None})

    @field_validator("state_dir", "cache_dir")
    @classmethod
    def _in_full(cls, value: Path, info: ValidationInfo) -> Path:
        variable = f"DEPLOYCTL_{str(info.field_name).upper()}"
        hint = f"set {variable} to the folder's path in full"
        return expanded(value, where=f"{variable}: {value}", hint=hint).absolute()

    @field_validator("impersonate_groups", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part for part in value.split(",") if part] if isinstance(value, str) else value
