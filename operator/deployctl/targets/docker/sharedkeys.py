"""The keys of a service that several state folders change. They are kept by none but those folders
and what the engine's container has at /run/secrets, which whoever controls the engine can read.

What a door goes by counts: where others changed it since it was last given anything from here, it
is brought here first. That is told by the digests of what was given, so that a change which was
made here, and was killed before it was given, is not undone. Whoever changes or gives them holds a
lock on the engine, and looks at them again once he has it.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from deployctl.errors import DockerError
from deployctl.files import make_folder, state_error, write_private
from deployctl.render.compose import ENGINE, SECRETS_FOLDER, project_name
from deployctl.targets import keys
from deployctl.targets.docker import enginelock
from deployctl.targets.docker.engine import DockerEngine
from deployctl.targets.docker.project import ProjectFolder
from deployctl.targets.docker.shelf import PUBLISHED
from deployctl.targets.history import Release

if TYPE_CHECKING:
    from docker.models.containers import Container

_AT = "/run/secrets"
_NAMES = (keys.API_KEY, keys.OPERATOR_TOKEN, keys.KEYS)


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
        self._held: set[str] = set()

    @contextmanager
    def changing(self, service: str) -> Iterator[None]:
        """Held while they are changed or given to a door: brings them here first, and nobody else
        changes them meanwhile. May be held twice.

        Raises:
            LockedError: somebody else has held it for long.
            StateError, DockerError: as `learn`.
        """
        if service in self._held:
            yield
            return
        held = enginelock.held_shortly(
            self._connect().carriers,
            service,
            "keys",
            "deployctl",
            patience_s=enginelock.LASTS_S + keys.PATIENCE_S,  # of one that was killed, too
            sleep=self._sleep,
        )
        with held:
            self._held.add(service)
            try:
                self.learn(service)
                yield
            finally:
                self._held.discard(service)

    def learn(self, service: str) -> None:
        """Brings them here as the engine's container has them, where others changed them.

        Raises:
            StateError: they cannot be written here.
            DockerError: they cannot be read there.
        """
        engine = self._connect()
        for container in engine.containers(project_name(service), ENGINE):
            learn(engine, container, self._folder(service))
        self._learned.add(service)

    def learn_once(self, service: str) -> None:
        """The same, once for this state folder's driver."""
        if service not in self._learned:
            self.learn(service)

    def publish(self, container: "Container", release: Release) -> None:
        """Gives the door of a running release the keys as they are here: in the project folder
        below this state folder, or wherever else the container has them from, through the engine.

        Raises:
            StateError: they cannot be read, or written here.
            DockerError: they cannot be written there, or do not come to the door.
        """
        engine = self._connect()
        project = ProjectFolder(self._state_dir, release.service)
        folder = self._folder(release.service)
        with self.changing(release.service), keys.locked(folder):
            files = keys.of_the_door(folder, release.spec)
            runs = container.status == "running"
            if runs and not _there(engine, container):
                raise _gone(release.service)
            elsewhere = _source(container, project.folder)
            if elsewhere is None:
                project.publish(files)
            else:
                image, gone = release.plan.engine.image, keys.gone(files)
                engine.write_volume(elsewhere, image, files, in_place_of=gone)
            if runs and not files.items() <= _there(engine, container).items():
                raise _gone(release.service)
            published(folder, files)

    def _folder(self, service: str) -> Path:
        return ProjectFolder(self._state_dir, service).folder.parent


def refuse_gone(engine: DockerEngine, service: str) -> None:
    """Refuses to change keys that the door will not see.

    Raises:
        DockerError: the folder that an engine which runs has them from is gone.
    """
    for container in engine.containers(project_name(service), ENGINE):
        mounted = any(m.get("Destination") == _AT for m in container.attrs.get("Mounts") or [])
        if mounted and container.status == "running" and not _there(engine, container):
            raise _gone(service)


def learn(engine: DockerEngine, container: "Container", folder: Path) -> None:
    """Brings the keys to a service's folder as the engine's container has them.

    Raises:
        StateError: they cannot be written here.
        DockerError: they cannot be read there, of one that runs.
    """
    if _changed(engine, container, folder) is None:
        return
    make_folder(folder)
    with keys.locked(folder):
        changed = _changed(engine, container, folder)  # whoever held it may have given the door his
        if changed is None:
            return
        told, there = changed
        for name in _NAMES:
            path, content = folder / name, there.get(name)
            if told is not None and told.get(name) == _digests(there).get(name):
                continue  # nobody else has changed it
            if content is not None:
                if not path.is_file() or path.read_bytes() != content:
                    write_private(path, content)
            elif name == keys.KEYS:  # those here were removed, and are not to open anything again
                _remove(path)
        published(folder, there)


def published(folder: Path, files: Mapping[str, bytes]) -> None:
    """Notes what the engine was given. `folder` is the service's.

    Raises:
        StateError: it cannot be written.
    """
    write_private(folder / PUBLISHED, json.dumps(_digests(files)).encode())


def _changed(
    engine: DockerEngine, container: "Container", folder: Path
) -> tuple[dict[str, str] | None, dict[str, bytes]] | None:
    """Digests of what the engine was given last from here, and what it has; None where others have
    changed nothing."""
    text = keys.read_key(folder / PUBLISHED)
    if text is None and (folder / keys.OPERATOR_TOKEN).exists():
        return None  # made by an older deployctl: they are the ones
    try:
        there = _there(engine, container)
    except DockerError:
        if container.status == "running":
            raise
        return None  # the folder that it had them from is gone, and its door is shut
    told = _told(text, there)
    return None if not there or told == _digests(there) else (told, there)


def _there(engine: DockerEngine, container: "Container") -> dict[str, bytes]:
    found = engine.carriers.read(str(container.id), _AT) or {}
    return {name: found[name] for name in _NAMES if name in found}


def _told(text: str | None, there: Mapping[str, bytes]) -> dict[str, str] | None:
    """Digests of what the engine was given last from here, which has now what is `there`; None
    where it was given nothing."""
    if text is None:
        return None
    if text == _former_digest(there):
        return _digests(there)
    try:
        told = json.loads(text)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _digests(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(files[name]).hexdigest() for name in _NAMES if name in files}


def _former_digest(files: Mapping[str, bytes]) -> str:
    """The one of all files that was noted in place of one for each."""
    digest = hashlib.sha256()
    for name in _NAMES:
        content = files.get(name)
        digest.update(f"{name} {-1 if content is None else len(content)}\n".encode())
        digest.update(content or b"")
    return digest.hexdigest()


def _source(container: "Container", own: Path) -> str | None:
    """Where a container has its keys from, by path or volume: None where that is in the project
    folder `own`."""
    for mount in container.attrs.get("Mounts") or []:
        if mount.get("Destination") == _AT:
            if mount.get("Type") == "volume":
                return str(mount["Name"])
            path = str(mount["Source"])
            return None if Path(path) == own / SECRETS_FOLDER else path
    return None


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise state_error("remove", path, error) from error


def _gone(service: str) -> DockerError:
    return DockerError(
        f"the engine of {service} cannot be given keys: the folder that it has them from is gone",
        where=f"{_AT} of the container deployctl-{service}-{ENGINE}-1",
        hint="its door goes by those that it read last; deployctl down and up again make new ones",
    )
