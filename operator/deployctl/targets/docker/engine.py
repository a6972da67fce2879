"""The Docker engine, and the few things deployctl asks of it through the SDK.

Everything that touches the `docker` package is here and in `carriers`, and its errors end there.
"""

import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from deployctl.endpoint import Endpoint
from deployctl.render.compose import ENGINE, GRACE_S, LABEL
from deployctl.render.gateway import SECOND
from deployctl.targets.docker import commands
from deployctl.targets.docker.address import Address, find, is_local
from deployctl.targets.docker.carriers import Carriers, archive
from deployctl.targets.docker.line import Line, line_to
from deployctl.targets.docker.translate import translated
from deployctl.units import GIB

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

PROJECT_LABEL = "com.docker.compose.project"
VOLUME_LABEL = "com.docker.compose.volume"
SERVICE_LABEL = "com.docker.compose.service"
_ENGINE = re.compile(f"{ENGINE}(-[0-9]+|-{SECOND})?")  # a service of the project
TIMEOUT_S = 60  # for the engine to answer one request
CONNECT_S = 5  # for its host to let us in: an address at which nobody answers is found out by then
LOADING_GRACE_S = 5


class DockerEngine:
    """A connected engine."""

    def __init__(self, client: "DockerClient", address: Address, line: Line | None = None) -> None:
        self._client = client
        self.address = address
        self.line = line  # the one that it is reached by, on another host
        self.carriers = Carriers(client, address.url)

    @property
    def hostname(self) -> str:
        """Where clients find what it publishes, as an address has it."""
        name = self.address.hostname if self.line is None else self.line.hostname
        return f"[{name}]" if ":" in name else name

    def endpoint(self, port: int, *, exposed: bool) -> Endpoint:
        """Where a port of its host is asked: by the line to it, where there is one. Of a port that
        is exposed, clients have another address.

        Raises:
            DockerError: the line does not take it.
        """
        line, outside = self.line, f"http://{self.hostname}:{port}"
        if line is None:
            return Endpoint(outside, None, None)
        there = f"http://127.0.0.1:{port}"
        at = Endpoint(f"http://127.0.0.1:{line.port(port)}", None, None, there=there)
        if exposed:
            return at._replace(published=outside)
        return at._replace(inside=there, tunnel=line.tunnel(port))

    def by_line(
        self, run: commands.Run, environment: Mapping[str, str]
    ) -> tuple[commands.Run, Mapping[str, str]]:
        """What runs `docker`, and an environment, so that it takes the same line."""
        if self.line is None:
            return run, environment
        line = self.line.environment()
        return lambda words, more: run(words, {**more, **line}), {**environment, **line}

    def containers(self, project: str, service: str | None = None) -> list["Container"]:
        """Containers of a Compose project, running or not."""
        labels = [f"{PROJECT_LABEL}={project}"]
        if service:
            labels.append(f"{SERVICE_LABEL}={service}")
        with translated(self.address.url):
            return self._client.containers.list(
                all=True, filters={"label": labels}, ignore_removed=True
            )

    def engines(self, project: str) -> list["Container"]:
        """Those of a service's project that serve, running or not: the only engine, or replicas."""
        found = self.containers(project)
        return [each for each in found if _ENGINE.fullmatch(each.labels.get(SERVICE_LABEL, ""))]

    def publisher(self, port: int) -> "Container | None":
        """The running container that publishes a port of the host."""
        with translated(self.address.url):
            containers = self._client.containers.list(
                filters={"publish": str(port)}, ignore_removed=True
            )
        return containers[0] if containers else None

    def has_image(self, image: str) -> bool:
        """Whether the image is on the engine."""
        from docker.errors import ImageNotFound

        with translated(self.address.url):
            try:
                self._client.images.get(image)
            except ImageNotFound:
                return False
        return True

    def image_environment(self, container: "Container") -> list[str]:
        """The variables that a container has from its image; none when the image is gone."""
        from docker.errors import ImageNotFound

        with translated(self.address.url):
            try:
                image: Any = self._client.images.get(container.attrs["Image"])
            except ImageNotFound:
                return []
        return list(image.attrs.get("Config", {}).get("Env") or [])

    def logs(self, container: "Container", *, tail: int | None, follow: bool) -> Iterator[bytes]:
        """The container's output in pieces, not lines. None for `tail` means all."""
        with translated(self.address.url):
            if follow:
                yield from container.logs(
                    stream=True, follow=True, tail="all" if tail is None else tail
                )
            else:
                yield container.logs(tail="all" if tail is None else tail)

    def memory(self, container: "Container") -> int | None:
        """Bytes that the container's processes hold, page cache aside; None if unknown."""
        with translated(self.address.url):
            stats: Any = self._client.api.stats(str(container.id), stream=False, one_shot=True)
        memory = stats.get("memory_stats", {})
        details = memory.get("stats", {})
        cache = details.get("inactive_file", details.get("total_inactive_file", 0))
        return memory["usage"] - cache if "usage" in memory else None

    def execute(self, container: "Container", words: list[str]) -> int:
        """Runs a command in a container, as its user, and returns its exit code."""
        return self.asked(container, words)[0]

    def identity(self) -> str:
        """Which engine it is, by whatever address it is reached; one that has no id of its own, by
        that."""
        with translated(self.address.url):
            return str(self._client.info().get("ID") or self.address.url)

    def cpus(self) -> int:
        """How many hardware threads its host has."""
        with translated(self.address.url):
            return int(self._client.info()["NCPU"])

    def memory_gib(self) -> float | None:
        """How much memory its host has, which may be a virtual machine on this one."""
        with translated(self.address.url):
            return int(self._client.info().get("MemTotal") or 0) / GIB or None

    def running(self) -> list["Container"]:
        """Engines that deployctl has started, of whichever service, that run."""
        with translated(self.address.url):
            return self._client.containers.list(
                filters={"label": LABEL + "digest"}, ignore_removed=True
            )

    def asked(self, container: "Container", words: list[str]) -> tuple[int, str]:
        """The same, with what it said."""
        with translated(self.address.url):
            done: Any = container.exec_run(words)
        code = -1 if done.exit_code is None else int(done.exit_code)
        return code, (done.output or b"").decode("utf-8", "replace")

    def disk_use(self) -> dict[str, Any]:
        """What takes how much of the engine's disk, as `docker system df --verbose` shows it."""
        with translated(self.address.url):
            return dict(self._client.df())

    def drop_image(self, name: str) -> None:
        """Removes an image by its name; fine where there is none."""
        from docker.errors import ImageNotFound

        with translated(self.address.url):
            try:
                self._client.images.remove(name)
            except ImageNotFound:
                return

    def remove(self, project: str, grace_s: int = GRACE_S, *, only: str | None = None) -> None:
        """Stops and removes a project's containers and networks; or the containers of its
        service `only`. Volumes stay.

        A healthy engine gets `grace_s` seconds to end its requests; one that loads has none.
        """
        from docker.errors import NotFound

        with translated(self.address.url):
            for container in self.containers(project, only):
                try:
                    health = (container.attrs["State"].get("Health") or {}).get("Status")
                    container.stop(timeout=grace_s if health == "healthy" else LOADING_GRACE_S)
                    container.remove(v=True, force=True)
                except NotFound:
                    continue
            own = {"label": f"{PROJECT_LABEL}={project}"}
            for network in self._client.networks.list(filters=own) if only is None else []:
                try:
                    network.remove()
                except NotFound:
                    continue

    def keep_volume(self, project: str, name: str) -> str:
        """Makes a volume of a project, as Compose would; one that is there stays as it is.

        Returns its whole name.
        """
        labels, whole = {PROJECT_LABEL: project, VOLUME_LABEL: name}, f"{project}_{name}"
        with translated(self.address.url):
            self._client.volumes.create(whole, labels=labels)
        return whole

    def remove_volumes(self, project: str) -> list[str]:
        """Removes a project's volumes and returns their names."""
        removed = []
        with translated(self.address.url):
            for volume in self._client.volumes.list(
                filters={"label": f"{PROJECT_LABEL}={project}"}
            ):
                volume.remove()
                removed.append(volume.name or "")
        return removed

    def fill_volume(self, name: str, service: str, image: str, files: Mapping[str, bytes]) -> None:
        """Makes a volume that holds `files`, readable by all, through a container never started.

        How secrets reach an engine on another host, which cannot mount a file of ours.
        """
        self.drop_volume(name)
        with translated(self.address.url):
            self._client.volumes.create(name, labels={LABEL + "service": service})
        self.write_volume(name, image, files)

    def write_volume(
        self,
        name: str,
        image: str,
        files: Mapping[str, bytes],
        *,
        in_place_of: Mapping[str, bytes] | None = None,
    ) -> None:
        """Writes files into a volume that may be in use: whoever reads one while it is written
        may see a part of it. What is not in `files` stays, for a container that is never started
        cannot remove it: one of `in_place_of` that is there is written over.
        """
        from docker.types import Mount

        path = "/run/secrets"  # Docker does not make the folder of a bind that is gone
        bind = Mount(path, name, type="bind" if name.startswith("/") else "volume")
        with translated(self.address.url):
            carrier = self._client.containers.create(
                image,
                entrypoint=["true"],
                network_mode="none",
                mounts=[bind],
            )
            try:
                over = {n: c for n, c in (in_place_of or {}).items() if _has(carrier, n)}
                carrier.put_archive(path, archive({**files, **over}, time.time()))
            finally:
                carrier.remove(force=True)

    def drop_volume(self, name: str) -> None:
        """Removes a volume, if it is there."""
        from docker.errors import NotFound

        with translated(self.address.url):
            try:
                self._client.volumes.get(name).remove()
            except NotFound:
                return


