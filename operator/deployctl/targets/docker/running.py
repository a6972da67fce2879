"""What a Compose project runs, whoever started it: asked of Docker, by labels."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from deployctl.render.compose import COMPOSE_FILE, ENGINE, LABEL, SECRETS_FOLDER, project_name
from deployctl.targets.docker import commands
from deployctl.targets.docker.engine import connect, find

if TYPE_CHECKING:
    from docker.models.containers import Container

_FILES_LABEL = "com.docker.compose.project.config_files"
_MAX_BYTES = 4 * 1024 * 1024


class Running(NamedTuple):
    """The files that a running project is made from, and where they are from."""

    source: str
    files: dict[str, str]
    partial: bool = False  # told by the container: image, command, environment and labels alone
    from_image: frozenset[str] = frozenset()  # NAME=value that the image sets by itself


def running_files(
    service: str,
    *,
    run: commands.Run = commands.run,
    environment: Mapping[str, str] = os.environ,
) -> Running | None:
    """The files of the project that runs for a service; None when no container is there.

    Taken from the file that Compose was given, where it is here and still says what runs;
    otherwise from the container itself, as far as that tells.

    Raises:
        DockerError: no engine, or it does not answer.
    """
    engine = connect(find(environment, run))
    containers = engine.containers(project_name(service), ENGINE)
    if not containers:
        return None
    container = containers[0]
    if not engine.address.remote:
        for word in container.labels.get(_FILES_LABEL, "").split(","):
            text = _unchanged(Path(word), container.labels.get(LABEL + "digest", ""))
            if text is not None:
                ignored = "*\n!.gitignore\n"
                return Running(word, {COMPOSE_FILE: text, f"{SECRETS_FOLDER}/.gitignore": ignored})
    return Running(
        f"container {container.name}",
        {COMPOSE_FILE: json.dumps(_project(container))},
        partial=True,
        from_image=frozenset(engine.image_environment(container)),
    )


def _unchanged(file: Path, digest: str) -> str | None:
    """A Compose file's text, if it still has the digest of what runs."""
    try:
        if file.stat().st_size > _MAX_BYTES:
            return None
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    return text if digest and digest in text else None


def _project(container: "Container") -> dict[str, Any]:
    """A container as a Compose service: image, command, environment, digest."""
    config = container.attrs.get("Config", {})
    pairs = (word.partition("=") for word in config.get("Env") or [])
    labels = {k: v for k, v in container.labels.items() if k.startswith(LABEL)}
    return {
        "services": {
            ENGINE: {
                "image": config.get("Image", ""),
                "command": config.get("Cmd") or [],
                "environment": {name: value for name, _, value in pairs},
                "labels": labels,
            }
        }
    }
