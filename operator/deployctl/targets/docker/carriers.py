"""Carriers: containers that are never started, and the volumes that they mount. Through one, files
get to an engine and back, wherever that is: nothing of this machine is mounted, no program runs.

They are made of an image with nothing in it, which is imported here, so that no other has to be
there and none is pulled.
"""

import io
import os
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from deployctl.errors import DockerError
from deployctl.targets.docker.translate import translated

if TYPE_CHECKING:
    from docker import DockerClient

IMAGE, _TAG = "deployctl/empty", "1"
_NOTHING = bytes(1024)  # a tar file that ends at once
_MOST = 64 << 20  # bytes of a folder that is read; a service's records take one hundredth


class Carrier(NamedTuple):
    """A container that is never started."""

    id: str
    labels: Mapping[str, str]
    created: datetime  # by the engine's clock


class Carriers:
    """Those of one engine. Methods raise DockerError and nothing else."""

    def __init__(self, client: "DockerClient", host: str) -> None:
        self._client = client
        self._host = host

    def create(
        self, name: str, labels: Mapping[str, str], mounts: Mapping[str, str] | None = None
    ) -> Carrier | None:
        """Makes one; None where there is one of that name, also where two make it at once.

        `mounts`: by volume, where it is in the container.
        """
        from docker.errors import APIError, ImageNotFound

        with translated(self._host):
            for last in (False, True):
                try:
                    made = self._client.containers.create(
                        f"{IMAGE}:{_TAG}",
                        name=name,
                        entrypoint=["-"],
                        network_mode="none",
                        labels=dict(labels),
                        volumes={v: {"bind": at, "mode": "rw"} for v, at in (mounts or {}).items()},
                    )
                    return _carrier(made.attrs)
                except ImageNotFound:
                    if last:
                        raise
                    self._client.api.import_image_from_data(_NOTHING, IMAGE, _TAG)
                except APIError as error:
                    if error.status_code == 409:
                        return None
                    raise
        return None

    def find(self, name: str) -> Carrier | None:
        """The one of that name."""
        from docker.errors import NotFound

        with translated(self._host):
            try:
                return _carrier(self._client.containers.get(name).attrs)
            except NotFound:
                return None

    def remove(self, name: str) -> None:
        """Removes one, by its name or id; fine where there is none."""
        from docker.errors import APIError

        with translated(self._host):
            try:
                self._client.api.remove_container(name, force=True)
            except APIError as error:
                if error.status_code not in (404, 409):  # not there; being removed by another
                    raise

    def read(self, name: str, path: str) -> dict[str, bytes] | None:
        """The files below a folder of any container, by their path in it; a file, under the name
        "". None where there is no such container, or no such path in it."""
        from docker.errors import NotFound

        with translated(self._host):
            try:
                pieces, _ = self._client.api.get_archive(name, path)
                content = b"".join(_bounded(pieces, self._host))
            except NotFound:
                return None
        try:
            with tarfile.open(fileobj=io.BytesIO(content)) as tar:
                return {
                    entry.name.partition("/")[2]: file.read()
                    for entry in tar
                    if (file := tar.extractfile(entry)) is not None
                }
        except (tarfile.TarError, EOFError, KeyError) as error:
            raise DockerError(
                f"the engine broke off while {path} of {name} was read: {error}", where=self._host
            ) from error

    def write(self, name: str, folder: str, files: Mapping[str, bytes], now: float = 0) -> None:
        """Writes files into a folder of a container, as of `now` (Unix time). Each is written where
        it is: whoever reads it meanwhile, or is killed, meets a part of it."""
        with translated(self._host):
            self._client.api.put_archive(name, folder, archive(files, now))

    def settle(self, volume: str, file: str) -> None:
        """Has a file of a volume outlive a power cut, where its disk is this machine's and ours to
        open: root's, or that of an engine without root. An engine elsewhere has no request for it;
        its kernel writes what is new within half a minute."""
        from docker.errors import NotFound

        with translated(self._host):
            try:
                folder = Path(self._client.volumes.get(volume).attrs["Mountpoint"])
            except (NotFound, KeyError):
                return
        for path in (folder / file, folder):
            with suppress(OSError):
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)

    def size(self, name: str, path: str) -> int | None:
        """Bytes of a file of a container; None where there is none."""
        from docker.errors import NotFound

        with translated(self._host):
            try:
                pieces, stat = self._client.api.get_archive(name, path)
            except NotFound:
                return None
            pieces.close()  # a generator
        return int(stat["size"])

    def stream(self, name: str, folder: str, tar: Iterator[bytes]) -> None:
        """Unpacks a tar file, as it comes, into a folder of a container."""
        with translated(self._host):
            self._client.api.put_archive(name, folder, tar)

    def volumes(self, label: str) -> dict[str, Mapping[str, str]]:
        """The labels of each volume that has `label`, by the volume's name."""
        with translated(self._host):
            found = self._client.volumes.list(filters={"label": label})
            return {str(volume.name): _labels(volume.attrs) for volume in found}

    def volume(self, name: str) -> Mapping[str, str] | None:
        """The labels of a volume; None where there is none."""
        from docker.errors import NotFound

        with translated(self._host):
            try:
                return _labels(self._client.volumes.get(name).attrs)
            except NotFound:
                return None

    def make_volume(self, name: str, labels: Mapping[str, str]) -> Mapping[str, str]:
        """Makes a volume, and returns its labels: of one that is there, those that it has."""
        with translated(self._host):
            return _labels(self._client.volumes.create(name, labels=dict(labels)).attrs)

    def drop_volume(self, name: str) -> None:
        """Removes a volume; fine where there is none."""
        from docker.errors import NotFound

        with translated(self._host):
            try:
                self._client.api.remove_volume(name)
            except NotFound:
                return

    def now(self) -> datetime:
        """What the engine's clock says."""
        with translated(self._host):
            return moment(self._client.info().get("SystemTime"))


def archive(files: Mapping[str, bytes], now: float) -> bytes:
    """A tar file of files that all may read, written `now`: a door sees by the time of a file,
    besides its size and an inode that may be the former one's, that it is another.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode, entry.mtime = len(content), 0o444, now
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _bounded(pieces: Any, host: str) -> Any:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > _MOST:
            raise DockerError(f"the engine sends more than {_MOST >> 20} MiB", where=host)
        yield piece


def _carrier(attrs: Mapping[str, Any]) -> Carrier:
    labels = attrs.get("Config", {}).get("Labels") or {}
    return Carrier(str(attrs["Id"]), labels, moment(attrs.get("Created")))


def _labels(attrs: Mapping[str, Any] | None) -> Mapping[str, str]:
    return (attrs or {}).get("Labels") or {}


def moment(text: object) -> datetime:
    """A time as Docker writes it, to the nanosecond; ours, where it is none."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return datetime.now(UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
