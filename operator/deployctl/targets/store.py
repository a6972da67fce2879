"""The records of every service, on every target: a document a revision, on the target's shelf.

Nothing here knows what runs: that is asked of a driver.
"""

import glob
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from pydantic import ValidationError

from deployctl.errors import InputError, NotFoundError, StateError, TargetError
from deployctl.files import state_error
from deployctl.render.bundle import Bundle
from deployctl.render.gateway import entry_of
from deployctl.spec import TARGETS, TargetKind
from deployctl.spec.service import RECORDED
from deployctl.targets.history import Release
from deployctl.targets.shelf import FileShelf, Shelf, Stored
from deployctl_loadtest import foreign

RECORD_VERSION = 2  # the newest; see `_version`
_HOSTS = "hosts"


class NewerRecordError(StateError):
    """A record of a newer deployctl: not damaged, and none of this one's to touch."""


class ServiceRef(NamedTuple):
    """A service on a target."""

    target: TargetKind
    service: str


def host_folder(state_dir: Path, host: str) -> Path:
    """The state folder of another host, `USER@HOST:PORT`: no two have the same."""
    name = quote(host, safe="@")
    return state_dir / _HOSTS / (name if name.strip(".") else name.replace(".", "%2E"))


class Store:
    """Reads and writes releases below a state folder, or on `shelves` of other targets, which
    are opened when they are asked for. On `shared` ones others may have services, which are looked
    for also where nothing was done from here. Holds nothing in memory."""

    def __init__(
        self,
        root: Path,
        shelves: Mapping[TargetKind, Callable[[], Shelf]] | None = None,
        *,
        shared: Collection[TargetKind] = (),
    ) -> None:
        self.root = root.absolute()
        self._others = shelves or {}
        self._shared = shared
        self._opened: dict[TargetKind, Shelf] = {}
        self._untold: TargetError | None = None  # why a target could not be asked what others have

    def folder(self, ref: ServiceRef) -> Path:
        """The folder of one service on this machine; it may not exist yet."""
        return self._shelf(ref.target).folder(ref.service)

    def targets(self) -> list[TargetKind]:
        """Those that were used from here.

        Raises:
            StateError: the state folder is none, or cannot be read.
        """
        try:
            there = {entry.name for entry in self.root.iterdir()}
        except FileNotFoundError:
            return []
        except OSError as error:
            raise state_error("read the state folder", self.root, error) from error
        return [kind for kind in TARGETS if kind in there]

    def services(self, target: TargetKind | None = None) -> list[ServiceRef]:
        """Every service that has a record and is ours, by name; on every target that was used from
        here, where none is named."""
        refs = [
            ServiceRef(kind, service)
            for kind in ([target] if target else self.targets())
            for service in self._shelf(kind).services()
        ]
        return sorted(refs, key=lambda ref: (ref.service, ref.target))

    def others(self, target: TargetKind | None = None) -> list[ServiceRef]:
        """Every service that others have, and that anybody can go on with, by name; where no target
        is named, as far as they can be asked.

        Raises:
            TargetError: the target that is named cannot be asked.
        """
        self._untold = None
        if target is not None:
            return [ServiceRef(target, name) for name in self._shelf(target).others()]
        refs: list[ServiceRef] = []
        for kind in self._shared:
            try:
                refs += [ServiceRef(kind, name) for name in self._shelf(kind).others()]
            except TargetError as error:
                self._untold = error
        return refs

    def meant(self, target: TargetKind | None = None) -> list[ServiceRef]:
        """Every service that may be meant where none is named: ours that run, unless none does and
        some of others' do.

        Raises:
            TargetError: as `others`.
        """
        ours = self.services(target)
        if live := [ref for ref in ours if self._live(ref)]:
            return live
        return [ref for ref in self.others(target) if not ours or self._live(ref)] or ours

    def unknown(self, what: str) -> TargetError | None:
        """That `what` is not known, since a target could not be asked the last time that it was to
        tell what others have; None where all were."""
        if (why := self._untold) is None:
            return None
        hint = "; ".join(filter(None, [why.hint, "or say where it is not: --target process"]))
        return TargetError(f"{what} is not known: {why.message}", where=why.where, hint=hint)

    def find(self, service: str, target: TargetKind | None = None) -> ServiceRef:
        """Finds the target that a service is on: the one where it is not removed, if several.

        Raises:
            NotFoundError: no record of it.
            TargetError: there may be one on a target that cannot be asked.
            InputError: it is on several targets and `target` does not say which.
        """
        known = self.services(target)
        matches = [r for r in known if r.service == service] or [
            r for r in self.others(target) if r.service == service
        ]
        if len(matches) > 1:
            live = [r for r in matches if self._live(r)]
            matches = live or matches
        if len(matches) > 1:
            raise InputError(
                f"{service} is on several targets: {', '.join(r.target for r in matches)}",
                where=service,
                hint=f"say which: --target {matches[0].target}",
            )
        if not matches and (unknown := self.unknown(f"whether there is a service {service!r}")):
            raise unknown
        if not matches:
            names = ", ".join(dict.fromkeys(r.service for r in known))
            raise NotFoundError(
                f"there is no service {service!r}" + (f" on target {target}" if target else ""),
                where=str(self.root),
                hint=self._elsewhere(service)
                or (f"known services: {names}" if names else "start one with deployctl up"),
            )
        return matches[0]

    def _elsewhere(self, service: str) -> str | None:
        """Where a service of that name was put from here: by the folder of a host, or of a
        namespace, CONTEXT.NAMESPACE."""
        name = glob.escape(service)
        for folder in sorted(self.root.glob(f"{_HOSTS}/*/docker/{name}")):
            return f"one is on another host: --host ssh://{unquote(folder.parents[1].name)}"
        for folder in sorted(self.root.glob(f"kubernetes/*/{name}")):
            context, _, namespace = folder.parent.name.rpartition(".")
            return f"one is on Kubernetes: --context {context} --namespace {namespace}"
        return None

    def _live(self, ref: ServiceRef) -> bool:
        """Whether anything of it may run; one that cannot be told counts as that."""
        try:
            return any(r.status in ("pending", "deployed") for r in self.releases(ref))
        except TargetError:
            return True

    def releases(self, ref: ServiceRef, *, skip: Collection[int] = frozenset()) -> list[Release]:
        """All revisions of a service, oldest first, but for those of the numbers in `skip`.

        Raises:
            StateError: a record cannot be read or is damaged; names its file.
        """
        return [_read(each, ref) for each in self._stored(ref) if each.number not in skip]

    def damaged(self, ref: ServiceRef) -> list[int]:
        """Numbers of the records that cannot be read.

        Raises:
            NewerRecordError: one is of a newer deployctl, which can read it.
        """
        damaged = []
        for each in self._stored(ref):
            try:
                _read(each, ref)
            except NewerRecordError:
                raise
            except StateError:
                damaged.append(each.number)
        return damaged

    def stand_in(self, ref: ServiceRef, number: int) -> Release:
        """What is left of a damaged record: enough to stop what it started."""
        known: dict[str, Any] = {"service": ref.service, "revision": number, "status": "pending"}
        nothing = Bundle(target=ref.target, service=ref.service, files={})
        return Release.model_construct(**known, bundle=nothing)

    def set_aside(self, ref: ServiceRef, number: int) -> str:
        """Takes a damaged record out of the way, so that the others can be worked with; returns
        where it is."""
        return self._shelf(ref.target).set_aside(ref.service, number)

    def has(self, ref: ServiceRef) -> bool:
        """Whether there is any record of a service, or a place for one."""
        return self._shelf(ref.target).has(ref.service)

    def forget(self, ref: ServiceRef) -> None:
        """Removes every record of a service, and its folder on this machine.

        Raises:
            StateError: they cannot be removed.
        """
        self._shelf(ref.target).remove(ref.service)

    def save(self, ref: ServiceRef, release: Release) -> None:
        """Writes one revision, whole or not at all.

        Raises:
            StateError: it cannot be written; the former content stays.
        """
        document = {"version": _version(ref, release), **release.model_dump(mode="json")}
        content = json.dumps(document, indent=1, ensure_ascii=False)
        self._shelf(ref.target).write(ref.service, release.revision, content.encode())

    def _stored(self, ref: ServiceRef) -> list[Stored]:
        return self._shelf(ref.target).stored(ref.service)

    def _shelf(self, target: TargetKind) -> Shelf:
        if target not in self._opened:
            make = self._others.get(target)
            self._opened[target] = make() if make else FileShelf(self.root / target)
        return self._opened[target]


def _version(ref: ServiceRef, release: Release) -> int:
    """That of a record: 1 where an earlier deployctl may go on with it. 2 is behind a gateway of
    Docker: of a release that has the project's second place, an earlier one finds no engine, and
    would start another."""
    behind = entry_of(release.bundle) is not None
    return RECORD_VERSION if ref.target == "docker" and behind else 1


def _read(stored: Stored, ref: ServiceRef) -> Release:
    try:
        document = foreign.document(stored.read())
        version = document.pop("version")
        if isinstance(version, int) and version > RECORD_VERSION:
            raise NewerRecordError(
                f"the record was written by a newer deployctl (format {version})",
                where=stored.where,
                hint="use that version of deployctl, or a newer one; nothing was touched",
            )
        return Release.model_validate(document, context=RECORDED)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        detail = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise StateError(
            f"the record is damaged: {detail}",
            where=stored.where,
            hint=f"deployctl down {ref.service} stops the service and sets the record "
            "aside; the other revisions are untouched",
        ) from error
