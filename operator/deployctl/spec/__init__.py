"""What the user wants (ServiceSpec), and how deployctl itself is set up (Settings)."""

from deployctl.spec.load import load_specs
from deployctl.spec.service import ServiceSpec, service_name
from deployctl.spec.settings import Settings

__all__ = ["ServiceSpec", "Settings", "load_specs", "service_name"]
