"""The lock of a service on its Docker engine: a container `deployctl-SERVICE_lock` that is never
started. Of two who make one of that name, the engine lets one.

A file in it says every ten seconds that its holder is at work, by the engine's clock, for which it
is asked each time: ours stands still while this machine sleeps, and the engine's can be set. So of
a holder that was killed elsewhere the lock is over after half a minute; of one killed here, at
once. Of one that slept it is over too, and others may have changed the service since: once it
wakes, it changes nothing more.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import NoReturn

from deployctl.errors import LockedError, TargetError
from deployctl.events import Event, Tell, silent
from deployctl.render.compose import LABEL, project_name
from deployctl.targets.docker.carriers import Carrier, Carriers
from deployctl.targets.holder import Check, beating, is_myself, myself, shown, was_killed

LASTS_S = 30  # after the last sign
BEAT_S = 10.0
POLL_S = 0.5
SERVICE, HOLDER = LABEL + "lock", LABEL + "holder"
_FILE = "at-work"
_TRIES = 3
_PATIENT = 4  # polls for a lock that is held shortly, before it is said who has it


def name_of(service: str, of: str = "") -> str:
    """Of the container. `of`: a part of the service that has a lock of its own."""
    return f"{project_name(service)}_{of}lock"


@contextmanager
def held(
    carriers: Carriers,
    service: str,
    command: str,
    tell: Tell,
    *,
    as_we_left_it: Callable[[], bool] = lambda: True,
) -> Iterator[Check]:
    """Holds the lock of a service. It can be lost where the engine is out of reach for longer than
    it lasts: ask what is yielded before anything that two may not do at once. A lock that was
    removed is taken again, if the service is `as_we_left_it`.

    Raises:
        LockedError: somebody else holds it; says who, and since when.
        DockerError: it cannot be made.
    """
    mine = _take(carriers, service, "", command, tell)

    def check() -> None:
        nonlocal mine
        mine = _again(carriers, service, "", command, tell, mine, as_we_left_it)

    with _kept(carriers, lambda: mine):
        yield check


@contextmanager
def cards_held(carriers: Carriers, command: str) -> Iterator[Check]:
    """Holds the cards of the engine's host, while engines are started that share them. It can be
    lost as `held` says: ask what is yielded before each is started, and look anew at what runs.

    Raises:
        LockedError: somebody else holds them; says who, and since when.
        DockerError: it cannot be made.
    """
    with held_shortly(carriers, "host", "cards", silent, patience_s=0, command=command) as check:
        yield check


@contextmanager
def held_shortly(
    carriers: Carriers,
    service: str,
    of: str,
    tell: Tell,
    *,
    patience_s: float,
    command: str = "deployctl",
    sleep: Callable[[float], None] = time.sleep,
    as_we_left_it: Callable[[], bool] = lambda: True,
) -> Iterator[Check]:
    """Holds the lock of a part of a service, for seconds; waits for who holds it, and says so. It
    can be lost as `held` says.

    Raises:
        LockedError: somebody else has held it for that long.
        DockerError: it cannot be made.
    """
    tries = int(patience_s / POLL_S)
    for left in range(tries, -1, -1):
        try:
            mine = _take(carriers, service, of, command, tell)
            break
        except LockedError as error:
            if not left:
                raise
            if left == tries - _PATIENT:
                tell(Event("note", f"waiting: {error.message}"))
            sleep(POLL_S)

    def check() -> None:
        nonlocal mine
        mine = _again(carriers, service, of, command, tell, mine, as_we_left_it)

    with _kept(carriers, lambda: mine):
        yield check


def refuse_others(carriers: Carriers, service: str, as_we_left_it: Callable[[], bool]) -> None:
    """Refuses to go on where the lock of a service is another's by now, or gone, and the service
    not `as_we_left_it`.

    Raises:
        LockedError: it is so.
    """
    found = carriers.find(name_of(service))
    if found is None:
        if not as_we_left_it():
            _lost(service)
    elif not is_myself(found.labels.get(HOLDER, "")):
        raise _taken(service, "", found)


def at_work(carriers: Carriers, service: str) -> bool:
    """Whether somebody changes a service now, who was not killed.

    Raises:
        DockerError: the engine cannot be asked.
    """
    found = carriers.find(name_of(service))
    return found is not None and not _is_over(carriers, found)


@contextmanager
def _kept(carriers: Carriers, mine: Callable[[], Carrier]) -> Iterator[None]:
    def sign() -> None:
        carriers.write(mine().id, "/", {_FILE: carriers.now().isoformat().encode()})

    try:
        with beating(sign, BEAT_S):
            yield
    finally:
        with suppress(TargetError):  # what cannot be let go of is over soon
            carriers.remove(mine().id)


def _take(carriers: Carriers, service: str, of: str, command: str, tell: Tell) -> Carrier:
    name = name_of(service, of)
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
    raise _taken(service, of, found)


def _again(
    carriers: Carriers,
    service: str,
    of: str,
    command: str,
    tell: Tell,
    mine: Carrier,
    as_we_left_it: Callable[[], bool],
) -> Carrier:
    """The lock, which was removed perhaps, and is taken again."""
    if carriers.find(mine.id) is not None:
        return mine
    mine = _take(carriers, service, of, command, tell)  # `docker container prune` takes it too
    same = False
    try:
        same = as_we_left_it()
    finally:
        if not same:  # or nobody could say: the next who asks is not to find it held
            carriers.remove(mine.id)
    if not same:
        _lost(service, of)
    return mine


def _taken(service: str, of: str, found: Carrier | None) -> LockedError:
    are = "are" if of.endswith("s") else "is"
    what = f"the {of} of {service} {are}" if of else f"{service} is"
    return LockedError(
        f"{what} being changed by {_told(found) if found else 'another deployctl'}",
        where=f"container {name_of(service, of)} of the Docker engine",
        hint=f"wait until it ends; of one that was killed the lock is over after {LASTS_S} s",
    )


def _lost(service: str, of: str = "") -> NoReturn:
    what = f"the {of} of {service}" if of else service
    raise LockedError(
        f"others have changed {what} while this deployctl was out of the engine's reach",
        where=f"container {name_of(service, of)} of the Docker engine",
        hint=f"it changes nothing more; see deployctl status {service}, and run it again",
    )


def _is_over(carriers: Carriers, lock: Carrier) -> bool:
    """Whether a holder was killed, or was not heard of for as long as its lock lasts."""
    if was_killed(lock.labels.get(HOLDER, "")):
        return True
    since = carriers.now() - _last_sign(carriers, lock)
    return abs(since) > timedelta(seconds=LASTS_S)  # ahead: the clock was set back since


def _last_sign(carriers: Carriers, lock: Carrier) -> datetime:
    said = (carriers.read(lock.id, f"/{_FILE}") or {}).get("", b"")
    try:
        return datetime.fromisoformat(said.decode())
    except (ValueError, TypeError):
        return lock.created


def _told(lock: Carrier) -> str:
    who = shown(lock.labels.get(HOLDER) or "another deployctl")
    return f"{who}, since {lock.created:%Y-%m-%dT%H:%M:%SZ}"
