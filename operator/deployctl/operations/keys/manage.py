"""The keys of a service: added, listed and revoked, while it runs.

What is changed is `keys.json` in the service's folder; what runs is given it, and goes by it when
the call returns. A file for a Kubernetes Secret is changed the same way.
"""

import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from deployctl.errors import (
    DeployctlError,
    InputError,
    LockedError,
    NotFoundError,
    TargetError,
    did_you_mean,
)
from deployctl.operations.keys.place import CountsFrom, KeyPlace, open_place
from deployctl.operations.keys.request import KeyRequest, check_name
from deployctl.spec import TargetKind
from deployctl.targets.keyfile import DEFAULT, KeyFile, KeyLimits, NamedKey, refuse_limits

KeyState = Literal["valid", "expired", "revoked"]


class AddedKey(NamedTuple):
    """A key that was added, as its JSON document shows it."""

    service: str | None  # None, as `target`, of a file
    target: TargetKind | None
    file: str
    name: str
    key: str | None  # there once: what is kept is its hash; None where it was given in a file
    expires: str | None  # ISO 8601
    counts_from: CountsFrom
    remarks: tuple[str, ...]  # what whoever added it should know


class RevokedKey(NamedTuple):
    """A key that opens nothing any more, as its JSON document shows it."""

    service: str | None
    target: TargetKind | None
    file: str
    name: str
    counts_from: CountsFrom
    left: int  # keys that open still


class ListedKey(NamedTuple):
    """A key as it is now; never the key itself."""

    name: str
    state: KeyState
    note: str = ""
    created: str | None = None  # ISO 8601, as `expires`
    expires: str | None = None
    models: tuple[str, ...] | None = None  # None: all
    limits: Mapping[str, int | None] = KeyLimits().model_dump()


class KeyList(NamedTuple):
    """The keys of one place. The operator's token is not among them."""

    service: str | None
    target: TargetKind | None
    file: str
    open: bool  # no key is needed
    keys: tuple[ListedKey, ...]


