"""The gateway of a Docker engine: Caddy in a container of a Compose project of its own, one for all
services of the engine, whichever state folder they are of.

Engines behind it publish no port; deployctl reaches them as the gateway does, by the monitor of its
container, which is published on the host's loopback (`render.gateway.ENGINES`).
"""

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from deployctl.endpoint import Endpoint
from deployctl.errors import DockerError, PortTakenError, TargetError
from deployctl.files import make_folder, write_private
from deployctl.render import gateway as rendered
from deployctl.render import gatewayproject
from deployctl.render.bundle import LOOPBACK
from deployctl.render.compose import COMPOSE_FILE, project_name
from deployctl.render.gateway import ADMIN, GatewayEntry
from deployctl.render.gatewayproject import CADDY, PORTS_LABEL, PROJECT
from deployctl.spec.settings import Settings
from deployctl.targets import proxies, through
from deployctl.targets.docker import commands, enginelock, preflight, siblings, translate
from deployctl.targets.docker.engine import DockerEngine
from deployctl.targets.docker.gatewayvolume import VolumeFiles
from deployctl.targets.docker.records import EngineRecords
from deployctl.targets.gateway import CONFIGURATION, NEXT, Gateway
from deployctl.targets.gatewayfiles import GatewayFiles
from deployctl.targets.gatewayrecords import Knowledge
from deployctl.targets.history import Release

if TYPE_CHECKING:
    from docker.models.containers import Container

_PORTS = 20  # that are tried for the monitor
_LINES = 20  # of its log in which it says why it does not start
_TELL = ["caddy", "reload", "--config", NEXT, "--address", f"unix/{ADMIN}"]


