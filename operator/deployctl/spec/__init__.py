"""What the user wants (ServiceSpec); `settings` is how deployctl itself is set up."""

from deployctl.spec.domain import service_name
from deployctl.spec.load import load_specs
from deployctl.spec.service import TARGETS, Routing, ServiceSpec, TargetKind

__all__ = ["TARGETS", "Routing", "ServiceSpec", "TargetKind", "load_specs", "service_name"]