def _has(carrier: "Container", name: str) -> bool:
    from docker.errors import NotFound

    try:
        carrier.get_archive(f"/run/secrets/{name}")
    except NotFound:
        return False
    return True


@cache
def connect(address: Address) -> DockerEngine:
    """Connects and asks the engine for its version: once in a process for each engine.

    Raises:
        DockerError: it does not run, cannot be reached, or does not let us in.
    """
    import docker

    line = line_to(address.url) if urlsplit(address.url).scheme == "ssh" else None
    with translated(address.url):
        _knock(address)
        url = f"unix://{line.socket}" if line else address.url
        # The SDK hands both to requests; what it does later adds to one number.
        known: Any = TIMEOUT_S if is_local(url) else (CONNECT_S, TIMEOUT_S)
        client = docker.from_env(timeout=known, environment={**os.environ, "DOCKER_HOST": url})
        client.ping()
        client.api.timeout = TIMEOUT_S
    return DockerEngine(client, address, line)


def here() -> DockerEngine:
    """The engine that the environment names, as the `docker` command would.

    Raises:
        DockerError: as `connect`, or `docker` is not installed.
    """
    return connect(find(os.environ, commands.run))


def _knock(address: Address) -> None:
    """Fails at once, and cleanly, where nothing listens on a local engine's socket."""
    parts = urlsplit(address.url)
    if parts.scheme == "unix":
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(parts.path)
