"""The lock of a service on its Docker engine: a container `deployctl-SERVICE_lock` that is never
started. Of two who make one of that name, the engine lets one.

A file in it says every ten seconds that its holder is at work, by the engine's clock. So of one
that was killed elsewhere the lock is over after half a minute; of one killed here, at once.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

from deployctl.errors import LockedError, TargetError
from deployctl.events import Event, Tell
from deployctl.render.compose import LABEL, project_name
from deployctl.targets.docker.carriers import Carrier, Carriers
from deployctl.targets.holder import Check, beating, myself, shown, was_killed

LASTS_S = 30  # after the last sign
BEAT_S = 10.0
SERVICE, HOLDER = LABEL + "lock", LABEL + "holder"
_FILE = "at-work"
_TRIES = 3


def name_of(service: str) -> str:
    """Of the container."""
    return f"{project_name(service)}_lock"


@contextmanager
def held(carriers: Carriers, service: str, command: str, tell: Tell) -> Iterator[Check]:
    """Holds the lock of a service. It can be lost where the engine is out of reach for longer than
    it lasts: ask what is yielded before anything that two may not do at once.

    Raises:
        LockedError: somebody else holds it; says who, and since when.
        DockerError: it cannot be made.
    """
    mine = _take(carriers, service, command, tell)
    begun = time.monotonic()

    def check() -> None:
        nonlocal mine, begun
        found = carriers.find(mine.id)
        if found is None:  # `docker container prune` takes it too
            mine, begun = _take(carriers, service, command, tell), time.monotonic()

    def sign() -> None:
        now = mine.created + timedelta(seconds=time.monotonic() - begun)
        carriers.write(mine.id, "/", {_FILE: now.isoformat().encode()})

    try:
        with beating(sign, BEAT_S):
            yield check
    finally:
        with suppress(TargetError):  # what cannot be let go of is over soon
            carriers.remove(mine.id)


def _take(carriers: Carriers, service: str, command: str, tell: Tell) -> Carrier:
    name = name_of(service)
    found: Carrier | None = None
    for _ in range(_TRIES):
        made = carriers.create(name, {SERVICE: service, HOLDER: myself(command)})
        if made is not None:
            return made
        found = carriers.find(name)
        if found is None:
            continue  # it was let go of meanwhile
        if not _is_over(carriers, found):
            break
        tell(Event("note", f"{_told(found)} was killed; its lock is taken"))
        carriers.remove(found.id)  # by its id: one that another takes meanwhile stays
    raise LockedError(
        f"{service} is being changed by {_told(found) if found else 'another deployctl'}",
        where=f"container {name} of the Docker engine",
        hint=f"wait until it ends; of one that was killed the lock is over after {LASTS_S} s",
    )


def _is_over(carriers: Carriers, lock: Carrier) -> bool:
    """Whether a holder was killed, or was not heard of for as long as its lock lasts."""
    if was_killed(lock.labels.get(HOLDER, "")):
        return True
    return carriers.now() - _last_sign(carriers, lock) > timedelta(seconds=LASTS_S)


def _last_sign(carriers: Carriers, lock: Carrier) -> datetime:
    said = (carriers.read(lock.id, f"/{_FILE}") or {}).get("", b"")
    try:
        return max(lock.created, datetime.fromisoformat(said.decode()))
    except (ValueError, TypeError):
        return lock.created


def _told(lock: Carrier) -> str:
    who = shown(lock.labels.get(HOLDER) or "another deployctl")
    return f"{who}, since {lock.created:%Y-%m-%dT%H:%M:%SZ}"