class ContainedCaddy:
    """The proxy, as the project of one engine; its Compose file is below `folder`."""

    contained = True

    def __init__(
        self,
        engine: Callable[[], DockerEngine],
        run: commands.Run,
        files: GatewayFiles,
        image: str,
        folder: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._engine = engine
        self._run = run
        self._files = files
        self._image = image
        self._folder = folder
        self._clock = clock
        self._sleep = sleep

    def check(self) -> None:
        """Nothing: its image is pulled before it is started."""

    def check_port(self, wanted: GatewayEntry) -> None:
        """Refuses a port that another container or program has.

        Raises:
            PortTakenError: says which one.
        """
        where = (wanted.port, PROJECT, wanted.exposed)
        preflight.refuse_taken(self._engine(), *where, flag="--gateway-port")

    def ready_for(self, wanted: GatewayEntry) -> bool:
        """Whether it runs, and publishes what this one wants."""
        port = f"{wanted.host}:{wanted.port}"
        return self.runs() and port in self._published()

    def runs(self) -> bool:
        """Whether it does, or Docker is about to start it again."""
        container = self._container()
        return container is not None and container.status in ("running", "restarting", "paused")

    def free_port(self, usual: int | None, but: Collection[int]) -> int:
        """One of the engine's host, wherever that is: Docker alone knows what it can publish.

        Raises:
            PortTakenError: it can publish none of those that are tried.
        """
        first = rendered.MONITOR_PORT  # as it is rendered for people
        tried: list[int] = [usual or first, *range(first, first + _PORTS)]
        for port in tried:
            if port in but:
                continue
            done = self._run(commands.publishes(port, self._image), {})
            if not translate.says_taken(done.stderr):  # whatever else is wrong is said by the start
                return port
        raise PortTakenError(
            f"none of the ports {first} to {first + _PORTS - 1} is free for the gateway's monitor",
            where=self._engine().address.url,
            hint="stop one of the programs of that host that listen there",
        )

    def answers(self, monitor_port: int) -> bool:
        """Whether it does, within seconds."""
        return proxies.healthy(self._engine().endpoint(monitor_port, exposed=False))

    def apply(self, entries: Sequence[GatewayEntry], monitor_port: int) -> None:
        """Starts it, or has it load its configuration anew. What it does not publish yet, it is
        started anew for.

        Raises:
            TargetError: it does not start, or takes no such configuration.
        """
        wanted, runs = gatewayproject.ports(entries, monitor_port), self.runs()
        if runs and set(wanted) <= set(self._published()):
            where = proxies.Where(self._files.where(NEXT), f"docker logs {PROJECT}-{CADDY}-1")
            proxies.reload(self._refusal, where, clock=self._clock, sleep=self._sleep)
        elif runs:
            self._start_anew(wanted, monitor_port)
        else:
            self._start(wanted, monitor_port)

    def end(self) -> None:
        """Ends it, once its requests under way have ended, in reason; its files stay, and so does
        the network where an engine is on it that nobody knows.

        Raises:
            DockerError: the engine does not end it.
        """
        try:
            self._engine().remove(PROJECT, rendered.GRACE_S)
        except DockerError:
            if self._container() is not None:
                raise

    def _start_anew(self, addresses: list[str], monitor_port: int) -> None:
        former, configuration = self._published(), self._files.read(CONFIGURATION)
        self._files.move(NEXT, CONFIGURATION)
        try:
            self._start(addresses, monitor_port)
        except BaseException:
            if configuration is not None:
                self._files.write(CONFIGURATION, configuration)
            self._start(former, monitor_port)
            raise

    def _start(self, addresses: list[str], monitor_port: int) -> None:
        text = gatewayproject.project(addresses, monitor_port, self._image)
        make_folder(self._folder)
        write_private(self._folder / COMPOSE_FILE, text.encode())
        done = self._run(commands.compose_project(PROJECT, self._folder), {})
        if done.code != 0:
            self._give_up()  # it may be there, and not have started
            raise translate.compose_failed(
                done.stderr,
                image=self._image,
                port=monitor_port,
                host=self._engine().address.url,
                flag="--gateway-port",
            )
        answers = partial(self.answers, monitor_port)
        if not proxies.started(answers, self._fell, clock=self._clock, sleep=self._sleep):
            said = proxies.complaint(self._log(self._container()))
            self._give_up()
            raise TargetError(
                f"the gateway does not start: {said}",
                where=f"image {self._image}",
                hint="DEPLOYCTL_GATEWAY_IMAGE names another image, with Caddy "
                f"{'.'.join(map(str, rendered.LEAST_VERSION))} or newer, sh and wget",
            )

    def _give_up(self) -> None:
        with suppress(DockerError):  # a network with engines stays
            self.end()

    def _fell(self) -> bool:
        container = self._container()
        return container is None or bool(container.attrs.get("RestartCount"))

    def _refusal(self) -> str | None:
        """Why it does not load its next configuration; None where it has."""
        container = self._container()
        if container is None or container.status != "running":
            return "dial unix: it does not run"
        code, said = self._engine().asked(container, _TELL)
        return proxies.complaint(said.splitlines()) if code != 0 else None

    def _container(self) -> "Container | None":
        return next(iter(self._engine().containers(PROJECT, CADDY)), None)

    def _published(self) -> list[str]:
        """The addresses of the host that lead to it, as it was started."""
        container = self._container()
        text = "" if container is None else str(container.labels.get(PORTS_LABEL, ""))
        return text.split(",") if text else []

    def _log(self, container: "Container | None") -> list[str]:
        if container is None:
            return []
        pieces = self._engine().logs(container, tail=_LINES, follow=False)
        return b"".join(pieces).decode("utf-8", "replace").splitlines()


class DockerGateway(Gateway):
    """The gateway of an engine, and the way to the engines behind it."""

    def __init__(
        self,
        engine: Callable[[], DockerEngine],
        run: commands.Run,
        settings: Settings,
    ) -> None:
        self._engine = engine
        self.image = settings.gateway_image or gatewayproject.default_image()
        folder = settings.state_dir / "docker-gateway"
        files = VolumeFiles(engine, run, self.image, folder)
        proxy = ContainedCaddy(engine, run, files, self.image, folder)
        super().__init__(files, proxy, known=Knowledge(self._at_work, self._gone), ask=self._asked)

    def _at_work(self, service: str) -> bool:
        return enginelock.at_work(self._engine().carriers, service)

    def _gone(self, service: str) -> bool:
        """One that was brought up by hand has no records, and containers."""
        engine = self._engine()
        there = EngineRecords(engine.carriers).has(service)
        return not there and not engine.containers(project_name(service))

    def _asked(self, entry: GatewayEntry, ca_file: Path | None) -> str | None:
        return through.ask(entry, ca_file, place=urlsplit(self._at(entry).url).netloc)

    def _at(self, entry: GatewayEntry) -> Endpoint:
        """Where this machine asks it."""
        return self._engine().endpoint(entry.port, exposed=entry.exposed)

    def front(self, service: str) -> str | None:
        """By the way to the engine's host."""
        entry, at = self.entry(service), super().front(service)
        if entry is None or at is None:
            return None
        return f"{self._at(entry).url}{urlsplit(at).path}"

    def endpoint(self, release: Release) -> Endpoint:
        """Where an engine of a release answers, with the address for clients where it is behind
        the gateway."""
        engine, spec = self._engine(), release.spec
        if rendered.entry_of(release.bundle) is None:
            return engine.endpoint(spec.port, exposed=spec.expose)
        entry = self.entry(release.service)
        engine_of = release.service, siblings.place_of(engine, release)
        # Nobody listens on its own port: so it is where there is no gateway yet.
        direct = engine.endpoint(self.monitor_port() or spec.port, exposed=False)
        found = direct._replace(
            url=f"{direct.url}{rendered.inside(*engine_of)}",
            upstream=rendered.upstream(*engine_of),
            there=direct.there and f"{direct.there}{rendered.inside(*engine_of)}",
            inside=None,
            tunnel=None,
        )
        if entry is None:
            return found
        front = self._at(entry)
        at = entry.url.replace(LOOPBACK, engine.hostname) if entry.exposed else entry.url
        return found._replace(gateway=at, inside=at if front.tunnel else None, tunnel=front.tunnel)
