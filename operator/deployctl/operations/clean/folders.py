"""Folders of this machine: compile caches of services, logs of revisions."""

import shutil
from pathlib import Path

from deployctl.files import state_error
from deployctl.operations.clean.decide import DiskPiece
from deployctl.spec.settings import Settings


def pieces(settings: Settings) -> list[DiskPiece]:
    """Compile caches and logs of the target process.

    Raises:
        StateError: a folder cannot be read.
    """
    found = []
    for folder in _below(settings.cache_dir / "engine"):
        # Another state folder, of which nothing is known here, may have the service.
        name = f"compile caches of {folder.name}"
        found.append(DiskPiece("caches", name, str(folder), size_of(folder), False, of=folder.name))
    for service in _below(settings.state_dir / "process"):
        for run in _below(service / "runs"):
            found += _log(service.name, run, "process")
    return found


def of_docker(settings: Settings) -> list[DiskPiece]:
    """Logs of services of a Docker engine, which are kept here.

    Raises:
        StateError: a folder cannot be read.
    """
    return [
        piece
        for service in _below(settings.state_dir / "docker")
        for log in _below(service / "logs")
        for piece in _log(service.name, log, "docker")
    ]


def remove(piece: DiskPiece) -> None:
    """Removes one.

    Raises:
        StateError: it cannot be removed.
    """
    path = Path(piece.place)
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise state_error("remove", path, error) from error


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links are not followed."""
    files = [path] if path.is_file() else path.rglob("*")
    total = 0
    for file in files:
        try:
            total += file.lstat().st_size
        except OSError:
            continue  # gone meanwhile, or nobody's business
    return total


def _below(folder: Path) -> list[Path]:
    """What is in a folder; a link leads to what is somebody's own."""
    try:
        return sorted(path for path in folder.iterdir() if not path.is_symlink())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise state_error("read", folder, error) from error


def _log(service: str, path: Path, target: str) -> list[DiskPiece]:
    number = path.name.partition(".")[0]
    if not number.isdecimal():
        return []
    revision = int(number)
    where = "docker" if target == "docker" else "process"
    return [
        DiskPiece(
            "log",
            f"log of {service} revision {revision}",
            str(path),
            size_of(path),
            True,
            of=service,
            revision=revision,
            target=where,  # type: ignore[arg-type]
        )
    ]
