"""The project folder of a service: the rendered files, for Compose to read, and what puts volumes
in the place of those folders beside them that the engine mounts. An engine may be on another host,
and a state folder may be gone tomorrow.

`STATE_DIR/docker/SERVICE/project` is for its owner alone (0700), and holds no secret.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from deployctl.files import make_folder, state_error, write_private
from deployctl.planning.plan import ServingPlan
from deployctl.render import door, yamltext
from deployctl.render.compose import (
    COMPOSE_FILE,
    DOOR_FOLDER,
    ENGINE,
    SECRETS_FOLDER,
    engine_name,
    project_name,
)
from deployctl.render.gateway import SECOND, Place
from deployctl.spec import ServiceSpec
from deployctl.targets import keys
from deployctl.targets.cores import VARIABLE
from deployctl.targets.docker import turns
from deployctl.targets.docker.engine import DockerEngine
from deployctl.targets.docker.records import LINEAGE
from deployctl.targets.driver import OFFLINE
from deployctl.targets.history import Release

HUB_TOKEN = "hf_token"  # noqa: S105  the name of its file
VOLUMES_FILE, OFFLINE_FILE = "compose.volumes.yaml", "compose.offline.yaml"
LINEAGE_FILE, TURNS_FILE = "compose.lineage.yaml", "compose.turns.yaml"
CORES_FILE, SECOND_FILE = "compose.cores.yaml", "compose.second.yaml"
_MOUNTED = {SECRETS_FOLDER: "/run/secrets", DOOR_FOLDER: "/opt/deployctl"}


def volumes_of(service: str, place: Place = None) -> dict[str, str]:
    """The volumes that stand for the folders beside a rendered file, by folder: those of an only
    engine or the first one, or of one in another place."""
    number = f"-{place}" if place else ""
    return {folder: f"{project_name(service)}_{folder}{number}" for folder in _MOUNTED}


def door_of(release: Release) -> dict[str, bytes]:
    """The door's files of a release, by path; none of one rendered before there was a door."""
    return {
        path.removeprefix(f"{DOOR_FOLDER}/"): text.encode()
        for path, text in release.bundle.files.items()
        if path.startswith(f"{DOOR_FOLDER}/")
    }


def fill_volumes(
    engine: DockerEngine, release: Release, place: Place, secrets: Mapping[str, bytes]
) -> None:
    """Has the volumes be there that an engine mounts and Compose does not make, with their files.

    Raises:
        DockerError: one cannot be made.
    """
    filled = {SECRETS_FOLDER: secrets, DOOR_FOLDER: door_of(release)}
    for folder, volume in volumes_of(release.service, place).items():
        if filled[folder]:
            engine.fill_volume(volume, release.service, release.plan.engine.image, filled[folder])
    turns.make(engine.carriers, release)


class ProjectFolder:
    """The project folder of one service below a state folder."""

    def __init__(self, state_dir: Path, service: str) -> None:
        self._service_folder = state_dir / "docker" / service
        self.folder = state_dir / "docker" / service / "project"
        self.log_folder = state_dir / "docker" / service / "logs"

    def secrets(
        self, spec: ServiceSpec, environment: Mapping[str, str], *, fetches: bool
    ) -> dict[str, bytes]:
        """The secrets by file name: what the door reads, and the Hub token for an engine that
        fetches from there.

        Raises:
            TargetError: the Hub token's file cannot be read.
            StateError: one of deployctl's own cannot be read, or the API key is gone.
        """
        secrets = keys.of_the_door(self._service_folder, spec)
        if fetches and (token := keys.hub_token(spec, environment)):
            secrets[HUB_TOKEN] = token.encode()
        return secrets

    def secret(self, name: str) -> str | None:
        """The service's API key or operator token, where it has one."""
        return keys.read_key(self._service_folder / name)

    def write(
        self,
        release: Release,
        place: Place = None,
        *,
        offline: bool,
        lineage: str | None = None,
        cores: Sequence[int] | None = None,
    ) -> list[str]:
        """Writes the rendered files. Returns those that Compose is to be given to start the engine:
        in the second `place`, one more that has it there; `offline`, one more that keeps it off the
        Hub; with a `lineage`, one more that labels the container with it; with `cores`, one more
        that has it compute on these alone, or, where they are none, on any.

        Raises:
            StateError: the disk is full or not writable.
        """
        make_folder(self.folder)
        try:
            self.folder.chmod(0o700)
        except OSError as error:
            raise state_error("write the project", self.folder, error) from error
        shutil.rmtree(self.folder / SECRETS_FOLDER, ignore_errors=True)  # an older deployctl's
        for path, text in release.bundle.files.items():
            make_folder((self.folder / path).parent)
            write_private(self.folder / path, text.encode())
        guarded = door.stands_before(release.bundle)
        more = {SECOND_FILE: _second(release)} if place == SECOND else {}
        more[VOLUMES_FILE] = _mounts(release, place, guarded=guarded)
        if shared := turns.project(release, place):
            more[TURNS_FILE] = shared
        if offline:
            more[OFFLINE_FILE] = _of_engine(place, {"environment": {OFFLINE: "1"}})
        if lineage:
            more[LINEAGE_FILE] = _of_engine(place, {"labels": {LINEAGE: lineage}})
        if cores is not None:
            more[CORES_FILE] = _of_engine(place, _computes_on(cores, release.plan))
        for name, document in more.items():
            text = yaml.safe_dump(document, sort_keys=False)
            write_private(self.folder / name, text.encode())
        return [COMPOSE_FILE, *more]

    def forget(self) -> None:
        """Removes the folder; the records and logs beside it stay."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def forget_logs(self) -> None:
        """Removes the logs that were kept."""
        shutil.rmtree(self.log_folder, ignore_errors=True)

    def log_file(self, release: Release) -> Path:
        """Where the log of a revision's engine is kept once its container is gone."""
        number = "" if release.replica is None else f".{release.replica}"
        return self.log_folder / f"{release.revision:06d}{number}.log"

    def keep_log(self, release: Release, content: bytes) -> Path:
        """Keeps the log of a revision's engine.

        Raises:
            StateError: the disk is full or not writable.
        """
        file = self.log_file(release)
        make_folder(file.parent)
        write_private(file, content)
        return file


def _of_engine(place: Place, told: dict[str, Any]) -> dict[str, Any]:
    """What the engine's service is told besides."""
    return {"services": {engine_name(place): told}}


def _second(release: Release) -> dict[str, Any]:
    """The only engine, as it is rendered, once more in the second place."""
    rendered: dict[str, Any] = yamltext.read(release.bundle.files[COMPOSE_FILE])
    return _of_engine(SECOND, rendered["services"][ENGINE])


def _mounts(release: Release, place: Place, *, guarded: bool) -> dict[str, Any]:
    """Puts a volume where the rendered file mounts a folder beside it."""
    names = {
        folder: name
        for folder, name in volumes_of(release.service, place).items()
        if guarded or folder != DOOR_FOLDER
    }
    mounts = [
        {"type": "volume", "source": folder, "target": _MOUNTED[folder], "read_only": True}
        for folder in names
    ]
    volumes = {folder: {"external": True, "name": name} for folder, name in names.items()}
    return {**_of_engine(place, {"volumes": mounts}), "volumes": volumes}


def _computes_on(cores: Sequence[int], plan: ServingPlan) -> dict[str, Any]:
    listed = ",".join(map(str, cores))
    if plan.accelerator != "cpu":
        return {"cpuset": listed}
    if not cores:
        return {"environment": {VARIABLE: "nobind"}}
    return {"cpuset": listed, "environment": {VARIABLE: listed}}
