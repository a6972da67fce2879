"""The records of the target `docker`, on its engine: what a service is lives there (`records`), and
not with whoever began it. A state folder that knows nothing of a service, such as a pipeline's,
goes on with what the engine has; several that know it have one truth, the engine's.

The state folder keeps a copy of what it last had, and which lineage that is of. The copy serves
where the engine lost its own (`docker volume prune --all`, a service made by an older deployctl),
and it tells another service of the same name: of another lineage, it is refused until it is taken
over. Changes are the lock's holder's (`enginelock`), and the engine has each before the copy does.
"""

import json
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from deployctl.errors import AnotherLineageError
from deployctl.events import Event, Tell
from deployctl.files import make_folder, state_error, write_private
from deployctl.render.compose import LABEL, project_name
from deployctl.targets import keys
from deployctl.targets.docker import enginelock
from deployctl.targets.docker.engine import DockerEngine
from deployctl.targets.docker.published import PUBLISHED
from deployctl.targets.docker.records import LINEAGE, EngineRecords, Kept, where
from deployctl.targets.history import KEPT
from deployctl.targets.holder import is_myself
from deployctl.targets.shelf import FileShelf, Stored, remove_folder

_NOTE = "lineage"  # the file in a service's folder that names it
_MOVED = ("releases", "logs", keys.API_KEY, keys.KEYS, keys.OPERATOR_TOKEN, PUBLISHED)

# How often the records of a service were written when this process settled it, by its folder here:
# what settles it (the driver) and what writes them (the store) have a shelf each.
_settled: dict[Path, int] = {}


class Known(NamedTuple):
    """What a state folder knows of a service."""

    lineage: str | None  # None: it is from before there were lineages
    records: Mapping[int, bytes]