def add_key(
    service: str | None,
    name: str,
    request: KeyRequest | None = None,
    *,
    file: Path | None = None,
    target: TargetKind | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> AddedKey:
    """Makes a key, or takes the one in `request.key_file`, and gives it to what runs.

    `default` is the key that `up` places: once it is revoked, a new one takes its place.

    Raises:
        InputError: the name is taken, or something about the request is wrong.
        NotFoundError: no such service.
        PlanRefusedError: it has limits, and several API-server processes would each count.
        StateError: the keys cannot be read or written; nothing is changed.
    """
    request = request or KeyRequest()
    check_name(name)
    place = open_place(service, file, target)
    if request.limits() is not None and place.plan is not None:
        refuse_limits(place.plan, f"key {name}")
    key = request.key() or secrets.token_urlsafe(32)
    entry = request.entry(name, key, now())
    closes = place.open

    def edit(keys: KeyFile) -> KeyFile:
        _refuse_known(place, keys, name, entry.sha256)
        if name != DEFAULT:
            return keys.with_key(entry)
        if entry.model_fields_set - {"name", "sha256", "created"}:
            raise InputError(
                "the key default has neither note, expiry, models nor limits",
                where="NAME",
                hint="leave them out, or choose another name",
            )
        return place.place_default(keys, key)

    def undo(keys: KeyFile) -> KeyFile:
        if name == DEFAULT:
            return keys.revoking_default(None) if place.default() == key else keys
        return keys.without(name) if keys.owner(entry.sha256) == name else keys

    with place.alone():
        changed = False
        try:
            _change(place, edit)
            changed = True
            counts_from = place.publish()
        except TargetError as error:  # it was shown to nobody, so nobody misses it
            if isinstance(error, LockedError) and not changed:
                raise
            error.hint = "; ".join(filter(None, [error.hint, _undone(place, undo, closes, name)]))
            raise
    remarks = [f"from now on, clients of {place.name} need a key"] if closes else []
    remarks += place.remarks(entry)
    shown = None if request.key_file else key
    return AddedKey(*place.where, name, shown, entry.expires, counts_from, tuple(remarks))


def list_keys(
    service: str | None = None,
    *,
    file: Path | None = None,
    target: TargetKind | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> KeyList:
    """The keys of a service, or of a file: the key `default` first, then in the order added.

    Raises:
        NotFoundError: no such service or file.
        StateError: the keys are damaged, cannot be read, or are of a newer version.
    """
    place = open_place(service, file, target)
    _need_file(place)
    keys, moment = place.read(), now()
    listed = [_listed(key, keys, moment) for key in keys.keys]
    if place.default() is not None or DEFAULT in keys.revoked:
        listed.insert(0, ListedKey(DEFAULT, "revoked" if DEFAULT in keys.revoked else "valid"))
    return KeyList(*place.where, place.open, tuple(listed))


def revoke_key(
    service: str | None,
    name: str,
    *,
    file: Path | None = None,
    target: TargetKind | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> RevokedKey:
    """Takes a key away, also from what runs: that refuses it when this returns.

    Requests that are under way with it end as they would. Where it was the last key, nobody gets
    in. To revoke `default` once more changes nothing.

    Raises:
        NotFoundError: no such service, file or key.
        StateError: the keys cannot be read or written; nothing is changed.
        TargetError: it is revoked, and what runs could not be told.
    """
    place = open_place(service, file, target)
    _need_file(place)

    def edit(keys: KeyFile) -> KeyFile:
        if keys.find(name) is not None:
            return keys.without(name)
        if name == DEFAULT and (file is not None or place.default() is not None):
            return keys.revoking_default(place.default())
        names = [key.name for key in keys.keys] + ([DEFAULT] if place.default() else [])
        hint = did_you_mean(name, names) or f"its keys: {', '.join(names) or 'none'}"
        raise NotFoundError(f"{place.name} has no key {name!r}", where=str(place.path), hint=hint)

    with place.alone():
        keys = _change(place, edit)
        try:
            counts_from = place.publish()
        except DeployctlError as error:
            told = f"{name} is revoked in {place.path}, but what runs was not told: run this again"
            error.hint = "; ".join(filter(None, [told, error.hint]))
            raise
    left = [key for key in keys.keys if _listed(key, keys, now()).state == "valid"]
    default = place.default() is not None and DEFAULT not in keys.revoked
    return RevokedKey(*place.where, name, counts_from, len(left) + default)


def _change(place: KeyPlace, edit: Callable[[KeyFile], KeyFile]) -> KeyFile:
    """Changes the keys. Where there is nothing to change, what runs is given them all the same:
    a deployctl that was killed may have changed them and no more.
    """
    try:
        return place.change(edit)
    except InputError:
        place.publish()
        raise


def _undone(place: KeyPlace, undo: Callable[[KeyFile], KeyFile], closes: bool, name: str) -> str:
    """Takes back what was begun, and says what it came to: a disk that is full takes nothing."""
    try:
        place.change(undo, vanish=closes)
        return "no key was added"
    except TargetError:
        where = place.name if place.service else f"--file {place.path}"
        return f"if there is a key {name} now, nobody has it: deployctl keys revoke {where} {name}"


def _refuse_known(place: KeyPlace, keys: KeyFile, name: str, sha256: str) -> None:
    """Raises InputError where the name or the key is taken."""
    taken = keys.find(name) is not None
    if name == DEFAULT:
        taken = taken or (place.default() is not None and DEFAULT not in keys.revoked)
    if taken:
        raise InputError(
            f"{place.name} has a key {name!r} already",
            where=str(place.path),
            hint=f"choose another name, or revoke it first: deployctl keys revoke … {name}",
        )
    if owner := place.owner(keys, sha256):
        raise InputError(f"this is the key of {owner}", where="--key-file")


def _need_file(place: KeyPlace) -> None:
    if place.service is None and not place.path.exists():
        raise NotFoundError(
            "there is no such file",
            where=str(place.path),
            hint=f"deployctl keys add --file {place.path} NAME makes it",
        )


def _listed(key: NamedKey, keys: KeyFile, now: datetime) -> ListedKey:
    state: KeyState = "expired" if key.expired(now) else "valid"
    limits = (key.limits or KeyLimits()).model_dump()
    if key.name in keys.revoked:
        state = "revoked"
    return ListedKey(key.name, state, key.note, key.created, key.expires, key.models, limits)
