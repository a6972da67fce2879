"""What a container's own record says, as an EngineState. Pure."""

import signal
from collections.abc import Mapping
from typing import Any

from deployctl.targets.driver import EngineState


def engine_state(
    record: Mapping[str, Any], *, restarts_before: int | None = None, memory: int | None = None
) -> EngineState:
    """Reads what `docker inspect` says of a container.

    Docker restarts an engine that died, so a dead one is soon a running one that loads again.
    `restarts_before` is how often that had happened when we started it: where it has happened
    since, and the engine has not been healthy again, the start has failed.
    """
    state = record["State"]
    status = str(state["Status"])
    restarts = int(record.get("RestartCount", 0))
    health = str((state.get("Health") or {}).get("Status", ""))
    died_since = restarts_before is not None and restarts > restarts_before
    detail = []
    if status == "running":
        condition = "dead" if died_since and health != "healthy" else "running"
        if health == "unhealthy":
            detail.append("unhealthy: /health does not answer")
        if condition == "dead":
            detail.append("it ended, and Docker started it again")
        elif restarts:
            times = "once" if restarts == 1 else f"{restarts} times"
            again = "; loading again" if health == "starting" else ""
            detail.append(f"Docker restarted it {times}{again}")
    elif status == "paused":
        condition = "running"
        detail.append("paused")
    else:
        condition = "dead"
        detail.append(_ending(state, status))
        if status == "restarting":
            detail.append("Docker is about to restart it")
    return EngineState(
        condition="dead" if condition == "dead" else "running",
        detail=", ".join(filter(None, detail)),
        started=_started(state),
        container=str(record.get("Name", "")).lstrip("/") or None,
        memory_bytes=memory,
    )


def _ending(state: Mapping[str, Any], status: str) -> str:
    if status == "created":
        return str(state.get("Error") or "created and never started")
    if state.get("OOMKilled"):
        return "killed: out of memory"
    code = int(state.get("ExitCode", 0))
    if code > 128:
        try:
            return f"killed by {signal.Signals(code - 128).name}"
        except ValueError:
            pass
    return f"exit code {code}"


def _started(state: Mapping[str, Any]) -> str | None:
    started = str(state.get("StartedAt", ""))
    if not started or started.startswith("0001-"):
        return None
    return started.partition(".")[0].rstrip("Z") + "+00:00"
