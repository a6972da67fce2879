"""What runs, as Docker says: the files a Compose project was started from, the engine's state."""

import json
import os
import signal
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from deployctl.errors import DockerError
from deployctl.render import yamltext
from deployctl.render.bundle import GATEWAY_FILE, NOT_COMMITTED
from deployctl.render.compose import (
    COMPOSE_FILE,
    DOOR_FOLDER,
    ENGINE,
    LABEL,
    SECRETS_FOLDER,
    engine_name,
    project_name,
)
from deployctl.render.gateway import SECOND, Place
from deployctl.targets import restarts
from deployctl.targets.docker import commands
from deployctl.targets.docker.address import find
from deployctl.targets.docker.engine import SERVICE_LABEL, DockerEngine, connect
from deployctl.targets.docker.project import SECOND_FILE
from deployctl.targets.driver import EngineState
from deployctl.targets.history import Release
from deployctl_loadtest import foreign

if TYPE_CHECKING:
    from docker.models.containers import Container

_FILES_LABEL = "com.docker.compose.project.config_files"
LOG_LINES_KEPT = 20_000  # of a container that is removed
_MAX_BYTES = 4 * 1024 * 1024


class Running(NamedTuple):
    """The files that a running project is made from, and where they are from."""

    source: str
    files: dict[str, str]
    partial: bool = False  # told by the containers: image, command, environment and labels alone
    from_image: frozenset[str] = frozenset()  # NAME=value that an image sets by itself


def running_files(
    service: str,
    *,
    run: commands.Run = commands.run,
    environment: Mapping[str, str] = os.environ,
) -> Running | None:
    """The files of the project that runs for a service; None when no container is there.

    Taken from the file that Compose was given, where it is here and still says what runs;
    otherwise from the containers themselves, as far as these tell.

    Raises:
        DockerError: no engine, or it does not answer.
    """
    engine = connect(find(environment, run))
    containers = engine.engines(project_name(service))
    if not containers:
        return None
    if not engine.address.remote:
        digests = {each.labels.get(LABEL + "digest", "") for each in containers}
        for word in containers[0].labels.get(_FILES_LABEL, "").split(","):
            if Path(word).name == SECOND_FILE:
                continue  # a part of what another update has written since
            text = _unchanged(Path(word), digests)
            if text is not None:
                files = {COMPOSE_FILE: text, f"{SECRETS_FOLDER}/.gitignore": NOT_COMMITTED}
                return Running(word, {**files, **_beside(Path(word).parent)})
    from_images = (engine.image_environment(each) for each in containers)
    return Running(
        ", ".join(sorted(f"container {each.name}" for each in containers)),
        {COMPOSE_FILE: json.dumps({"services": dict(map(_service, containers))})},
        partial=True,
        from_image=frozenset(chain.from_iterable(from_images)),
    )


def _unchanged(file: Path, digests: Collection[str]) -> str | None:
    """A Compose file's text, if it still has the digest of all that runs."""
    try:
        if file.stat().st_size > _MAX_BYTES:
            return None
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    return text if all(digest and digest in text for digest in digests) else None


def _beside(project: Path) -> dict[str, str]:
    """The files beside a Compose file: the door's, and what is wanted of the gateway."""
    found = {}
    for file in [*sorted((project / DOOR_FOLDER).rglob("*")), project / GATEWAY_FILE]:
        try:
            if file.is_file() and file.stat().st_size <= _MAX_BYTES and file.suffix != ".pyc":
                found[file.relative_to(project).as_posix()] = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
    return found


def _service(container: "Container") -> tuple[str, dict[str, Any]]:
    """A container as a Compose service: its name, and image, command, environment, digest."""
    config = container.attrs.get("Config", {})
    pairs = (word.partition("=") for word in config.get("Env") or [])
    told = {
        "image": config.get("Image", ""),
        "command": config.get("Cmd") or [],
        "environment": {name: value for name, _, value in pairs},
        "labels": {k: v for k, v in container.labels.items() if k.startswith(LABEL)},
    }
    name = container.labels.get(SERVICE_LABEL, ENGINE)
    return ENGINE if name == engine_name(SECOND) else name, told  # as it is rendered


