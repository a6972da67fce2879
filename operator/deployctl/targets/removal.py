"""Stops all of a service, also what its records do not say or say illegibly; keeps its history."""

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
    canary.clear(driver, store, ref.service, tell)
    damaged = store.damaged(ref)
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
