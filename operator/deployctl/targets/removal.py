"""Stops all of a service, also what its records do not say or say illegibly; keeps its history. And
leaves one revision where several are on record as serving.
"""

from collections.abc import Callable

from deployctl.events import Event, Tell
from deployctl.targets import canary
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
    deployed = [release for release in store.releases(ref) if release.status == "deployed"]
    if len(deployed) < 2:
        return
    serving = deployed[-1]
    if not driver.replaces:
        runs = [release for release in deployed if driver.state(release).condition == "running"]
        serving = runs[-1] if runs else serving
    for extra in deployed:
        if extra is serving:
            continue
        if not driver.replaces and driver.state(extra).condition != "absent":
            tell(Event("note", f"cleaning up revision {extra.revision}, left running"))
            stop(extra)
        later = extra.revision > serving.revision
        update = {
            "status": "failed" if later else "superseded",
            "message": "taken back, which could not be recorded"
            if later
            else "a later revision took its place",
        }
        store.save(ref, extra.model_copy(update=update))
