"""Asks the Docker engine and the NVIDIA toolkit, through their own command lines."""

import json
import re
from collections.abc import Mapping
from typing import Any

from deployctl.doctor.facts import Docker
from deployctl.doctor.shell import Run

TIMEOUT_S = 10.0


def ask_docker(run: Run, environ: Mapping[str, str]) -> Docker:
    """Returns what is known of the engine that DOCKER_HOST, or the context, points to."""
    host = environ.get("DOCKER_HOST") or None
    away = host if host and not host.startswith(("unix:", "fd:")) else None
    info = run(["docker", "info", "--format", "{{json .}}"], TIMEOUT_S)
    if info.code is None and not info.hung:
        return Docker(client=False, host=away)
    if info.hung:
        return Docker(True, error=f"no answer in {TIMEOUT_S:.0f} s", hung=True, host=away)
    compose = run(["docker", "compose", "version", "--short"], TIMEOUT_S)
    version = compose.out.strip().lstrip("v") if compose.code == 0 else None
    facts = _object(info.out)
    error = _first(facts.get("ServerErrors")) or (None if info.code == 0 else _last(info.text))
    if error or not facts.get("ServerVersion"):
        return Docker(
            client=True,
            error=error or "it gave no version",
            denied="permission denied" in (error or info.text).lower(),
            compose=version,
            host=away,
        )
    return Docker(
        client=True,
        server=str(facts["ServerVersion"]),
        compose=version,
        runtimes=tuple(sorted(facts.get("Runtimes") or {})),
        cdi_devices=tuple(str(d.get("ID", "")) for d in facts.get("DiscoveredDevices") or ()),
        host=away,
        root_dir=facts.get("DockerRootDir") or None,
        rootless=any("rootless" in str(o) for o in facts.get("SecurityOptions") or ()),
    )


def ask_toolkit(run: Run) -> str | None:
    """Returns the version of the NVIDIA container toolkit, None when it is not installed."""
    answer = run(["nvidia-ctk", "--version"], TIMEOUT_S)
    if answer.code is None:
        return None
    found = re.search(r"\d+\.\d+\.\d+\S*", answer.text)
    return found[0] if found else "unknown"


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _first(value: Any) -> str | None:
    return str(value[0]) if isinstance(value, list) and value else None


def _last(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
