"""What of a Docker engine's disk is deployctl's: images that it pulled, caches of services, and
checkpoints that were sent there.
"""

from typing import Any, NamedTuple

from deployctl.render.compose import CACHES, project_name
from deployctl.targets.docker.carriers import moment
from deployctl.targets.docker.checkpoint import CHECKPOINT
from deployctl.targets.docker.engine import PROJECT_LABEL, VOLUME_LABEL, DockerEngine
from deployctl.targets.docker.turns import TURNS


class OnDisk(NamedTuple):
    """An image or a volume of an engine."""

    name: str  # of an image, as a person writes it; of a volume
    bytes: int
    service: str = ""  # of a volume: whose caches it holds; or the digest of its checkpoint
    in_use: str = ""  # by what
    came: float = 0.0  # Unix time, of a volume


def images(engine: DockerEngine) -> list[OnDisk]:
    """Every image that has a name."""
    used = engine.disk_use()
    return [
        OnDisk(name, int(image.get("Size") or 0), in_use=_containers(image.get("Containers")))
        for image in used.get("Images") or []
        for name in image.get("RepoTags") or []
        if name != "<none>:<none>"
    ]


def caches(engine: DockerEngine) -> list[OnDisk]:
    """Volumes of services' caches: no records, keys or secrets."""
    found = []
    prefix = project_name("")
    for volume in engine.disk_use().get("Volumes") or []:
        labels: dict[str, Any] = volume.get("Labels") or {}
        project = str(labels.get(PROJECT_LABEL, ""))
        if not project.startswith(prefix) or labels.get(VOLUME_LABEL) not in CACHES:
            continue
        use = volume.get("UsageData") or {}
        size = max(0, int(use.get("Size") or 0))
        in_use = _containers(use.get("RefCount"))
        service = project.removeprefix(prefix)
        came = moment(volume.get("CreatedAt")).timestamp()
        found.append(OnDisk(str(volume["Name"]), size, service, in_use, came))
    return found


def checkpoints(engine: DockerEngine) -> list[OnDisk]:
    """Volumes of checkpoints, each of which one container has that is never started."""
    return _carried(engine, CHECKPOINT)


def turns(engine: DockerEngine) -> list[OnDisk]:
    """The volume of the locks of cards that engines share, if there is one, which has such a
    container, too."""
    return _carried(engine, TURNS)


def _carried(engine: DockerEngine, label: str) -> list[OnDisk]:
    found = []
    for volume in engine.disk_use().get("Volumes") or []:
        said = (volume.get("Labels") or {}).get(label)
        if not said:
            continue
        use, name = volume.get("UsageData") or {}, str(volume["Name"])
        count = int(use.get("RefCount") or 0) - (engine.carriers.find(name) is not None)
        came = moment(volume.get("CreatedAt")).timestamp()
        size = max(0, int(use.get("Size") or 0))
        found.append(OnDisk(name, size, str(said), _containers(count), came))
    return found


def drop(engine: DockerEngine, name: str) -> None:
    """Removes a volume that has a container of its own, and that."""
    engine.carriers.remove(name)
    engine.carriers.drop_volume(name)


def _containers(count: object) -> str:
    number = int(count) if isinstance(count, int) else 0
    return f"{number} container{'s' if number > 1 else ''}" if number > 0 else ""
