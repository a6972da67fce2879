"""One engine of a release, in a Compose project. What runs is asked of Docker, by labels."""

import os
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from deployctl.endpoint import Endpoint
from deployctl.engines.vllm import BUILT_HERE
from deployctl.errors import DockerError, StateError
from deployctl.events import Event, Tell
from deployctl.render import door
from deployctl.render.candidate import borrowed
from deployctl.render.compose import DRAIN_FILE, GRACE_S, project_name
from deployctl.render.gateway import entry_of
from deployctl.spec import TargetKind
from deployctl.spec.settings import Settings
from deployctl.targets import brought, keys
from deployctl.targets.docker import (
    commands,
    download,
    enginelock,
    images,
    preflight,
    sharedkeys,
    siblings,
    translate,
)
from deployctl.targets.docker.address import find
from deployctl.targets.docker.checkpoint import VolumeUploader, uploader
from deployctl.targets.docker.engine import DockerEngine, connect
from deployctl.targets.docker.gateway import DockerGateway
from deployctl.targets.docker.project import ProjectFolder, fill_volumes
from deployctl.targets.docker.running import (
    all_restarts,
    container_of,
    engine_state,
    lines_of,
    runs_it,
    whole_log,
)
from deployctl.targets.docker.shelf import DockerShelf
from deployctl.targets.driver import Downloader, EngineState
from deployctl.targets.history import Release
from deployctl.targets.holder import Check

if TYPE_CHECKING:
    from docker.models.containers import Container

CLOSED_GRACE_S = 10  # for an engine to end that has nothing more to do


