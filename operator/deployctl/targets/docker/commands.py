"""The command lines of `docker`, as lists of words, and how they are run."""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from deployctl.errors import DockerError
from deployctl.render.bundle import LOOPBACK
from deployctl.render.compose import (
    COMPOSE_FILE,
    HUB_CACHE,
    LABEL,
    REVISION_VARIABLE,
    UID,
    engine_name,
    project_name,
)
from deployctl.render.gateway import Place
from deployctl.targets.history import Release

END_S = 5.0  # for a command to end when it is told to
# What of a service's own environment its download goes by, too.
_NETWORK = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"}
INSTALL_HINT = (
    "install Docker Engine with the Compose plugin: https://docs.docker.com/engine/install/"
)


class Result(NamedTuple):
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


Run = Callable[[Sequence[str], Mapping[str, str]], Result]


def run(words: Sequence[str], environment: Mapping[str, str]) -> Result:
    """Runs a command with `environment` added to ours, and waits for its end.

    In a session of its own, so that a Ctrl-C reaches us and not it: we decide what to undo.

    Raises:
        DockerError: there is no such program.
    """
    try:
        child = subprocess.Popen(
            list(words),
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise DockerError(
            f"{words[0]} is not installed, or not in PATH", hint=INSTALL_HINT
        ) from error
    except OSError as error:
        raise DockerError(f"cannot run {words[0]}: {error.strerror}", hint=INSTALL_HINT) from error
    with child:
        try:
            stdout, stderr = child.communicate()
        except BaseException:
            _end(child)
            raise
    return Result(child.returncode, stdout, stderr)


def _end(child: "subprocess.Popen[str]") -> None:
    """Ends a command and its own children: `docker compose` is a plugin that `docker` starts."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(timeout=END_S)
            return


def compose_version() -> list[str]:
    """Asks for the version of the Compose plugin."""
    return ["docker", "compose", "version", "--short"]


def context_host(name: str = "") -> list[str]:
    """Asks for the address of the engine that a context names, or the current one."""
    asked = ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
    return [*asked, name] if name else asked


def pull(image: str) -> list[str]:
    """Fetches an image with the credentials of the `docker` command."""
    return ["docker", "pull", "--quiet", image]


def publishes(port: int, image: str) -> list[str]:
    """Publishes a port on the host's loopback for a moment: it fails where another has that."""
    return [
        *("docker", "run", "--rm", "--pull", "never", "--read-only", "--cap-drop", "ALL"),
        *("--security-opt", "no-new-privileges:true", "--publish", f"{LOOPBACK}:{port}:{port}"),
        *("--entrypoint", "true", image),
    ]


def own_cache(release: Release, volume: str) -> list[str]:
    """Gives the volume of the Hub's files to the engine's user, as Compose's first service does."""
    return [
        *_beside(release, volume),
        *("--network", "none", "--user", "0:0", "--cap-add", "CHOWN", "--entrypoint", "chown"),
        *(release.plan.engine.image, f"{UID}:{UID}", HUB_CACHE.path),
    ]


def downloader(release: Release, volume: str, *, offline: bool) -> list[str]:
    """Starts the Python of the engine's image on that volume; its program is yet to be added."""
    network = ["--network", "none"] if offline else []
    own = {
        name: value for name, value in release.plan.engine.env.items() if name.upper() in _NETWORK
    }
    return [
        *_beside(release, volume),
        *network,
        *("--interactive", "--init", "--user", f"{UID}:{UID}", "--tmpfs", "/tmp:mode=1777"),  # noqa: S108
        *("--env", f"HF_HOME={HUB_CACHE.path}", "--env", "HOME=/tmp", "--env", "USER=vllm"),
        *(word for pair in own.items() for word in ("--env", "=".join(pair))),
        *("--entrypoint", "python3", release.plan.engine.image),
    ]


def _beside(release: Release, volume: str) -> list[str]:
    return [
        *("docker", "run", "--rm", "--pull", "never", "--read-only", "--cap-drop", "ALL"),
        *("--security-opt", "no-new-privileges:true"),
        *("--volume", f"{volume}:{HUB_CACHE.path}"),
        *("--label", f"{LABEL}service={release.service}"),
    ]


def compose_up(
    folder: Path, service: str, place: Place, files: Sequence[str], *, beside: bool = False
) -> list[str]:
    """Starts the project of `files` in `folder`, or changes what runs to it: of several engines,
    `beside` others, or in the second place, that one alone. Does not wait for health.
    """
    one = beside or place is not None
    return [
        "docker",
        "compose",
        "--ansi=never",
        "--project-name",
        project_name(service),
        "--project-directory",
        str(folder),
        *(word for file in files for word in ("--file", str(folder / file))),
        "up",
        "--detach",
        "--no-build",
        engine_name(place) if one else "--remove-orphans",
    ]


def compose_project(project: str, folder: Path) -> list[str]:
    """The same for a project that is no service's: its file in `folder`."""
    return [
        *("docker", "compose", "--ansi=never", "--project-name", project),
        *("--project-directory", str(folder), "--file", str(folder / COMPOSE_FILE)),
        *("up", "--detach", "--no-build", "--remove-orphans"),
    ]


def compose_environment(release: Release) -> dict[str, str]:
    """What the rendered files refer to."""
    return {REVISION_VARIABLE: str(release.revision)}


def leaves_the_volume(release: Release) -> bool:
    """Whether the service's own environment has its model looked for elsewhere."""
    return not {"HF_HOME", "HF_HUB_CACHE"}.isdisjoint(release.plan.engine.env)
