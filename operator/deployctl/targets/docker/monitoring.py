"""The Compose project that watches services, on a local Docker engine: one a host.

`STATE_DIR/monitoring` is for its owner alone (0700), as a service's folder is. `project` in it has
the rendered files and a folder of secrets for each part, which its container reads as a user that
this host does not have.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from deployctl.errors import DockerError, PortTakenError
from deployctl.events import Tell
from deployctl.files import make_folder, state_error, write_private
from deployctl.host import port_error
from deployctl.render.compose import COMPOSE_FILE
from deployctl.render.monitoring.stack import PORT_LABEL, PROJECT, SECRETS, STATE_LABEL
from deployctl.targets.docker import commands, images, translate
from deployctl.targets.docker.engine import SERVICE_LABEL, DockerEngine, here

_GRACE_S = 20
_RENDERED = "prometheus", "alertmanager", "grafana"
_UNREAD = "unread"  # is there from before files are written until they were read


class MonitoringProject:
    """The project of a state folder."""

    def __init__(self, state_dir: Path, engine: DockerEngine, run: commands.Run) -> None:
        self._state_dir = state_dir
        self._engine = engine
        self._run = run
        self.folder = state_dir / "monitoring" / "project"

    def check(self) -> None:
        """Refuses an engine on another host, which sees no file of ours, and one that has the
        monitoring of another state folder.

        Raises:
            DockerError: it is one of these.
        """
        if self._engine.address.remote:
            raise DockerError(
                "the Docker engine is on another host, which has no file of this one",
                where=self._engine.address.url,
                hint="run deployctl there; or render --target monitoring for a Prometheus that "
                "runs already",
            )
        for container in self._engine.containers(PROJECT):
            owner = container.labels.get(STATE_LABEL)
            if owner != str(self._state_dir):
                raise DockerError(
                    f"this host's monitoring is that of another state folder ({owner})",
                    where=str(container.name),
                    hint=f"use that one (DEPLOYCTL_STATE_DIR={owner}), or end it there: "
                    "deployctl down --monitoring",
                )

    def running(self) -> set[str]:
        """The parts that run."""
        found = self._engine.containers(PROJECT)
        return {c.labels.get(SERVICE_LABEL, "") for c in found if c.status == "running"}

    def check_port(self, part: str, port: int) -> None:
        """Refuses a port that something else has than the part itself.

        Raises:
            PortTakenError: it is taken.
        """
        own = {
            each.labels.get(PORT_LABEL)
            for each in self._engine.containers(PROJECT, part)
            if each.status == "running"
        }
        if str(port) in own or port_error(port) is None:
            return
        raise PortTakenError(
            f"port {port}, which is for {part}, is taken by another program",
            where=f"--monitoring-port {part}={port}",
            hint=f"choose another; or, if {part} runs there already: render --target monitoring",
        )

    def fetch(self, image: str, tell: Tell, *, offline: bool) -> None:
        """Pulls an image where it is missing.

        Raises:
            DockerError: it cannot be pulled.
        """
        images.fetch(self._engine, self._run, image, tell, offline=offline)

    def write(self, files: Mapping[str, str], secrets: Mapping[str, Mapping[str, bytes]]) -> bool:
        """Writes files by path, and secrets by part and name; what is no more among them goes.
        Whether anything is other than what was read last (`were_read`).

        Raises:
            StateError: the disk is full or not writable.
        """
        wanted = {path: text.encode() for path, text in files.items()}
        for part, own in secrets.items():
            wanted |= {f"{SECRETS}/{part}/{name}": secret for name, secret in own.items()}
        try:
            make_folder(self.folder)
            for part in secrets:
                self._open_folder(self.folder / SECRETS / part)
            changed = [p for p, c in wanted.items() if _content(self.folder / p) != c]
            gone = [p for p in self._written() if p not in wanted]
            if changed or gone:
                (self.folder / _UNREAD).touch()
            for path in changed:
                file = self.folder / path
                self._open_folder(file.parent)
                write_private(file, wanted[path], mode=0o444)
            for path in gone:
                (self.folder / path).unlink(missing_ok=True)
            return (self.folder / _UNREAD).exists()
        except OSError as error:
            raise state_error("write the monitoring", self.folder, error) from error

    def were_read(self) -> None:
        """Says that what runs has read what was written."""
        (self.folder / _UNREAD).unlink(missing_ok=True)

    def up(self) -> None:
        """Starts what does not run, and anew what is other than it was.

        Raises:
            DockerError: Compose failed.
        """
        done = self._run(_compose(self.folder, "up", "--detach", "--remove-orphans"), {})
        if done.code != 0:
            host = self._engine.address.url
            raise translate.compose_failed(done.stderr, image="", port=0, host=host)

    def reload(self, parts: Sequence[str]) -> None:
        """Has parts read their files again. Not by a signal of Docker's: it starts what has had one
        no more, neither after a crash nor after a reboot, whatever the signal was.

        Raises:
            DockerError: one does not run.
        """
        for part in parts:
            words = "exec", "--no-TTY", part, "sh", "-c", "kill -HUP 1"
            done = self._run(_compose(self.folder, *words), {})
            if done.code != 0:
                host = self._engine.address.url
                raise translate.compose_failed(done.stderr, image="", port=0, host=host)

    def secrets(self, part: str) -> dict[str, bytes]:
        """A part's secrets as they were written last.

        Raises:
            StateError: they cannot be read.
        """
        folder = self.folder / SECRETS / part
        try:
            # One that begins with a dot was not written to its end.
            return {file.name: file.read_bytes() for file in folder.glob("[!.]*")}
        except OSError as error:
            raise state_error("read the secrets", folder, error) from error

    def last_words(self, part: str) -> tuple[str, ...]:
        """The last lines of a part's log."""
        found = self._engine.containers(PROJECT, part)
        pieces = self._engine.logs(found[0], tail=5, follow=False) if found else iter(())
        return tuple(b"".join(pieces).decode("utf-8", "replace").splitlines())

    def down(self, *, volumes: bool) -> bool:
        """Ends it; whether there was anything. With `volumes`, what was recorded goes too."""
        there = bool(self._engine.containers(PROJECT))
        self._engine.remove(PROJECT, _GRACE_S)
        if volumes:
            self._engine.remove_volumes(PROJECT)
        shutil.rmtree(self.folder, ignore_errors=True)
        return there

    def _written(self) -> list[str]:
        folders = [self.folder / part for part in (*_RENDERED, SECRETS)]
        files = (file for folder in folders for file in folder.rglob("*") if file.is_file())
        return [file.relative_to(self.folder).as_posix() for file in files]

    def _open_folder(self, folder: Path) -> None:
        """Makes a folder, and those above it in the project, that a container's user can enter."""
        make_folder(folder)
        for level in (folder, *folder.parents):
            if level == self.folder:
                break
            level.chmod(0o755)


def monitoring_of(state_dir: Path) -> MonitoringProject:
    """The project of a state folder, on the engine that the environment names.

    Raises:
        DockerError: there is none, or it has no Compose plugin.
    """
    version = commands.run(commands.compose_version(), {})
    if version.code != 0:
        raise translate.no_compose(version.stderr)
    return MonitoringProject(state_dir, here(), commands.run)


def _compose(folder: Path, *words: str) -> list[str]:
    return [
        *("docker", "compose", "--ansi=never", "--project-name", PROJECT),
        *("--project-directory", str(folder), "--file", str(folder / COMPOSE_FILE), *words),
    ]


def _content(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
