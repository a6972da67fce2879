"""How deployctl itself is set up: where it keeps state and caches. Slow to import."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """From `DEPLOYCTL_STATE_DIR` and its like."""

    model_config = SettingsConfigDict(env_prefix="DEPLOYCTL_", extra="ignore", frozen=True)

    state_dir: Path = Field(
        default_factory=lambda: Path.home() / ".local/state/deployctl",
        description="Releases, their logs and histories.",
    )
    cache_dir: Path = Field(
        default_factory=lambda: Path.home() / ".cache/deployctl",
        description="Compile caches, demo checkpoints, results.",
    )
