"""What cannot work on a Docker engine, found before anything is started."""

import errno
import os
from pathlib import Path

from deployctl.errors import DockerError
from deployctl.host import port_error
from deployctl.render import gateway
from deployctl.render.compose import project_name
from deployctl.targets.docker import translate
from deployctl.targets.docker.engine import PROJECT_LABEL, DockerEngine
from deployctl.targets.history import Release


def check_reach(release: Release, engine: DockerEngine) -> None:
    """Refuses what cannot be seen from where the engine is, and folders it may not read.

    Raises:
        DockerError: the model cannot be mounted, or the service would be out of reach.
    """
    remote = engine.address.remote
    if release.plan.model_local and not release.plan.checkpoint:
        if remote:
            raise DockerError(
                "the checkpoint is a folder here, and the Docker engine is on another host",
                where=engine.address.url,
                hint="give a Hub id, or run deployctl on that host",
            )
        _check_model_folder(Path(release.plan.model))
    behind = gateway.entry_of(release.bundle) is not None
    if remote and engine.line is None and (behind or not release.spec.expose):
        raise DockerError(
            "the service would listen on the other host's loopback, out of reach from here",
            where=engine.address.url,
            hint="reach the engine by ssh (--host ssh://USER@HOST), which makes a tunnel"
            + ("" if behind else "; or add --expose: clients then need an API key"),
        )


def check_port(release: Release, engine: DockerEngine) -> None:
    """Refuses a port that another container or program has, where the engine publishes one.

    Raises:
        PortTakenError: it is taken.
    """
    if gateway.entry_of(release.bundle) is None:
        refuse_taken(engine, release.spec.port, project_name(release.service), release.spec.expose)


def refuse_taken(
    engine: DockerEngine, port: int, project: str, everywhere: bool, *, flag: str = "--port"
) -> None:
    """Refuses a port that others have than the containers of a project; `flag` says another.

    Raises:
        PortTakenError: it is taken.
    """
    holder = engine.publisher(port)
    if holder is not None:
        if holder.labels.get(PROJECT_LABEL) == project:
            return
        raise translate.port_taken(port, holder.name, flag)
    if not engine.address.remote and not _is_free(port, everywhere=everywhere):
        raise translate.port_taken(port, flag=flag)


def _is_free(port: int, *, everywhere: bool) -> bool:
    error = port_error(port, "" if everywhere else "127.0.0.1")
    return error is None or error.errno != errno.EADDRINUSE  # a low port is Docker's to open


def _check_model_folder(folder: Path) -> None:
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
