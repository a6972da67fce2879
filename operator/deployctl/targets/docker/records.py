"""What a Docker engine keeps of its services: for each a volume `deployctl-SERVICE_records`, whose
labels say which service it is (its lineage) and who began it, and which holds its last releases.

It is read and written through a container of the same name that is never started (`carriers`). So
it works over ssh and tcp, needs no image and no right but that to the engine, and asks for no more
than one request to be read. The container also keeps `docker volume prune` off the volume; where
the container was pruned, it is made again.

Nothing can be removed from a volume through such a container, nor be put in a file's place at once.
So all of a service's releases are one document, written in turn to one of two files, with a digest
and a count. The whole one with the higher count holds: whoever is killed while writing, or reads
meanwhile, has the former. Only the holder of the service's lock writes.
"""

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from deployctl.errors import DockerError, StateError
from deployctl.render.compose import LABEL, project_name
from deployctl.targets.docker.carriers import Carriers
from deployctl.targets.history import KEPT, too_old
from deployctl.targets.holder import myself, person

SERVICE, LINEAGE, OWNER = LABEL + "records", LABEL + "lineage", LABEL + "owner"
VERSION = 1  # of the document
_FOLDER = "/records"
_TRIES = 3  # for two files that are written meanwhile


@dataclass(frozen=True)
class Kept:
    """What an engine keeps of one service."""

    lineage: str
    owner: str
    records: Mapping[int, bytes] = field(default_factory=dict)  # documents, by revision
    aside: Mapping[int, bytes] = field(default_factory=dict)  # damaged ones
    count: int = 0  # how often it was written
    writer: str = ""  # the process that wrote it last, as `holder` names it


def name_of(service: str) -> str:
    """Of the volume and of its container."""
    return f"{project_name(service)}_records"


class EngineRecords:
    """The records of all services of one engine. Methods raise DockerError, and StateError where
    a newer deployctl wrote them."""

    def __init__(self, carriers: Carriers) -> None:
        self._carriers = carriers

    def services(self) -> list[str]:
        """Every service that it keeps something of."""
        found = self._carriers.volumes(SERVICE)
        return sorted(labels[SERVICE] for labels in found.values() if SERVICE in labels)

    def has(self, service: str) -> bool:
        """Whether it keeps anything of a service."""
        return LINEAGE in (self._carriers.volume(name_of(service)) or {})

    def kept(self, service: str) -> Kept | None:
        """What it keeps of a service; None where it has none."""
        labels = self._carriers.volume(name_of(service)) or {}
        if LINEAGE not in labels:
            return None
        nothing = Kept(labels[LINEAGE], labels.get(OWNER, ""))
        for _ in range(_TRIES):
            files = self._files(service)
            whole = [kept for kept in map(_unpacked, files.values()) if kept]
            if whole or not any(files.values()):
                newest = max(whole, key=lambda kept: kept.count, default=nothing)
                return replace(newest, lineage=nothing.lineage, owner=nothing.owner)
        return nothing  # neither is whole: only a disk does that

    def begin(self, service: str, lineage: str) -> Kept:
        """Begins a lineage, where there is none yet; returns what is there."""
        name = name_of(service)
        labels = {SERVICE: service, LINEAGE: lineage, OWNER: person()}
        made = self._carriers.make_volume(name, labels)
        if LINEAGE not in made:  # made without labels for a container of that name, and empty
            self.forget(service)
            self._carriers.make_volume(name, labels)
        kept = self.kept(service)
        assert kept is not None, "it was made just now"
        return kept

    def write(self, service: str, documents: Mapping[int, bytes], *, begins: bool = False) -> None:
        """Adds documents to those that are there, or puts them in their place. Where a revision
        `begins`, those that are too old by then go."""

        def change(kept: Kept) -> Kept:
            records = {**kept.records, **documents}
            old = too_old({n: _status(each) for n, each in records.items()}) if begins else set()
            return replace(kept, records={n: r for n, r in records.items() if n not in old})

        self._change(service, change)

    def set_aside(self, service: str, number: int) -> str:
        """Takes a damaged document out of the way; returns where it is."""

        def change(kept: Kept) -> Kept:
            records = dict(kept.records)
            aside = {**kept.aside, number: records.pop(number)} if number in records else kept.aside
            last = dict(sorted(aside.items())[-KEPT:])
            return replace(kept, records=records, aside=last)

        self._change(service, change)
        return f"{where(service)}, among those set aside"

    def forget(self, service: str) -> None:
        """Removes all that it keeps of a service."""
        for left in range(_TRIES, 0, -1):
            self._carriers.remove(name_of(service))
            try:
                self._carriers.drop_volume(name_of(service))
                return
            except DockerError:  # it is in use: whoever looked meanwhile made the container again
                if left == 1:
                    raise

    def _change(self, service: str, change: Callable[[Kept], Kept]) -> None:
        kept = self.kept(service)
        if kept is None:
            raise DockerError(
                f"the records of {service} are gone",
                where=where(service),
                hint=f"somebody removed the volume; deployctl up {service} writes them again",
            )
        changed = replace(change(kept), count=kept.count + 1, writer=myself("deployctl"))
        slot = str(changed.count % 2)  # never the one that holds
        self._carriers.write(name_of(service), _FOLDER, {slot: _packed(changed)})

    def _files(self, service: str) -> dict[str, bytes]:
        name = name_of(service)
        files = self._carriers.read(name, _FOLDER)
        if files is None:
            self._carriers.create(name, {SERVICE: service}, {name: _FOLDER})
            files = self._carriers.read(name, _FOLDER)
        return files or {}


def where(service: str) -> str:
    """The place of a service's records, for a person."""
    return f"volume {name_of(service)} of the Docker engine"


def _status(document: bytes) -> str:
    try:
        return str(json.loads(document)["status"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "failed"  # a damaged one is no way back


def _packed(kept: Kept) -> bytes:
    document = {
        "version": VERSION,
        "count": kept.count,
        "lineage": kept.lineage,
        "writer": kept.writer,
        "records": _texts(kept.records),
        "aside": _texts(kept.aside),
    }
    content = gzip.compress(json.dumps(document).encode(), mtime=0)
    return hashlib.sha256(content).hexdigest().encode() + b"\n" + content


def _unpacked(packed: bytes) -> Kept | None:
    """What is in a file; None where it is not whole.

    Raises:
        StateError: a newer deployctl wrote it.
    """
    digest, _, content = packed.partition(b"\n")
    if hashlib.sha256(content).hexdigest().encode() != digest:
        return None
    try:
        document = json.loads(gzip.decompress(content))
        if document["version"] > VERSION:
            raise StateError(
                f"the records were written by a newer deployctl (format {document['version']})",
                where="the Docker engine",
                hint="use that version of deployctl, or a newer one; nothing was touched",
            )
        records, aside = _bytes(document["records"]), _bytes(document["aside"])
        count, writer = int(document["count"]), str(document.get("writer", ""))
        return Kept(document["lineage"], "", records, aside, count, writer)
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, OSError, zlib.error):
        return None


def _texts(documents: Mapping[int, bytes]) -> dict[str, str]:
    return {str(n): each.decode("utf-8", "surrogateescape") for n, each in documents.items()}


def _bytes(texts: Mapping[str, str]) -> dict[int, bytes]:
    found = {int(n): text.encode("utf-8", "surrogateescape") for n, text in texts.items()}
    return dict(sorted(found.items()))
