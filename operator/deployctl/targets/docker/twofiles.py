"""A document that a Docker engine keeps in a volume: whole or the former, whoever is killed while
he writes it, or reads it meanwhile.

It is read and written through a container of the volume's name that is never started (`carriers`).
So it works over ssh and tcp, needs no image and no right but that to the engine, and asks for no
more than one request to be read. The container also keeps `docker volume prune` off the volume;
where the container was pruned, it is made again.

Nothing can be removed from a volume through such a container, nor be put in a file's place at once.
So the document is written in turn to one of two files, with a digest and a count: the whole one
with the higher count holds. Each is on the disk before the other is written over, where that can be
had (`Carriers.settle`): else a power cut just after two writes may cost both.
"""

import gzip
import hashlib
import json
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from deployctl.errors import DockerError, StateError
from deployctl.targets.docker.carriers import Carriers

_TRIES = 3  # for two files that are written meanwhile


class TwoFiles(NamedTuple):
    """The document in the volume `name`, which its container has at `folder`. Only one may write
    it at a time. Methods raise DockerError."""

    carriers: Carriers
    name: str
    folder: str
    labels: Mapping[str, str]  # of the container

    def newest(self) -> dict[str, Any] | None:
        """The document; None where there is none, or no such volume."""
        for _ in range(_TRIES):
            files = self._files()
            whole = [each for each in map(_unpacked, files.values()) if each]
            if whole or not any(files.values()):
                return max(whole, key=lambda each: each["count"], default=None)
        return None  # neither is whole: only a disk does that

    def write(self, document: Mapping[str, Any]) -> None:
        """Puts it in the place of the one that is there, whose count is one less. Where the volume
        is new, `newest` was asked before."""
        slot = str(document["count"] % 2)  # never the one that holds
        self.carriers.write(self.name, self.folder, {slot: _packed(document)})
        self.carriers.settle(self.name, slot)  # the next one goes over the other

    def forget(self) -> None:
        """Removes the volume; fine where there is none."""
        for left in range(_TRIES, 0, -1):
            self.carriers.remove(self.name)
            try:
                self.carriers.drop_volume(self.name)
                return
            except DockerError:  # it is in use: whoever looked meanwhile made the container again
                if left == 1:
                    raise

    def _files(self) -> dict[str, bytes]:
        files = self.carriers.read(self.name, self.folder)
        if files is None:
            if self.carriers.volume(self.name) is None:
                return {}
            self.carriers.create(self.name, self.labels, {self.name: self.folder})
            files = self.carriers.read(self.name, self.folder)
        return files or {}


def texts(documents: Mapping[Any, bytes]) -> dict[str, str]:
    """Bytes, as they are written into a document."""
    return {str(n): each.decode("utf-8", "surrogateescape") for n, each in documents.items()}


def of_text(text: str) -> bytes:
    """One of them, as it was."""
    return text.encode("utf-8", "surrogateescape")


def newer(what: str, version: object) -> StateError:
    """A document that this deployctl does not know how to read."""
    return StateError(
        f"the {what} were written by a newer deployctl (format {version})",
        where="the Docker engine",
        hint="use that version of deployctl, or a newer one; nothing was touched",
    )


def _packed(document: Mapping[str, Any]) -> bytes:
    content = gzip.compress(json.dumps(document).encode(), mtime=0)
    return hashlib.sha256(content).hexdigest().encode() + b"\n" + content


def _unpacked(packed: bytes) -> dict[str, Any] | None:
    """What is in a file; None where it is not whole."""
    digest, _, content = packed.partition(b"\n")
    if hashlib.sha256(content).hexdigest().encode() != digest:
        return None
    try:
        document = json.loads(gzip.decompress(content))
        return {**document, "count": int(document["count"])}
    except (ValueError, KeyError, TypeError, EOFError, OSError, zlib.error, RecursionError):
        return None
