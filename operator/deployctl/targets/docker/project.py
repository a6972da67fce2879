"""The project folder of a service: the rendered files and the secrets, for Compose to read.

`STATE_DIR/docker/SERVICE/project` is for its owner alone (0700). Inside it the secrets are
readable by all, because the engine reads them as a user that this host does not have; nobody
else gets through the folder above.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import yaml

from deployctl.errors import DockerError
from deployctl.files import make_folder, state_error, write_private
from deployctl.render.compose import ENGINE, SECRETS_FOLDER, project_name
from deployctl.spec import ServiceSpec
from deployctl.targets.docker.commands import REMOTE_FILE
from deployctl.targets.history import Release
from deployctl.targets.keys import hub_token, key_path, read_key


def secrets_volume(service: str) -> str:
    """The volume that holds the secrets on an engine of another host."""
    return f"{project_name(service)}_secrets"


class ProjectFolder:
    """The project folder of one service below a state directory."""

    def __init__(self, state_dir: Path, service: str) -> None:
        self._state_dir = state_dir
        self._service = service
        self.folder = state_dir / "docker" / service / "project"
        self.log_folder = state_dir / "docker" / service / "logs"

    def secrets(self, spec: ServiceSpec, environment: Mapping[str, str]) -> dict[str, bytes]:
        """The secrets by file name: the API key that was put in place, and the Hub token.

        Raises:
            TargetError: the Hub token's file cannot be read.
        """
        secrets = {}
        if spec.needs_api_key and (key := self.api_key()):
            secrets["api_key"] = key.encode()
        if token := hub_token(spec, environment):
            secrets["hf_token"] = token.encode()
        return secrets

    def api_key(self) -> str | None:
        """The service's API key, where it has one."""
        return read_key(key_path(self._state_dir, "docker", self._service))

    def write(self, release: Release, secrets: Mapping[str, bytes], *, remote: bool) -> None:
        """Writes the rendered files, and the secrets unless the engine is on another host.

        Raises:
            StateError: the disk is full or not writable.
        """
        make_folder(self.folder)
        try:
            self.folder.chmod(0o700)
            for path, text in release.bundle.files.items():
                file = self.folder / path
                make_folder(file.parent)
                write_private(file, text.encode())
            if remote:
                write_private(self.folder / REMOTE_FILE, _remote_file(self._service).encode())
            self._write_secrets({} if remote else secrets)
        except OSError as error:
            raise state_error("write the project", self.folder, error) from error

    def _write_secrets(self, secrets: Mapping[str, bytes]) -> None:
        folder = self.folder / SECRETS_FOLDER
        make_folder(folder)
        folder.chmod(0o755)
        for name in ("api_key", "hf_token"):
            file = folder / name
            if name in secrets:
                write_private(file, secrets[name])
                file.chmod(0o444)
            else:
                file.unlink(missing_ok=True)

    def forget(self) -> None:
        """Removes the folder, secrets and all; the records and logs beside it stay."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def forget_logs(self) -> None:
        """Removes the logs that were kept."""
        shutil.rmtree(self.log_folder, ignore_errors=True)

    def log_file(self, revision: int) -> Path:
        """Where the log of a revision is kept once its container is gone."""
        return self.log_folder / f"{revision:06d}.log"

    def keep_log(self, revision: int, content: bytes) -> Path:
        """Keeps a revision's log.

        Raises:
            StateError: the disk is full or not writable.
        """
        file = self.log_file(revision)
        make_folder(file.parent)
        write_private(file, content)
        return file


def check_model_folder(folder: Path) -> None:
    """Refuses a checkpoint that the engine, another user in a container, could not read.

    Raises:
        DockerError: the folder is gone, leads out of itself, or is closed to others.
    """
    if not folder.is_dir():
        raise DockerError("there is no such folder", where=str(folder), hint="check --model")
    closed: list[Path] = []
    for parent, folders, files in os.walk(folder):
        here = Path(parent)
        if here.stat().st_mode & 0o5 != 0o5:
            closed.append(here)
        for path in (here / name for name in (*folders, *files)):
            if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
                raise DockerError(
                    "the checkpoint holds a link that leads out of its folder, where the "
                    "container sees nothing",
                    where=str(path),
                    hint=f"give the Hub id, or a copy without links: cp -rL {folder} COPY",
                )
        closed += [f for f in (here / name for name in files) if not f.stat().st_mode & 0o4]
    if closed:
        raise DockerError(
            "the engine runs as a user of its own and may not read the checkpoint",
            where=str(closed[0]),
            hint=f"let others read it: chmod -R o+rX {folder}",
        )


def _remote_file(service: str) -> str:
    """Puts a volume where the rendered file mounts a folder of this host."""
    mount = {"type": "volume", "source": "secrets", "target": "/run/secrets", "read_only": True}
    return yaml.safe_dump(
        {
            "services": {ENGINE: {"volumes": [mount]}},
            "volumes": {"secrets": {"external": True, "name": secrets_volume(service)}},
        },
        sort_keys=False,
    )
