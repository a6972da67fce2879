"""What Docker says when something fails, in deployctl's words."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deployctl import assets
from deployctl.endpoint import without_credentials
from deployctl.engines.vllm import BUILT_HERE, DEFAULT_VERSION
from deployctl.errors import DockerError, PortTakenError, TargetError
from deployctl.targets.docker.commands import INSTALL_HINT

_TOOLKIT_HINT = (
    "install NVIDIA's driver and container toolkit on the Docker host, then restart Docker; "
    "deployctl doctor --target docker checks them"
)
_START_HINT = "start it (sudo systemctl start docker), or set DOCKER_HOST to an engine that runs"
_GROUP_HINT = "add yourself to the group docker (sudo usermod -aG docker $USER) and log in again"


def unreachable(detail: str, host: str) -> DockerError:
    """There is no talking to the engine at `host`."""
    if host.startswith("ssh:"):
        return DockerError(
            f"the line to the Docker engine broke: {_last_line(detail)}",
            where=host,
            hint="run it again; what was begun there goes on, and the next up or down finds it",
        )
    if re.search(r"[Pp]ermission ?[Dd]enied", detail):
        return DockerError("this user may not use Docker", where=host, hint=_GROUP_HINT)
    if re.search(r"Connection refused|ConnectionRefused|No such file|FileNotFound|daemon", detail):
        return DockerError("Docker is not running", where=host, hint=_START_HINT)
    if "timed out" in detail:
        return DockerError("the Docker engine does not answer", where=host, hint=_START_HINT)
    return DockerError(f"cannot reach Docker: {_last_line(detail)}", where=host, hint=_START_HINT)


def no_address(url: str, error: ValueError) -> DockerError:
    """What is to name an engine does not."""
    return DockerError(
        f"DOCKER_HOST, or Docker's context, names no engine: {error}",
        where=without_credentials(url),
        hint="write unix:///var/run/docker.sock, ssh://USER@HOST or tcp://HOST:PORT",
    )


def no_context(detail: str) -> DockerError:
    """There is no context of the name that is said."""
    return DockerError(
        f"which Docker engine is meant is not known: {_last_line(detail).partition(': open ')[0]}",
        where="DOCKER_CONTEXT, or the context in use",
        hint="docker context ls lists them; docker context use NAME, or unset DOCKER_CONTEXT",
    )


def no_compose(detail: str) -> DockerError:
    """`docker compose` does not work."""
    return DockerError(
        "Docker has no Compose plugin (docker compose)",
        where=_last_line(detail) or None,
        hint=INSTALL_HINT,
    )


def image_missing(image: str, detail: str) -> DockerError:
    """The image is not on the engine and cannot be pulled."""
    if image.startswith(BUILT_HERE):
        return DockerError(f"there is no image {image}", where=None, hint=build_hint(image))
    why = _last_line(detail)
    return DockerError(
        f"cannot pull {image}: {why}",
        where=image,
        hint=f"check the name and the network, log in with docker login, or load it: docker pull "
        f"{image}",
    )


def image_absent(image: str) -> DockerError:
    """The image is not on the engine, and the network is not to be used."""
    return DockerError(
        "offline, and the image is not on the Docker engine",
        where=image,
        hint=f"where there is a network: docker save {image} > image.tar; here: docker load < "
        "image.tar",
    )


def download_failed(detail: str) -> DockerError:
    """The container that the model would be downloaded in does not run."""
    return DockerError(
        f"the volume for the model cannot be made ready: {_last_line(detail)}",
        hint="deployctl doctor --target docker checks the host",
    )


def build_hint(image: str) -> str:
    """The command that builds the CPU image."""
    file = assets.path("docker", "cpu.Dockerfile")
    version = image.rpartition(":")[2]
    option = "" if version == DEFAULT_VERSION else f"--build-arg VLLM_VERSION={version} "
    return f"build it: docker build -f {file} {option}-t {image} {file.parent}"


def port_taken(port: int, by: str | None = None, flag: str = "--port") -> PortTakenError:
    """Something else has the port; `flag` says another."""
    return PortTakenError(
        f"port {port} is taken" + (f" by the container {by}" if by else " by another program"),
        where=f"port: {port}",
        hint=f"choose another port with {flag}, or stop what listens there",
    )


def compose_failed(
    detail: str, *, image: str, port: int, host: str, flag: str = "--port"
) -> TargetError:
    """`docker compose up` ended with an error. Of several ports that it was to publish, Docker says
    which one is taken; `flag` gives another."""
    if says_taken(detail):
        named = _ADDRESS.search(_last_line(detail))
        return port_taken(int(named[1]) if named else port, flag=flag)
    for pattern, build in _COMPOSE:
        if pattern.search(detail):
            return build(detail, image, host)
    return DockerError(
        f"docker compose failed: {_last_line(detail) or 'there was no output'}",
        hint="deployctl doctor --target docker checks the host",
    )


def says_taken(detail: str) -> bool:
    """Whether it is a port that something else has."""
    return _TAKEN.search(detail) is not None


_TAKEN = re.compile(r"port is already allocated|address already in use|ports are not available")
_ADDRESS = re.compile(r"\d\.\d{1,3}:(\d{1,5})\b")  # the first that is named is the host's
_Build = Callable[[str, str, str], TargetError]
_COMPOSE: tuple[tuple[re.Pattern[str], _Build], ...] = (
    (
        re.compile(r"could not select device driver|nvidia-container-cli|unresolvable CDI devices"),
        lambda detail, _i, _h: DockerError(
            "Docker cannot give the container a GPU", where=_last_line(detail), hint=_TOOLKIT_HINT
        ),
    ),
    (
        re.compile(
            r"Cannot connect to the Docker daemon|permission denied while trying to connect"
        ),
        lambda detail, _i, host: unreachable(detail, host),
    ),
    (
        re.compile(
            r"No such image|pull access denied|manifest unknown|failed to resolve reference"
        ),
        lambda detail, image, _h: image_missing(image, detail),
    ),
    (
        re.compile(r"bind source path does not exist"),
        lambda detail, _i, _h: DockerError(
            "the Docker host does not have a folder that the service mounts",
            where=_last_line(detail).rpartition(": ")[2],
            hint="put the checkpoint where the Docker engine can see it, or give a Hub id",
        ),
    ),
    (
        re.compile(r"no space left on device"),
        lambda detail, _i, _h: DockerError(
            "the Docker host's disk is full",
            where=_last_line(detail),
            hint="free space there: docker system df shows what takes it",
        ),
    ),
)


def last_line(said: str) -> str:
    """The last line that says something; "" where none does."""
    return next((line for each in reversed(said.splitlines()) if (line := each.strip())), "")


def _last_line(detail: str) -> str:
    return last_line(detail).removeprefix("Error response from daemon: ")


@contextmanager
def translated(host: str) -> Iterator[None]:
    """Turns what Docker's SDK raises about the engine at `host` into a DockerError."""
    import requests
    from docker.errors import APIError, DockerException

    try:
        yield
    except APIError as error:
        raise DockerError(
            f"Docker refuses: {error.explanation or error}",
            where=host,
            hint="the engine's own log says more: journalctl -u docker",
        ) from error
    except (DockerException, requests.RequestException, OSError) as error:
        raise unreachable(str(error), host) from error
