"""Asks the Docker engine, NVIDIA's toolkit and the Hub, and looks at the port and the Hub token.

The token itself never leaves this module.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx

from deployctl.doctor.facts import Docker, Hub
from deployctl.doctor.shell import Run, bounded
from deployctl.host import port_error
from deployctl.hub import DEFAULT_ENDPOINT

TIMEOUT_S = 10.0
HUB_TIMEOUT_S = 6.0
_Answer = tuple[int | None, str | None, float | None]  # status, error, clock skew in seconds


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
    errors = facts.get("ServerErrors")
    error = str(errors[0]) if isinstance(errors, list) and errors else ""
    if info.code:
        error = error or info.lines[-1].strip()
    known = Docker(client=True, compose=version, host=away)
    if error or not facts.get("ServerVersion"):
        denied = "permission denied" in (error or info.text).lower()
        return replace(known, error=error or "it gave no version", denied=denied)
    return replace(
        known,
        server=str(facts["ServerVersion"]),
        runtimes=tuple(sorted(facts.get("Runtimes") or {})),
        cdi_devices=tuple(str(d.get("ID", "")) for d in facts.get("DiscoveredDevices") or ()),
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


def ask_port(port: int) -> tuple[bool | None, str | None]:
    """Tries to listen on the port for a moment. Returns whether it is free, else why not."""
    error = port_error(port)
    if error is None:
        return True, None
    denied = isinstance(error, PermissionError)
    return False, "this user may not listen there" if denied else error.strerror or str(error)


def ask_hub(environ: Mapping[str, str], home: Path | None = None) -> Hub:
    """Asks the Hub for its front page's headers, and looks at the shape of the token."""
    source, problem = token_shape(environ, home or Path.home())
    if environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return Hub(offline=True, token_source=source, token_problem=problem)
    endpoint = environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT
    nothing: _Answer = (None, f"no answer in {HUB_TIMEOUT_S:.0f} s", None)
    status, error, skew = bounded(lambda: _head(endpoint), HUB_TIMEOUT_S, nothing)
    return Hub(False, endpoint, status, error, skew, source, problem)


def _head(endpoint: str) -> _Answer:
    try:
        answer = httpx.head(endpoint, timeout=HUB_TIMEOUT_S - 1, follow_redirects=True)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        return None, str(error) or type(error).__name__, None
    try:
        theirs = parsedate_to_datetime(answer.headers["date"])
        return answer.status_code, None, (datetime.now(UTC) - theirs).total_seconds()
    except (KeyError, ValueError, TypeError):  # none, unreadable, or without a zone
        return answer.status_code, None, None


def token_shape(environ: Mapping[str, str], home: Path) -> tuple[str | None, str | None]:
    """Says where a Hub token was found and what is wrong with it, without showing it."""
    token, source = environ.get("HF_TOKEN"), "HF_TOKEN"
    if token is None:
        cache = Path(environ.get("HF_HOME") or home / ".cache" / "huggingface").expanduser()
        file = Path(environ.get("HF_TOKEN_PATH") or cache / "token").expanduser()
        try:
            with file.open(encoding="utf-8", errors="replace") as stream:
                token, source = stream.read(4096), str(file)
        except OSError:
            return None, None
    if not token.strip():
        return source, "it is empty"
    if re.search(r"\s", token.strip()):
        return source, "it holds blanks or several lines"
    if not re.fullmatch(r"hf_[A-Za-z0-9_]{20,}", token.strip()):
        return source, "it does not look like hf_ and 34 letters and digits"
    return source, None