class DockerShelf:
    """Records of an engine, and the copy below a state folder. `connect` is called when the engine
    is to be asked."""

    def __init__(self, state_dir: Path, connect: Callable[[], DockerEngine]) -> None:
        self._copy = FileShelf(state_dir.expanduser().absolute() / "docker")
        self._connect = connect

    def folder(self, service: str) -> Path:
        """The folder of a service on this machine."""
        return self._copy.folder(service)

    def services(self) -> list[str]:
        """Every service that was changed from this state folder."""
        return self._copy.services()

    def others(self) -> list[str]:
        """Every service that the engine has and this state folder does not know."""
        known = set(self.services())
        return [name for name in self._records().services() if name not in known]

    def stored(self, service: str) -> list[Stored]:
        """The documents of a service, oldest first.

        Raises:
            AnotherLineageError: the engine has another service of that name.
            DockerError: it cannot be asked.
        """
        known = self._known(service)
        kept = self._kept(service, known)
        if kept is None or not kept.records:
            return self._copy.stored(service)
        place = where(service)
        return [
            Stored(number, f"revision {number} in {place}", partial(bytes, content))
            for number, content in kept.records.items()
        ]

    def write(self, service: str, number: int, content: bytes) -> None:
        """Writes one, whole or not at all; of a revision that begins, those that are too old by
        then are removed from the engine.

        Raises:
            DockerError: the engine cannot be given it.
            LockedError: others have changed the service meanwhile.
            StateError: it is there, and cannot be written here.
        """
        document = json.loads(content)
        records = self._records()
        self._refuse_others(document.get("candidate_of") or service)
        if not records.has(service):
            records.begin(service, self._lineage(service) or _new_lineage())
        records.write(service, {number: content}, begins=document["status"] == "pending")
        if document.get("candidate_of") is None:  # which is its service's, whoever tries it
            self._copy.write(service, number, content)

    def set_aside(self, service: str, number: int) -> str:
        """Takes a damaged one out of the way."""
        records = self._records()
        self._refuse_others(service)
        there = records.kept(service)
        said = records.set_aside(service, number) if there and number in there.records else ""
        here = [each.number for each in self._copy.stored(service)]
        return (self._copy.set_aside(service, number) if number in here else "") or said

    def has(self, service: str) -> bool:
        """Whether the engine or this state folder has any record of a service."""
        return self._copy.has(service) or self._records().has(service)

    def remove(self, service: str) -> None:
        """Removes every record of a service, and its folder here."""
        self._records().forget(service)
        remove_folder(self.folder(service))

    # For changes: only under the lock.

    def settle(self, service: str, tell: Tell, *, taking_over: bool = False) -> None:
        """Makes engine and state folder agree on what the service is: begins its lineage, or takes
        part in the one that is there. What either lacks of it, the other gives.

        Raises:
            AnotherLineageError: the engine has another service of that name, or one of which there
                are no records. The latter is as good as none when `taking_over`.
            DockerError, StateError: it cannot be read or written.
        """
        known = self._known(service)
        kept = self._kept(service, known)
        recorded = known.records or (kept and (kept.records or kept.lineage == known.lineage))
        if not recorded and not taking_over and self._running(service) is not None:
            raise _unrecorded(service)
        if kept is None:
            lineage = known.lineage or _new_lineage()
            self._note(service, lineage)  # first: of what is begun, it is known who did
            kept = self._records().begin(service, lineage)
        elif not known.records and kept.records:
            newest = max(kept.records)
            tell(Event("note", f"going on from revision {newest}, which {kept.owner} began"))
        self._note(service, kept.lineage)
        if known.records and not kept.records:
            last = dict(sorted(known.records.items())[-2 * KEPT :])
            self._records().write(service, last)
            kept = self._records().kept(service) or kept
        _settled[self.folder(service)] = kept.count
        for number, content in kept.records.items():
            if known.records.get(number) != content:
                self._copy.write(service, number, content)

    def take_over(self, service: str, tell: Tell) -> None:
        """Makes the engine's service of that name, of another lineage or without records, the one
        that is known here. What was known here before is put aside.

        Raises:
            DockerError, StateError: it cannot be read or written.
        """
        try:
            self.settle(service, tell)
        except AnotherLineageError:
            aside = self._put_aside(service)
            self.settle(service, tell, taking_over=True)
            kept = self._records().kept(service)
            if kept and kept.records:
                said = f"which {kept.owner} began; its newest revision is {max(kept.records)}"
            else:
                said = "of which are no records; the next revision takes its place"
            tell(Event("note", f"took over {service}, {said}"))
            if aside is not None:
                tell(Event("note", f"what was known of another {service} is in {aside}"))

    def as_we_left_it(self, service: str) -> bool:
        """Whether nobody else has written of a service since it was settled here, or since this
        process wrote of it."""
        kept = self._records().kept(service)
        settled = _settled.get(self.folder(service), 0)
        return kept is None or kept.count == settled or is_myself(kept.writer)

    def lineage(self, service: str) -> str | None:
        """Which one it is, as far as this state folder knows."""
        return self._lineage(service)

    # The parts.

    def _records(self) -> EngineRecords:
        return EngineRecords(self._connect().carriers)

    def _refuse_others(self, service: str) -> None:
        carriers = self._connect().carriers
        enginelock.refuse_others(carriers, service, lambda: self.as_we_left_it(service))

    def _kept(self, service: str, known: Known) -> Kept | None:
        """What the engine keeps of the service that is known here, or of any where none is."""
        kept = self._records().kept(service)
        if not known.records:
            return kept
        if kept is not None:
            if known.lineage is None:
                same = _share(known.records, kept.records)
            else:
                same = known.lineage == kept.lineage
            if not same:
                raise _another(service, kept.owner)
        elif (self._running(service) or known.lineage) != known.lineage:
            raise _another(service, "")
        return kept

    def _running(self, service: str) -> str | None:
        """The lineage of the containers that deployctl started for a service; "" of those from
        before there were any, None where none is there."""
        for container in self._connect().engines(project_name(service)):
            if container.labels.get(LABEL + "revision"):
                return str(container.labels.get(LINEAGE, ""))
        return None

    def _known(self, service: str) -> Known:
        records = {each.number: each.read() for each in self._copy.stored(service)}
        return Known(self._lineage(service), records)

    def _lineage(self, service: str) -> str | None:
        return keys.read_key(self.folder(service) / _NOTE)

    def _note(self, service: str, lineage: str) -> None:
        if self._lineage(service) != lineage:
            make_folder(self.folder(service))
            write_private(self.folder(service) / _NOTE, lineage.encode())

    def _put_aside(self, service: str) -> Path | None:
        """Moves what is known of a service out of the way, its keys first; where it is then."""
        folder = self.folder(service)
        taken = [folder / name for name in reversed(_MOVED) if (folder / name).exists()]
        if not taken:
            return None
        number = 1
        while (aside := folder / f"aside-{number}").exists():
            number += 1
        make_folder(aside)
        try:
            with keys.locked(folder):
                for path in taken:
                    path.rename(aside / path.name)
        except OSError as error:
            raise state_error("move", folder, error) from error
        return aside


def _new_lineage() -> str:
    return secrets.token_hex(8)


def _share(known: Mapping[int, bytes], kept: Mapping[int, bytes]) -> bool:
    """Whether the newest of a state folder's records is of the same revision as the engine's."""
    newest = max(known)
    return newest in kept and _created(known[newest]) == _created(kept[newest])


def _created(content: bytes) -> str:
    try:
        return str(json.loads(content)["created"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def _another(service: str, owner: str) -> AnotherLineageError:
    by = f", which {owner} began," if owner else ""
    return AnotherLineageError(
        f"the {service} of this Docker engine{by} is not the one that this state folder knows",
        where=where(service),
        hint="choose another --name, or make it this one with --take-over (up, rollback, down)",
    )


def _unrecorded(service: str) -> AnotherLineageError:
    return AnotherLineageError(
        f"a {service} runs on this Docker engine, of which neither it nor this state folder has "
        "records",
        where=f"Compose project {project_name(service)}",
        hint="choose another --name, or have up put its own in that one's place with --take-over",
    )
