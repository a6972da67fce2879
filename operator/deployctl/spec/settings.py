"""How deployctl itself is set up: where it keeps state and caches."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


def _state() -> Path:
    return Path.home() / ".local" / "state" / "deployctl"


def _cache() -> Path:
    return Path.home() / ".cache" / "deployctl"


class Settings(BaseSettings):
    """From `DEPLOYCTL_STATE_DIR` and its like."""

    model_config = SettingsConfigDict(env_prefix="DEPLOYCTL_", extra="ignore", frozen=True)

    state_dir: Path = Field(
        default_factory=_state, description="Releases, their logs and histories."
    )
    cache_dir: Path = Field(
        default_factory=_cache, description="Compile caches, demo checkpoints, results."
    )
