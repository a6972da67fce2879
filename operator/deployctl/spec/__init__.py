"""What the user wants (ServiceSpec), and how deployctl itself is set up (Settings)."""

from deployctl.spec.load import Settings, load_specs
from deployctl.spec.service import ServiceSpec, TargetKind, service_name

__all__ = ["ServiceSpec", "Settings", "TargetKind", "load_specs", "service_name"]
