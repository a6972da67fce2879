"""How deployctl itself is set up: where it keeps state and caches. Slow to import."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from deployctl.spec.service import NAMESPACE_PATTERN


class Settings(BaseSettings):
    """From `DEPLOYCTL_STATE_DIR` and its like."""

    model_config = SettingsConfigDict(env_prefix="DEPLOYCTL_", extra="ignore", frozen=True)

    state_dir: Path = Field(
        default_factory=lambda: Path.home() / ".local/state/deployctl",
        description="Releases, their logs and histories.",
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
    cache_dir: Path = Field(
        default_factory=lambda: Path.home() / ".cache/deployctl",
        description="Compile caches, demo checkpoints, results.",
    )