class DockerDriver:
    """Starts, finds and ends engines. Keeps the connection, and what it has just started.

    A release is one engine here: the only one that it has, or the replica that it names.
    """

    target: TargetKind = "docker"
    replaces = False
    keys_count: Literal["now", "soon"] = "now"

    def __init__(
        self,
        settings: Settings,
        *,
        run: commands.Run = commands.run,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._state_dir = settings.state_dir
        self._run = run
        self._environment = environment
        self._connected: DockerEngine | None = None
        self._shelf = DockerShelf(self._state_dir, self._engine)
        self._keys = sharedkeys.SharedKeys(self._engine, self._state_dir)
        self.gateway = DockerGateway(self._engine, lambda *a: self._run(*a), settings)
        self._still_ours: Check = lambda: None
        self._closed: set[str] = set()  # ids of containers whose door we have closed
        self._restarts: dict[str, int] = {}  # container id -> restarts when we started it

    @contextmanager
    def changing(self, service: str, command: str, tell: Tell) -> Iterator[None]:
        """Holds the service's lock on the engine, settles what the service is, and brings the keys
        here as they are there.

        Raises:
            LockedError: somebody else changes it, or has changed its keys for long.
            AnotherLineageError: it is not the service that this state folder knows.
        """
        ours = partial(self._shelf.as_we_left_it, service)
        lock = enginelock.held(self._engine().carriers, service, command, tell, as_we_left_it=ours)
        with lock as self._still_ours:
            try:
                self._shelf.settle(service, tell)
                self._keys.settle(service, tell)
                yield
            finally:
                self._still_ours = lambda: None

    def take_over(self, service: str, command: str, tell: Tell) -> None:
        """Makes the engine's service of that name the one that this state folder knows.

        Raises:
            LockedError: somebody else changes it.
        """
        with enginelock.held(self._engine().carriers, service, command, tell):
            self._shelf.take_over(service, tell)

    def preflight(self, release: Release, replacing: Release | None) -> None:
        """Refuses what cannot work.

        Raises:
            DockerError: Docker or Compose is missing, an image that nobody publishes is not
                there, or the model cannot be mounted.
            PortTakenError: another container or program has the port.
        """
        engine = self._engine()
        version = self._run(commands.compose_version(), {})
        if version.code != 0:
            raise translate.no_compose(version.stderr)
        preflight.check_reach(release, engine)
        preflight.check_port(release, engine)
        image = release.plan.engine.image
        if image.startswith(BUILT_HERE) and not engine.has_image(image):
            raise translate.image_missing(image, "")
        self.gateway.preflight(entry_of(release.bundle))

    def fetch(self, release: Release, tell: Tell) -> None:
        """Pulls its image, and the gateway's, where it is missing.

        Raises:
            DockerError, LockedError, StateError: one cannot be pulled; that it was cannot be noted.
        """
        engine, image, offline = self._engine(), release.plan.engine.image, release.spec.offline
        if images.fetch(engine, self._run, image, tell, offline=offline):
            brought.note(self._state_dir, brought.Brought("image", image, engine.identity()))
        if entry_of(release.bundle) is not None:
            images.fetch(engine, self._run, self.gateway.image, tell, offline=offline)

    def uploader(self, release: Release) -> VolumeUploader | None:
        """How it gets to another host; None: the container mounts the folder."""
        return uploader(release, self._engine(), self._run)

    def downloader(self, release: Release) -> Downloader | None:
        """A container of the engine's image on the volume that its engine will have, on whichever
        host that is; none where the service's own environment leads out of that volume.

        Raises:
            DockerError: the volume cannot be made.
        """
        return download.downloader(release, self._engine(), self._run, self._environment)

    def start(self, release: Release, tell: Tell, *, serves: Release | None = None) -> None:
        """Writes the project and brings it up; returns when the container runs. Where it runs
        already, whoever started it, its door is given the keys as they are here. One that `serves`
        meanwhile is not touched; what else is there of the service's only engine goes.

        Raises:
            DockerError, PortTakenError: Compose failed, in deployctl's words.
            StateError: the project folder cannot be written.
        """
        self._still_ours()
        self.gateway.begin(entry_of(release.bundle), tell)
        running = self._container(release)
        if running is not None and runs_it(running, release):
            self.publish_keys(release)
        else:
            with self._keys.changing(release.service):
                self._compose_up(release, tell, serves)
        container = self._container(release)
        if container is not None:
            self._restarts[str(container.id)] = all_restarts(container.attrs)

    def _compose_up(self, release: Release, tell: Tell, serves: Release | None) -> None:
        engine, service = self._engine(), release.service
        project, image = self._project(service), release.plan.engine.image
        for owner, name in borrowed(release.bundle):
            engine.keep_volume(owner, name)
        place = siblings.place_for(engine, release, serves)
        siblings.make_room(engine, release, place, serves=serves is not None)
        beside = siblings.others(engine, service, place)
        with keys.locked(self._folder(service)):
            leaves = commands.leaves_the_volume(release)
            offline = release.plan.asks_for_its_model_alone and not leaves
            fetches = release.plan.asks_the_hub and not offline
            secrets = project.secrets(release.spec, self._environment, fetches=fetches)
            lineage = self._shelf.lineage(service)
            cores = siblings.cores_of(engine, release)
            files = project.write(release, place, offline=offline, lineage=lineage, cores=cores)
            self._keys.keep(service)
        self._keys.still_ours(service)
        fill_volumes(engine, release, place, secrets)
        tell(Event("note", f"docker compose up in {project.folder}"))
        done = self._run(
            commands.compose_up(project.folder, service, place, files, beside=beside),
            commands.compose_environment(release),
        )
        if done.code != 0:
            raise translate.compose_failed(
                done.stderr, image=image, port=release.spec.port, host=engine.address.url
            )

    def learn_keys(self, service: str) -> None:
        """Brings the keys here as the engine keeps them, where others changed them.

        Raises:
            StateError: they cannot be written here.
            DockerError: they cannot be read there, or are gone.
        """
        self._keys.learn(service)
        self._keys.refuse_lost(service)

    def changing_keys(self, service: str) -> AbstractContextManager[None]:
        """Nobody else changes them from elsewhere meanwhile.

        Raises:
            DockerError: what runs cannot be given any.
        """
        sharedkeys.refuse_gone(self._engine(), service)
        return self._keys.changing(service)

    def publish_keys(self, release: Release) -> None:
        """Has the engine keep the keys as they are now, and gives them to the door where one runs;
        the Hub token stays as it is.

        Raises:
            StateError: they cannot be read or written.
            DockerError: they cannot be written where the engine has them.
        """
        guarded = door.stands_before(release.bundle)
        self._keys.publish(release, self._container(release) if guarded else None)

    def close_door(self, release: Release) -> bool:
        """Has the door let nobody in any more, by a file in the container's own /tmp."""
        container = self._container(release)
        open_to_all = not door.stands_before(release.bundle)
        if open_to_all or container is None or container.status != "running":
            return False
        words = ["sh", "-c", f"test ! -e {DRAIN_FILE} && touch {DRAIN_FILE}"]
        if closed := self._engine().execute(container, words) == 0:
            self._closed.add(str(container.id))
        return closed

    def stop(self, release: Release, tell: Tell) -> None:
        """Removes the engine's container, with the last one all of the project, and keeps its log;
        caches and keys stay.

        A later release of the service that runs in its place is left alone.
        """
        self._still_ours()
        container = self._container(release)
        if container is None and self._engine().engines(project_name(release.service)):
            siblings.drop_unused(self._engine(), release)
            return
        files = self._project(release.service)
        if container is not None:
            try:
                files.keep_log(release, whole_log(self._engine(), container))
            except (StateError, DockerError) as error:
                tell(Event("warning", f"the log is not kept: {error.message}"))
        # Behind a door that was closed are no requests to wait for: they have ended, or are cut.
        closed = container is not None and container.id in self._closed
        grace_s = CLOSED_GRACE_S if closed else GRACE_S
        place = siblings.place_of(self._engine(), release)
        if siblings.take_away(self._engine(), release.service, place, grace_s):
            files.forget()

    def state(self, release: Release) -> EngineState:
        """Asks Docker; works from labels, so also when deployctl's records are lost."""
        container = self._container(release)
        if container is None:
            return EngineState("absent")
        memory = self._engine().memory(container) if container.status == "running" else None
        before = self._restarts.get(str(container.id))
        return engine_state(container.attrs, restarts_before=before, memory=memory)

    def logs(self, release: Release, *, tail: int | None, follow: bool) -> Iterator[str]:
        """Yields the container's log, or the one kept when the container was removed."""
        container = self._container(release)
        if container is not None:
            yield from lines_of(self._engine().logs(container, tail=tail, follow=follow))
            return
        file = self._project(release.service).log_file(release)
        if file.is_file():
            with file.open(encoding="utf-8", errors="replace") as stream:
                lines = (line.rstrip("\n") for line in stream)
                yield from lines if tail is None else deque(lines, tail)

    def endpoint(self, release: Release) -> Endpoint:
        """Where it answers: on the engine's host, or by the gateway there."""
        at = self.gateway.endpoint(release)
        self._keys.learn_once(release.service)
        project, has_door = self._project(release.service), door.stands_before(release.bundle)
        return at._replace(
            model=release.plan.served_model_name,
            api_key=project.secret(keys.API_KEY) if release.spec.needs_api_key else None,
            operator_token=project.secret(keys.OPERATOR_TOKEN) if has_door else None,
        )

    def engines(self, release: Release) -> list[Endpoint]:
        """It alone."""
        return [self.endpoint(release)]

    def found(self, release: Release) -> list[Release]:
        """All that have a container; with the release as a whole goes the rest of its project."""
        return [*siblings.found(self._engine(), release), release]

    def purge(self, service: str, tell: Tell, *, heir: str | None = None) -> None:
        """Removes the service's volumes, its keys among them, and kept logs."""
        engine = self._engine()
        self._still_ours()
        for volume in engine.remove_volumes(project_name(service)):
            tell(Event("note", f"removed volume {volume}"))
        siblings.drop_volumes(engine, service)
        self._keys.take_away(service, for_good=heir is not None)
        files = self._project(service)
        files.forget()
        files.forget_logs()

    def log_path(self, release: Release) -> Path | None:
        """The log as a file: none while the engine runs, a copy made now when it is dead, and
        the one kept when its container was removed.
        """
        project, container = self._project(release.service), self._container(release)
        if container is not None:
            if self.state(release).condition == "running":
                return None
            return project.keep_log(release, whole_log(self._engine(), container))
        file = project.log_file(release)
        return file if file.is_file() else None

    # The parts.

    def _engine(self) -> DockerEngine:
        if self._connected is None:
            self._connected = connect(find(self._environment, self._run))
            self._run, self._environment = self._connected.by_line(self._run, self._environment)
        return self._connected

    def _folder(self, service: str) -> Path:
        return self._state_dir / self.target / service

    def _project(self, service: str) -> ProjectFolder:
        return ProjectFolder(self._state_dir, service)

    def _container(self, release: Release) -> "Container | None":
        return container_of(self._engine(), release)
