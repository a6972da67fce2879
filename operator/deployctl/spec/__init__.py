"""What the user wants (ServiceSpec), and how deployctl itself is set up (Settings)."""

from typing import TYPE_CHECKING, Any

from deployctl.spec.load import load_specs
from deployctl.spec.service import ServiceSpec, service_name

if TYPE_CHECKING:
    from deployctl.spec.settings import Settings

__all__ = ["ServiceSpec", "Settings", "load_specs", "service_name"]


def __getattr__(name: str) -> Any:
    """Imports Settings when it is asked for: pydantic-settings takes as long as a plan."""
    if name == "Settings":
        from deployctl.spec.settings import Settings

        return Settings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
