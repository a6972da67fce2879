"""Stops all of a service, also what its records do not say or say illegibly; keeps its history. And
leaves one revision where several are on record as serving, or were left unfinished.
"""

from collections.abc import Callable, Sequence

from deployctl.errors import TargetError
from deployctl.events import Event, Tell
from deployctl.targets import canary, history
from deployctl.targets.driver import Driver
from deployctl.targets.history import Release
from deployctl.targets.store import ServiceRef, Store

LIVE = ("pending", "deployed")


def stop_all(
    driver: Driver,
    store: Store,
    ref: ServiceRef,
    tell: Tell,
    *,
    stop: Callable[[Release], None],
) -> list[Release]:
    """Returns what it stopped; `stop` lets requests under way end. Only under the service's lock.

    Raises:
        TargetError: something of it still runs, or the records cannot be written.
    """
    damaged = store.damaged(ref)  # first: a newer deployctl's are none of ours to touch
    canary.clear(driver, store, ref.service, tell)
    readable = store.releases(ref, skip=damaged)
    stopped = []
    for release in readable:
        if release.status in LIVE or driver.state(release).condition != "absent":
            stop(release)
            stopped.append(release)
    for stand_in in [store.stand_in(ref, number) for number in damaged]:
        driver.stop(stand_in, tell)
        stopped.append(stand_in)
    for release in readable:
        if release.status in LIVE:
            update = {"status": "removed", "message": "deployctl down"}
            store.save(ref, release.model_copy(update=update))
    for number in damaged:
        aside = store.set_aside(ref, number)
        tell(Event("warning", f"set the damaged record aside: {aside}"))
    return stopped


def to_stay(driver: Driver, releases: Sequence[Release]) -> Release | None:
    """Of those that are on record as serving, the newest that runs; None where none is on record.

    Raises:
        TargetError: the target cannot be asked.
    """
    deployed = history.all_deployed(releases)
    if len(deployed) > 1 and not driver.replaces:
        runs = [release for release in deployed if driver.state(release).condition == "running"]
        deployed = runs or deployed
    return deployed[-1] if deployed else None


def leave_one(
    driver: Driver,
    store: Store,
    ref: ServiceRef,
    tell: Tell,
    *,
    stop: Callable[[Release], None],
) -> None:
    """Of several revisions that are on record as serving, leaves the one that runs. A deployctl
    left them so that was killed, or that could not write what it did. Only under the lock.

    Raises:
        TargetError: another still runs, or the records cannot be read or written.
    """
    releases = store.releases(ref)
    deployed = history.all_deployed(releases)
    if len(deployed) < 2:
        return
    serving = to_stay(driver, releases)
    for extra in deployed:
        if extra is serving:
            continue
        if not driver.replaces and driver.state(extra).condition != "absent":
            tell(Event("note", f"cleaning up revision {extra.revision}, left running"))
            stop(extra)
        later = serving is not None and extra.revision > serving.revision
        update = {
            "status": "failed" if later else "superseded",
            "message": "taken back, which could not be recorded"
            if later
            else "a later revision took its place",
        }
        store.save(ref, extra.model_copy(update=update))


def settle(
    driver: Driver,
    store: Store,
    ref: ServiceRef,
    tell: Tell,
    *,
    digest: str | None,
    stop: Callable[[Release], None],
) -> Release | None:
    """Deals with what a killed deployctl left: adopts a pending revision that is as `digest` says
    and runs, and returns it; ends every other. Only under the lock.

    Raises:
        TargetError: something of it still runs, or the records cannot be read or written.
    """
    store.releases(ref)  # first: a record that cannot be read stops everything
    canary.clear(driver, store, ref.service, tell)
    leave_one(driver, store, ref, tell, stop=stop)
    releases = store.releases(ref)
    adopted = None
    for release in reversed(history.pending(releases)):
        same = digest is not None and release.bundle.digest == digest and adopted is None
        if same and driver.state(release).condition == "running":
            adopted = release
            continue
        tell(Event("note", f"cleaning up revision {release.revision}, left unfinished"))
        if not (driver.replaces and history.deployed(releases)):
            stop(release)  # else what is started next takes its place
        update = {"status": "failed", "message": "deployctl was killed before it answered"}
        store.save(ref, release.model_copy(update=update))
    return adopted


def in_spite_of(tell_gateway: Callable[[], None], tell: Tell) -> TargetError | None:
    """What the gateway fails at, which is no reason for an engine to run on."""
    try:
        tell_gateway()
    except TargetError as error:
        tell(Event("warning", error.message))
        return error
    return None


def raise_untold(service: str, untold: TargetError | None) -> None:
    """Once a service is down: says what the gateway failed at, if at anything.

    Raises:
        TargetError: it did.
    """
    if untold is not None:
        raise TargetError(
            f"{service} is down, and the gateway has a trouble: {untold.message}",
            where=untold.where,
            hint=f"deployctl down {service} tells it again",
        ) from untold
