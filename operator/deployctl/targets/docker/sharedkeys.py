"""The keys of a service that several state folders change. Its engine keeps them (`keptkeys`), and
the volume that its container has at /run/secrets is filled with what the door needs of them. A
state folder has a copy, in which they are changed.

What the engine keeps counts: where others changed it since it was last given anything from here, it
is brought here first. That is told by the digests of what was given, so that a change which was
made here, and was killed before it was given, is not undone. Whoever changes or gives them holds a
lock on the engine, and looks at them again once he has it. Of a service that was purged the engine
keeps that it has no keys: a copy of one that was revoked before is not to open anything again.

An older deployctl had containers mount them from a folder of its state folder. Those go on, and
until the engine keeps the keys of such a service, what its container has counts.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from deployctl.errors import DockerError
from deployctl.events import Event, Tell, silent
from deployctl.files import make_folder, state_error, write_private
from deployctl.render.compose import ENGINE, project_name
from deployctl.targets import keys
from deployctl.targets.docker import enginelock, published
from deployctl.targets.docker.engine import DockerEngine
from deployctl.targets.docker.keptkeys import KeptKeys
from deployctl.targets.docker.published import NAMES, PUBLISHED
from deployctl.targets.history import Release
from deployctl.targets.holder import Check

if TYPE_CHECKING:
    from docker.models.containers import Container

_AT = "/run/secrets"


class _Changed(NamedTuple):
    """Keys that others changed."""

    told: dict[str, str] | None  # digests of what the engine was given last from here
    there: dict[str, bytes]
    whole: bool  # all that there are; a container has those that it needs


class SharedKeys:
    """The keys of the services that a state folder knows, on one engine."""

    def __init__(
        self,
        connect: Callable[[], DockerEngine],
        state_dir: Path,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connect = connect
        self._state_dir = state_dir
        self._sleep = sleep
        self._learned: set[str] = set()  # services whose keys are here as they are there
        self._held: dict[str, Check] = {}

    @contextmanager
    def changing(self, service: str, tell: Tell = silent) -> Iterator[None]:
        """Held while they are changed or given to a door: brings them here first, and nobody else
        changes them meanwhile. May be held twice.

        Raises:
            LockedError: somebody else has held it for long.
            StateError, DockerError: as `learn`.
        """
        if service in self._held:
            yield
            return
        engine = self._connect()
        held = enginelock.held_shortly(
            engine.carriers,
            service,
            "keys",
            tell,
            patience_s=enginelock.LASTS_S + keys.PATIENCE_S,  # of one that was killed, too
            sleep=self._sleep,
            as_we_left_it=lambda: _changed(engine, service, self._folder(service)) is None,
        )
        with held as self._held[service]:
            try:
                self.learn(service)
                yield
            finally:
                del self._held[service]

    def settle(self, service: str, tell: Tell) -> None:
        """Brings them here as the engine keeps them, and has it keep those that an older deployctl
        left in a state folder; says so. Before anything is stopped: what a killed deployctl holds
        of them is waited for here.

        Raises:
            LockedError, StateError, DockerError: as `changing`, and they cannot be kept.
        """
        engine, folder = self._connect(), self._folder(service)
        had = (folder / keys.OPERATOR_TOKEN).exists()
        with self.changing(service, tell):
            if KeptKeys(engine.carriers).kept(service):
                return
            containers = engine.engines(project_name(service))
            if (folder / keys.OPERATOR_TOKEN).exists():
                with keys.locked(folder):
                    self.keep(service)
                told = f"the keys of {service} are kept by the Docker engine from now on"
                for source in filter(None, map(_source, containers)):
                    told += f"; what runs reads them from {source} until another takes its place"
                tell(Event("note", told))
            elif any(_is_gone(engine, container) for container in containers):
                tell(Event("warning", f"{_gone(service).message}: what starts next has new ones"))
            elif had:
                text = f"the keys of {service} were removed, with down --volumes from elsewhere"
                tell(Event("note", f"{text}: what starts next has new ones"))

    def learn(self, service: str) -> None:
        """Brings them here as the engine keeps them, where others changed them.

        Raises:
            StateError: they cannot be written here, or are of a newer deployctl.
            DockerError: they cannot be read there.
        """
        learn(self._connect(), service, self._folder(service))
        self._learned.add(service)

    def learn_once(self, service: str) -> None:
        """The same, once for this state folder's driver."""
        if service not in self._learned:
            self.learn(service)

    def keep(self, service: str) -> None:
        """Has the engine keep them as they are here. Only under both locks of theirs.

        Raises:
            LockedError: others have changed them since, as this machine slept.
            StateError: they cannot be read here.
            DockerError: they cannot be written there; what it kept before stays.
        """
        folder, kept = self._folder(service), KeptKeys(self._connect().carriers)
        files = _here(folder)
        if kept.kept(service) != files:
            self.still_ours(service)
            kept.keep(service, files)
        published.note(folder, files)

    def take_away(self, service: str, *, for_good: bool) -> None:
        """Takes them from the engine, and has copies elsewhere go, too; or, `for_good`, forgets
        that there ever were any: nobody has a copy.

        Raises:
            LockedError, StateError, DockerError: as `changing`; or it cannot be written there.
        """
        folder, kept = self._folder(service), KeptKeys(self._connect().carriers)
        with self.changing(service), keys.locked(folder):
            self.still_ours(service)
            if for_good:
                kept.forget(service)
            else:
                kept.take_away(service)
            _remove(folder / PUBLISHED)

    def still_ours(self, service: str) -> None:
        """To be asked before a door is given what was read of them a while ago.

        Raises:
            LockedError: others have changed them since, as this machine slept.
        """
        self._held[service]()

    def publish(self, release: Release, container: "Container | None") -> None:
        """Has the engine keep them as they are here, and gives them to a door: that of a container
        of the release, where there is one.

        Raises:
            StateError: they cannot be read, or written here.
            DockerError: they cannot be written there, or do not come to the door.
        """
        engine, folder = self._connect(), self._folder(release.service)
        with self.changing(release.service), keys.locked(folder):
            source = _source(container) if container is not None else None
            if container is None or source is None:
                self.keep(release.service)
                return
            files = keys.of_the_door(folder, release.spec)
            if _is_gone(engine, container):
                raise _gone(release.service)
            self.keep(release.service)
            image, gone = release.plan.engine.image, keys.gone(files)
            self.still_ours(release.service)
            engine.write_volume(source, image, files, in_place_of=gone)
            runs = container.status == "running"
            if runs and not files.items() <= _seen(engine, container).items():
                raise _gone(release.service)

    def refuse_lost(self, service: str) -> None:
        """Refuses to say anything of keys that neither the engine nor this state folder has, and a
        door goes by.

        Raises:
            DockerError: it is so.
        """
        if not (self._folder(service) / keys.OPERATOR_TOKEN).exists():
            refuse_gone(self._connect(), service)

    def _folder(self, service: str) -> Path:
        return self._state_dir / "docker" / service


