"""Where the keys are that a verb of `keys` changes: a service's folder, or a file of its own."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deployctl.errors import InputError
from deployctl.files import write_private
from deployctl.given import resolved
from deployctl.operations.deploy.services import find, open_store
from deployctl.planning.plan import ServingPlan
from deployctl.render import door
from deployctl.spec import TargetKind
from deployctl.targets import Driver, history, keyfile, keys, open_driver
from deployctl.targets.history import Release
from deployctl.targets.keyfile import DEFAULT, KeyFile, NamedKey
from deployctl.targets.store import ServiceRef

# From when a change counts: now; soon, where nodes bring it to pods; the next start, where nothing
# runs; the next `up`, where what runs was started before there was a door. Of a file: None.
CountsFrom = Literal["now", "soon", "next_start", "next_up"] | None


@dataclass(frozen=True)
class _Service:
    """A service whose keys they are."""

    ref: ServiceRef
    driver: Driver
    releases: tuple[Release, ...]  # those that can be read, oldest first

    @property
    def shown(self) -> Release | None:
        return history.shown(self.releases) if self.releases else None


@dataclass(frozen=True)
class KeyPlace:
    """One `keys.json`, and the service that it is of."""

    path: Path
    service: _Service | None = None

    @property
    def name(self) -> str:
        """Of the service, or of the file."""
        return self.service.ref.service if self.service else str(self.path)

    @property
    def plan(self) -> ServingPlan | None:
        """The plan of the release in place."""
        release = self.service.shown if self.service else None
        return release.plan if release else None

    @property
    def default_path(self) -> Path | None:
        """Where the key `default` is; None where the service has none."""
        release = self.service.shown if self.service else None
        needs = release is not None and release.spec.needs_api_key
        return self.path.with_name(keys.API_KEY) if needs else None

    @property
    def open(self) -> bool:
        """Whether no key is needed."""
        return bool(self.plan and self.default_path is None and not self.path.exists())

    @property
    def where(self) -> tuple[str | None, TargetKind | None, str]:
        """The service and its target, where there is one, and the file."""
        ref = self.service.ref if self.service else None
        return ref and ref.service, ref and ref.target, str(self.path)

    def alone(self) -> AbstractContextManager[None]:
        """Held while they are changed and published."""
        if self.service is None:
            return nullcontext()
        return self.service.driver.changing_keys(self.service.ref.service)

    def read(self) -> KeyFile:
        """The keys; none where there is no file yet.

        Raises:
            StateError: they are damaged, cannot be read, or are of a newer version.
        """
        return keyfile.read(self.path) or keyfile.EMPTY

    def default(self) -> str | None:
        """The key `default` itself, where there is one.

        Raises:
            StateError: it cannot be read.
        """
        return keys.read_key(self.default_path) if self.default_path else None

    def change(self, edit: Callable[[KeyFile], KeyFile], *, vanish: bool = False) -> KeyFile:
        """Writes what `edit` makes of the keys, with nobody else at it; the old or the new file
        is there at any moment. With `vanish`, a file that would hold nothing is removed.

        Raises:
            Whatever `edit` raises; then nothing is changed.
            StateError: they cannot be read or written; nothing is changed.
            LockedError: another deployctl has been at it for long.
        """
        # One of ours in a user's folder is not to be taken for something of theirs.
        lock = "keys.lock" if self.service else f".{self.path.name}.lock"
        with keys.locked(self.path.parent, file=lock):
            before = self.read()
            after = edit(before)
            content = after.content()
            if len(content) > keyfile.LARGEST:
                raise InputError(
                    "there are more keys than a door reads",
                    where=str(self.path),
                    hint="revoke some, or write shorter notes",
                )
            if vanish and after == keyfile.EMPTY:
                self.path.unlink(missing_ok=True)
            elif after != before:
                self._write(content)
        return after

    def publish(self) -> CountsFrom:
        """Gives the keys to what runs; returns when its door goes by them. Where nothing does, to
        the target, from where another state folder has them.

        Raises:
            TargetError: it cannot be given them.
        """
        if self.service is None:
            return None
        counts_from: CountsFrom = "next_start"
        driver, shown = self.service.driver, self.service.shown
        for release in self.service.releases:
            live = release.status in ("pending", "deployed")
            if live and driver.state(release).condition == "running":
                driver.publish_keys(release)
                guarded = door.stands_before(release.bundle)
                counts_from = driver.keys_count if guarded else "next_up"
        purged = self.default_path is not None and self.default() is None  # `up` makes all anew
        if counts_from == "next_start" and shown is not None and not purged:
            driver.publish_keys(shown)
        if counts_from == "now":
            time.sleep(keys.SEEN_S)
        return counts_from

    def place_default(self, file: KeyFile, key: str) -> KeyFile:
        """Puts the key `default` in place, and lifts its revocation. In that order: killed in
        between, the former key does not open again.

        Raises:
            InputError: the service has no such key, or it is not revoked.
            StateError: it cannot be written.
        """
        if self.default_path is None:
            ways = "deployctl up --api-key-file FILE gives the service one; or choose another name"
            if self.service is None:
                ways = "it is the entry api_key of the Secret; choose another name"
            raise InputError(
                "default is the name of the API key, and there is none here",
                where="NAME",
                hint=ways,
            )
        keys.place_key(self.default_path, key)
        return file.lifted(DEFAULT)

    def owner(self, file: KeyFile, sha256: str) -> str | None:
        """Whose key that is already."""
        if sha256 in file.former:
            return f"{DEFAULT}, and was revoked"
        plain = {DEFAULT: self.default()}
        if self.service is not None:
            plain["the operator"] = keys.read_key(self.path.with_name(keys.OPERATOR_TOKEN))
        hashes = {name: keyfile.hash_of(key) for name, key in plain.items() if key}
        return file.owner(sha256) or next((n for n, h in hashes.items() if h == sha256), None)

    def remarks(self, entry: NamedKey) -> list[str]:
        """What whoever adds a key should know."""
        plan, remarks = self.plan, []
        if entry.limits is not None and (plan is None or plan.replicas > 1):
            many = f"{plan.replicas} replicas" if plan else "several replicas"
            remarks.append(
                f"limits hold for each engine process by itself: of {many}, each counts alone"
            )
        served = plan.served_model_name if plan else None
        others = [model for model in entry.models or () if model != served]
        if served and others and "--lora-modules" not in (plan.engine.args if plan else ()):
            remarks.append(f"{self.name} serves {served}, not {', '.join(others)}")
        return remarks

    def _write(self, content: bytes) -> None:
        mode = 0o600
        try:
            if self.service is None:  # a user's own file stays what it is
                mode = self.path.stat().st_mode & 0o777
        except OSError:
            pass
        write_private(self.path, content, mode=mode)


def open_place(service: str | None, file: Path | None, target: TargetKind | None) -> KeyPlace:
    """The keys of a service (the only one, where none is named), or a file.

    Raises:
        InputError: both are given; or no service is named and there are several.
        NotFoundError: no such service.
    """
    if file is not None:
        if service is not None:
            raise InputError(
                "the keys are a service's, or in a file of their own",
                where="--file",
                hint="leave out the service, or --file",
            )
        return KeyPlace(resolved(file))
    settings, store = open_store()
    ref = find(store, service, target)
    # Where a record is damaged, its keys are to be revoked all the same.
    releases = tuple(store.releases(ref, skip=store.damaged(ref)))
    found = _Service(ref, open_driver(ref.target, settings), releases)
    found.driver.learn_keys(ref.service)
    return KeyPlace(store.folder(ref) / keys.KEYS, found)
