"""What a Docker engine keeps of its services: for each a volume `deployctl-SERVICE_records`, whose
labels say which service it is (its lineage) and who began it, and which holds its last releases,
all in one document (`twofiles`). Only the holder of the service's lock writes.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from deployctl.errors import DockerError
from deployctl.render.compose import LABEL, project_name
from deployctl.targets.docker.carriers import Carriers
from deployctl.targets.docker.twofiles import TwoFiles, newer, of_text, texts
from deployctl.targets.history import KEPT, too_old
from deployctl.targets.holder import myself, person

SERVICE, LINEAGE, OWNER = LABEL + "records", LABEL + "lineage", LABEL + "owner"
VERSION = 1  # of the document
_FOLDER = "/records"


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
        document = self._files(service).newest()
        found = (document and _kept(document)) or nothing
        return replace(found, lineage=nothing.lineage, owner=nothing.owner)

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
        self._files(service).forget()

    def _change(self, service: str, change: Callable[[Kept], Kept]) -> None:
        kept = self.kept(service)
        if kept is None:
            raise DockerError(
                f"the records of {service} are gone",
                where=where(service),
                hint=f"somebody removed the volume; deployctl up {service} writes them again",
            )
        changed = replace(change(kept), count=kept.count + 1, writer=myself("deployctl"))
        self._files(service).write(_document(changed))

    def _files(self, service: str) -> TwoFiles:
        return TwoFiles(self._carriers, name_of(service), _FOLDER, {SERVICE: service})


def where(service: str) -> str:
    """The place of a service's records, for a person."""
    return f"volume {name_of(service)} of the Docker engine"


def _status(document: bytes) -> str:
    try:
        return str(json.loads(document)["status"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "failed"  # a damaged one is no way back


def _document(kept: Kept) -> dict[str, Any]:
    return {
        "version": VERSION,
        "count": kept.count,
        "lineage": kept.lineage,
        "writer": kept.writer,
        "records": texts(kept.records),
        "aside": texts(kept.aside),
    }


def _kept(document: Mapping[str, Any]) -> Kept | None:
    """What is in a document; None where it is none of ours.

    Raises:
        StateError: a newer deployctl wrote it.
    """
    try:
        if document["version"] > VERSION:
            raise newer("records", document["version"])
        records, aside = _numbered(document["records"]), _numbered(document["aside"])
        writer = str(document.get("writer", ""))
        return Kept(document["lineage"], "", records, aside, document["count"], writer)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _numbered(documents: Mapping[str, str]) -> dict[int, bytes]:
    return dict(sorted((int(n), of_text(text)) for n, text in documents.items()))