def refuse_gone(engine: DockerEngine, service: str) -> None:
    """Refuses to change keys that the door will not see.

    Raises:
        DockerError: the folder that an engine which runs has them from is gone.
    """
    for container in engine.engines(project_name(service)):
        if _is_gone(engine, container):
            raise _gone(service)


def learn(engine: DockerEngine, service: str, folder: Path) -> None:
    """Brings the keys to a service's folder as the engine keeps them.

    Raises:
        StateError: they cannot be written here.
        DockerError: they cannot be read there.
    """
    if _changed(engine, service, folder) is None:
        return
    make_folder(folder)
    with keys.locked(folder):
        changed = _changed(engine, service, folder)  # whoever held it may have given it his
        if changed is None:
            return
        told, digests = changed.told, published.digests(changed.there)
        for name in NAMES:
            path, content = folder / name, changed.there.get(name)
            if told is not None and told.get(name) == digests.get(name):
                continue  # nobody else has changed it
            if content is not None:
                if not path.is_file() or path.read_bytes() != content:
                    write_private(path, content)
            elif changed.whole or name == keys.KEYS:
                _remove(path)  # it was removed, and is not to open anything again
        published.note(folder, changed.there)


def _changed(engine: DockerEngine, service: str, folder: Path) -> _Changed | None:
    """What others have changed; None where it is nothing."""
    text = keys.read_key(folder / PUBLISHED)
    kept = KeptKeys(engine.carriers).kept(service)
    if kept is None and text is None and (folder / keys.OPERATOR_TOKEN).exists():
        return None  # made by an older deployctl: they are the ones
    there = kept or _of_containers(engine, service)
    if kept is None and not there:
        return None
    told = published.told(text, there)
    return None if told == published.digests(there) else _Changed(told, there, whole=there == kept)


def _of_containers(engine: DockerEngine, service: str) -> dict[str, bytes]:
    for container in engine.engines(project_name(service)):
        try:
            return _seen(engine, container)
        except DockerError:  # the folder that it had them from is gone
            if container.status == "running":
                raise
    return {}


def _here(folder: Path) -> dict[str, bytes]:
    found = {}
    for name in NAMES:
        try:
            found[name] = (folder / name).read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise state_error("read the keys", folder / name, error) from error
    return found


def _seen(engine: DockerEngine, container: "Container") -> dict[str, bytes]:
    """What a container has."""
    found = engine.carriers.read(str(container.id), _AT) or {}
    return {name: found[name] for name in NAMES if name in found}


def _source(container: "Container") -> str | None:
    """The volume that a container has its keys from, or the path of an older deployctl's folder."""
    for mount in container.attrs.get("Mounts") or []:
        if mount.get("Destination") == _AT:
            return str(mount["Name"] if mount.get("Type") == "volume" else mount["Source"])
    return None


def _is_gone(engine: DockerEngine, container: "Container") -> bool:
    """Whether one that runs mounted a folder that is gone."""
    runs = container.status == "running" and _source(container) is not None
    return runs and not _seen(engine, container)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise state_error("remove", path, error) from error


def _gone(service: str) -> DockerError:
    return DockerError(
        f"the folder that the engine of {service} has its keys from is gone",
        where=f"{_AT} of the container deployctl-{service}-{ENGINE}-1",
        hint="its door goes by those that it read last, and cannot be given others: deployctl down "
        f"{service}, then up",
    )
