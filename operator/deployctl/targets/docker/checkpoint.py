"""A checkpoint in a folder of this machine, and a Docker engine on another host: it is sent into a
volume named by its digest, through a container that is never started (`carriers`), and checked
there, by a container of the engine's image that has no network. Services that serve the same
share it, and a rollback finds it.
"""

import hashlib
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from deployctl.errors import DockerError, InterruptedByUserError, ModelError, StateError
from deployctl.events import Event, Tell
from deployctl.render.compose import LABEL, UID, checkpoint_volume
from deployctl.targets.docker import commands
from deployctl.targets.docker.engine import DockerEngine
from deployctl.targets.driver import ModelFile
from deployctl.targets.history import Release
from deployctl.units import size

CHECKPOINT = LABEL + "checkpoint"  # of the volume: the digest
_FOLDER, _SUMS, _WHOLE = "/model", ".deployctl-sums", ".deployctl-whole"
_CHUNK, _BLOCK = 4 << 20, 512


class VolumeUploader:
    """Of one release."""

    def __init__(self, engine: DockerEngine, release: Release, run: commands.Run) -> None:
        self.digest = release.plan.checkpoint
        self._image = release.plan.engine.image
        self._carriers = engine.carriers
        self._run = run
        self._volume = checkpoint_volume(self.digest)
        self.place = f"the volume {self._volume} on {engine.address.hostname}"

    def is_there(self) -> bool:
        """Whether all of it is there already, and was checked."""
        self._carry()
        read = self._carriers.read(self._volume, f"{_FOLDER}/{_WHOLE}") or {}
        return read.get("") == self.digest.encode()

    def upload(self, folder: Path, files: Sequence[ModelFile], tell: Tell) -> int:
        """Sends what is missing, and has all of it checked.

        Raises:
            ModelError: a file is not what its digest says.
            DockerError: there is no room, or no way there.
            InterruptedByUserError: Ctrl-C. What has come whole is kept.
        """
        self._carry()
        missing = [f for f in files if self._carriers.size(self._volume, _at(f)) != f.size]
        total = sum(file.size for file in missing)
        tell(Event("phase", f"sending {size(total)} to {self.place}"))
        sent = 0
        try:
            for file in missing:
                self._carriers.stream(self._volume, _FOLDER, _tar(folder, file))
                sent += file.size
                tell(Event("progress", f"{size(sent)} of {size(total)}"))
            self._check(files, tell)
        except KeyboardInterrupt as error:
            raise InterruptedByUserError(
                f"interrupted while {folder.name} was sent",
                hint="files that came whole are kept: up again, and it goes on from there",
            ) from error
        return total

    def _carry(self) -> None:
        if self._carriers.find(self._volume) is None:
            labels = {CHECKPOINT: self.digest}
            self._carriers.make_volume(self._volume, labels)
            self._carriers.create(self._volume, labels, {self._volume: _FOLDER})

    def _check(self, files: Sequence[ModelFile], tell: Tell) -> None:
        """There, against the digests of the folder; what is wrong goes, for the next try."""
        tell(Event("phase", f"checking it there: {size(sum(file.size for file in files))}"))
        sums = "".join(f"{file.sha256}  {file.name}\n" for file in files)
        self._carriers.write(self._volume, _FOLDER, {_SUMS: sums.encode()})
        done = self._run(_checked(self._volume, self._image), {})
        if done.code == 0:
            self._carriers.write(self._volume, _FOLDER, {_WHOLE: self.digest.encode()})
            return
        wrong = [line for line in done.stdout.splitlines() if line.endswith("FAILED")]
        if not wrong:
            raise DockerError(
                f"what was sent cannot be checked: {done.stderr.strip() or f'exit {done.code}'}",
                where=self.place,
                hint="deployctl doctor --target docker checks the host",
            )
        self._carriers.remove(self._volume)
        self._carriers.drop_volume(self._volume)
        raise ModelError(
            f"what came is not what was sent: {wrong[0].partition(':')[0]}",
            where=self.place,
            hint="it is removed; up again. If it stays so, check that host's memory and disk",
        )


def uploader(release: Release, engine: DockerEngine, run: commands.Run) -> VolumeUploader | None:
    """How a release's folder gets to its engine; None where that mounts it."""
    return VolumeUploader(engine, release, run) if release.plan.checkpoint else None


def _at(file: ModelFile) -> str:
    return f"{_FOLDER}/{file.name}"


def _checked(volume: str, image: str) -> list[str]:
    return [
        *("docker", "run", "--rm", "--pull", "never", "--read-only", "--network", "none"),
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges:true"),
        *("--user", f"{UID}:{UID}", "--volume", f"{volume}:{_FOLDER}:ro", "--workdir", _FOLDER),
        *("--entrypoint", "sha256sum", image, "--check", "--strict", "--quiet", _SUMS),
    ]


def _tar(folder: Path, file: ModelFile) -> Iterator[bytes]:
    """A file as a tar file of its own, read as it is sent.

    Raises:
        ModelError: it is not what its digest says.
        StateError: it cannot be read.
    """
    entry = tarfile.TarInfo(file.name)
    entry.size, entry.mode = file.size, 0o444
    yield entry.tobuf(tarfile.PAX_FORMAT)
    seen, left = hashlib.sha256(), file.size
    try:
        with (folder / file.name).open("rb") as stream:
            while left and (chunk := stream.read(min(_CHUNK, left))):
                seen.update(chunk)
                left -= len(chunk)
                yield chunk
    except OSError as error:
        raise StateError(
            f"the checkpoint cannot be read: {error.strerror}", where=str(folder / file.name)
        ) from error
    if left or seen.hexdigest() != file.sha256:
        raise ModelError(
            "the file is not what it was a moment ago",
            where=str(folder / file.name),
            hint="wait until whatever writes it is done, and try again",
        )
    yield bytes(-file.size % _BLOCK + 2 * _BLOCK)
