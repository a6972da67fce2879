"""The keys of a service that several state folders change. They are kept by none but those folders
and what the engine's container has at /run/secrets, which whoever controls the engine can read.

What a door goes by counts: where others changed it since it was last given anything from here, it
is brought here first. That is told by the digest of what was given, so that a change which was made
here, and was killed before it was given, is not undone.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from deployctl.files import make_folder, write_private
from deployctl.render.compose import SECRETS_FOLDER
from deployctl.targets import keys
from deployctl.targets.docker.engine import DockerEngine
from deployctl.targets.docker.project import ProjectFolder
from deployctl.targets.docker.shelf import PUBLISHED
from deployctl.targets.history import Release

if TYPE_CHECKING:
    from docker.models.containers import Container

_AT = "/run/secrets"
_NAMES = (keys.API_KEY, keys.OPERATOR_TOKEN, keys.KEYS)


def learn(engine: DockerEngine, container: "Container", folder: Path) -> None:
    """Brings the keys to a service's folder as the engine's container has them.

    Raises:
        StateError: they cannot be written here.
        DockerError: they cannot be read there.
    """
    told = keys.read_key(folder / PUBLISHED)
    if told is None and (folder / keys.OPERATOR_TOKEN).exists():
        return  # made by an older deployctl: they are the ones
    found = engine.carriers.read(str(container.id), _AT) or {}
    there = {name: found[name] for name in _NAMES if name in found}
    if not there or told == _digest(there):
        return
    make_folder(folder)
    with keys.locked(folder):
        for name, content in there.items():
            path = folder / name
            if not path.is_file() or path.read_bytes() != content:
                write_private(path, content)
    published(folder, there)


def published(folder: Path, files: Mapping[str, bytes]) -> None:
    """Notes what the engine was given. `folder` is the service's.

    Raises:
        StateError: it cannot be written.
    """
    write_private(folder / PUBLISHED, _digest(files).encode())


def publish(
    engine: DockerEngine, container: "Container", release: Release, state_dir: Path
) -> None:
    """Gives the door of a running release the keys as they are here: in the project folder below
    this state folder, or wherever else the container has them from, through the engine.

    Raises:
        StateError: they cannot be read, or written here.
        DockerError: they cannot be written there.
    """
    project = ProjectFolder(state_dir, release.service)
    folder = project.folder.parent
    with keys.locked(folder):
        files = keys.of_the_door(folder, release.spec)
        elsewhere = _source(container, project.folder)
        if elsewhere is None:
            project.publish(files)
        else:
            image, gone = release.plan.engine.image, keys.gone(files)
            engine.write_volume(elsewhere, image, files, in_place_of=gone)
        published(folder, files)


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


def _digest(files: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name in _NAMES:
        content = files.get(name)
        digest.update(f"{name} {-1 if content is None else len(content)}\n".encode())
        digest.update(content or b"")
    return digest.hexdigest()