def engine_state(
    record: Mapping[str, Any], *, restarts_before: int | None = None, memory: int | None = None
) -> EngineState:
    """Reads what `docker inspect` says of a container.

    An engine that died is started again, by its watchdog or by Docker, so a dead one is soon a
    running one that loads. `restarts_before` is how often that had happened when we started it:
    where it has happened since, and the engine has not been healthy again, the start has failed.
    """
    state = record["State"]
    status = str(state["Status"])
    by_docker, by_watchdog = int(record.get("RestartCount", 0)), _watchdog(state)
    health = str((state.get("Health") or {}).get("Status", ""))
    died_since = restarts_before is not None and all_restarts(record) > restarts_before
    given_up = by_watchdog.gave_up and health != "healthy"
    detail = []
    if status == "running":
        condition = "dead" if (died_since and health != "healthy") or given_up else "running"
        if given_up:
            detail.append(by_watchdog.why)
        elif condition == "dead":
            why = f": {by_watchdog.why}" if by_watchdog.why else ""
            detail.append(f"it ended, and was started again{why}")
        elif health == "unhealthy":
            detail.append(f"unhealthy: {_complaint(state)}")
        if by_docker and condition == "running":
            times = "once" if by_docker == 1 else f"{by_docker} times"
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
        restarts=by_watchdog,
        lingers=condition == "dead" and status in ("running", "restarting") and not given_up,
    )


def all_restarts(record: Mapping[str, Any]) -> int:
    """How often an engine was started again in its container, by whomever."""
    return int(record.get("RestartCount", 0)) + _watchdog(record["State"]).number


def _said(state: Mapping[str, Any]) -> list[str]:
    """What the last health checks have written, line by line, oldest first."""
    checks = (state.get("Health") or {}).get("Log") or []
    return [line for check in checks for line in str(check.get("Output", "")).splitlines()]


def _watchdog(state: Mapping[str, Any]) -> restarts.Restarts:
    return restarts.read(_said(state))


def _complaint(state: Mapping[str, Any]) -> str:
    told = [line for line in _said(state) if line and not line.startswith("{")]
    return foreign.message(told[-1]) if told else "/health does not answer"


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


def container_of(engine: DockerEngine, release: Release) -> "Container | None":
    """The container that runs an engine of a release, its only one wherever that is, or the replica
    that it names: by revision, or by content where plain `docker compose up` started it from
    rendered files.
    """
    digest = _label_digest(release)
    places: list[Place] = [None, SECOND] if release.replica is None else [release.replica]
    project = project_name(release.service)
    for container in chain.from_iterable(
        engine.containers(project, engine_name(place)) for place in places
    ):
        labels = container.labels
        revision = labels.get(LABEL + "revision", "")
        if revision == str(release.revision):
            return container
        if not revision and digest and labels.get(LABEL + "digest") == digest:
            return container
    return None


def runs_it(container: "Container", release: Release) -> bool:
    """Whether a release's container runs, and what it says: nothing is to be started."""
    said = (container.labels.get(LABEL + name) for name in ("revision", "digest"))
    wanted = str(release.revision), _label_digest(release)
    return container.status == "running" and tuple(said) == wanted


def _label_digest(release: Release) -> str | None:
    text = release.bundle.files.get(COMPOSE_FILE)
    document: Any = yamltext.read(text) if text else None
    try:
        return str(document["services"][ENGINE]["labels"][LABEL + "digest"])
    except (TypeError, KeyError):
        return None


def whole_log(engine: DockerEngine, container: "Container") -> bytes:
    """The log of a container that is about to be removed, as far as it is kept."""
    return b"".join(engine.logs(container, tail=LOG_LINES_KEPT, follow=False))


def lines_of(pieces: Iterator[bytes]) -> Iterator[str]:
    """Cuts pieces of output into lines; of a progress bar's states, the last."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield _text(line)
    if rest:
        yield _text(rest)


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r").rpartition("\r")[2]


def memory_there(engine: DockerEngine) -> str:
    """The /proc/meminfo of the kernel that an engine's containers run on, which may be another than
    this machine's: as one of ours says. Empty where none runs."""
    for container in engine.running():
        with suppress(DockerError):  # it has ended meanwhile
            code, said = engine.asked(container, ["cat", "/proc/meminfo"])
            if code == 0:
                return said
    return ""
