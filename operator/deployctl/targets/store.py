"""The records of every service: `STATE_DIR/TARGET/SERVICE/releases/000001.json` and so on.

One file a revision, written whole. Nothing here knows what runs: that is asked of a driver.
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from deployctl.errors import InputError, NotFoundError, StateError
from deployctl.files import make_folder, state_error, write_private
from deployctl.spec import TARGETS, TargetKind
from deployctl.targets.history import Release

RECORD_VERSION = 1


class ServiceRef(NamedTuple):
    """A service on a target."""

    target: TargetKind
    service: str


class Store:
    """Reads and writes releases below a state directory. Holds nothing in memory."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()

    def folder(self, ref: ServiceRef) -> Path:
        """The folder of one service; it may not exist yet."""
        return self.root / ref.target / ref.service

    def services(self) -> list[ServiceRef]:
        """Every service that has a record, on every target, by name."""
        services = []
        for target in TARGETS:
            try:
                folders = [f for f in (self.root / target).iterdir() if (f / "releases").is_dir()]
            except FileNotFoundError:
                continue
            except OSError as error:
                raise state_error("read the records", self.root / target, error) from error
            services += [ServiceRef(target, folder.name) for folder in folders]
        return sorted(services, key=lambda ref: (ref.service, ref.target))

    def find(self, service: str, target: TargetKind | None = None) -> ServiceRef:
        """Finds the target that a service is on: the one where it is not removed, if several.

        Raises:
            NotFoundError: no record of it.
            InputError: it is on several targets and `target` does not say which.
        """
        known = self.services()
        matches = [r for r in known if r.service == service and target in (None, r.target)]
        if len(matches) > 1:
            live = [r for r in matches if self._live(r)]
            matches = live or matches
        if len(matches) > 1:
            raise InputError(
                f"{service} is on several targets: {', '.join(r.target for r in matches)}",
                where=service,
                hint=f"say which: --target {matches[0].target}",
            )
        if not matches:
            names = ", ".join(dict.fromkeys(r.service for r in known))
            raise NotFoundError(
                f"there is no service {service!r}" + (f" on target {target}" if target else ""),
                where=str(self.root),
                hint=f"known services: {names}" if names else "start one with deployctl up",
            )
        return matches[0]

    def _live(self, ref: ServiceRef) -> bool:
        """Whether anything of it may run; a damaged record counts as that."""
        try:
            return any(r.status in ("pending", "deployed") for r in self.releases(ref))
        except StateError:
            return True

    def releases(self, ref: ServiceRef, *, skip: Collection[int] = frozenset()) -> list[Release]:
        """All revisions of a service, oldest first, but for those of the numbers in `skip`.

        Raises:
            StateError: a record cannot be read or is damaged; names its file.
        """
        return [_read(path) for number, path in self._paths(ref) if number not in skip]

    def damaged(self, ref: ServiceRef) -> list[tuple[int, Path]]:
        """Number and file of the records that cannot be read."""
        damaged = []
        for number, path in self._paths(ref):
            try:
                _read(path)
            except StateError:
                damaged.append((number, path))
        return damaged

    def stand_in(self, ref: ServiceRef, number: int) -> Release:
        """What is left of a damaged record: enough to stop what it started."""
        known: dict[str, Any] = {"service": ref.service, "revision": number, "status": "pending"}
        return Release.model_construct(**known)

    def set_aside(self, path: Path) -> None:
        """Renames a damaged record, so that the others can be worked with."""
        try:
            path.replace(path.with_name(path.name + ".damaged"))
        except OSError as error:
            raise state_error("set aside", path, error) from error

    def _paths(self, ref: ServiceRef) -> list[tuple[int, Path]]:
        folder = self.folder(ref) / "releases"
        try:
            names = [p for p in folder.iterdir() if p.suffix == ".json" and p.stem.isdigit()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise state_error("read the records", folder, error) from error
        return sorted((int(path.stem), path) for path in names)

    def save(self, ref: ServiceRef, release: Release) -> None:
        """Writes one revision, whole or not at all.

        Raises:
            StateError: the disk is full or not writable; the former content stays.
        """
        folder = self.folder(ref) / "releases"
        make_folder(folder)
        document = {"version": RECORD_VERSION, **release.model_dump(mode="json")}
        content = json.dumps(document, indent=1, ensure_ascii=False)
        write_private(folder / f"{release.revision:06d}.json", content.encode())


def _read(path: Path) -> Release:
    try:
        document = json.loads(path.read_bytes())
        version = document.pop("version")
        if isinstance(version, int) and version > RECORD_VERSION:
            raise StateError(
                f"the record was written by a newer deployctl (format {version})",
                where=str(path),
                hint="use that version of deployctl, or a newer one",
            )
        return Release.model_validate(document)
    except OSError as error:
        raise state_error("read the record", path, error) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        detail = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise StateError(
            f"the record is damaged: {detail}",
            where=str(path),
            hint=f"deployctl down {path.parent.parent.name} stops the service and sets the record "
            "aside; the other revisions are untouched",
        ) from error
