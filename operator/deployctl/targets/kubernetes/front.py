"""Where a release is asked: the Service before it and its port, and the engine's, by the values."""

from typing import Any, Literal

from deployctl.render import yamltext
from deployctl.render.bundle import VALUES_FILE, Bundle

_PORT = 8000  # of the chart's engine and Service, where the values say nothing


def port_of(bundle: Bundle, part: Literal["engine", "service"]) -> int:
    """The port of the engine in its pod, or of the Service before it: the user's own values may
    say another than the spec."""
    return int(_part(bundle, part).get("port") or _PORT)


def front_of(bundle: Bundle) -> str:
    """The Service that clients ask: the router's, where there is one (vllm.front.name)."""
    routed = _part(bundle, "router").get("enabled")
    return f"{bundle.service}-router" if routed else bundle.service


def _part(bundle: Bundle, name: str) -> dict[str, Any]:
    """What the values say of one part of the chart."""
    document = yamltext.read(bundle.files.get(VALUES_FILE, "")) or {}
    return document.get(name) or {}
