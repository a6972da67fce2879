"""Starts a revision again that ran before: no new one comes of it."""

from collections.abc import Sequence

from deployctl.errors import InterruptedByUserError
from deployctl.events import Event, Tell
from deployctl.targets import drain
from deployctl.targets.driver import Driver
from deployctl.targets.front import Front
from deployctl.targets.guards import shielded
from deployctl.targets.history import Release, replicas
from deployctl.targets.readiness import Tools, wait_until_answers


def start(
    driver: Driver, front: Front, release: Release, tell: Tell, tools: Tools, *, wait: bool = True
) -> float:
    """Starts it, whatever is left of it; returns for how many seconds it started. One that is late
    may come yet: until it listens, requests wait.

    Raises:
        EngineError: it did not come up, where that is to be waited for.
        TargetError: it cannot be started.
    """
    if not driver.replaces:
        driver.stop(release, tell)  # it may be half-way down
    begun = tools.clock()
    try:
        bring_up(driver, [release], tell, tools, wait=wait)
    finally:
        front.lead(release, answers=False)
    return tools.clock() - begun


def bring_up(
    driver: Driver, engines: Sequence[Release], tell: Tell, tools: Tools, *, wait: bool
) -> None:
    """Starts engines together, of one release; with `wait`, returns once each has answered.

    Raises:
        EngineError: one of them did not come up.
        TargetError: one cannot be started.
    """
    begun = tools.clock()
    for each in engines:
        driver.start(each, tell)
    for each in engines if wait else []:
        for engine in replicas(each):
            wait_until_answers(driver, engine, tell, tools, begun=begun)


def serve(driver: Driver, front: Front, release: Release, tell: Tell, tools: Tools) -> float:
    """Has the revision serve again that is on record as serving; returns for how many seconds it
    started. One that does not come up is stopped, and stays on record: it may be tried again.

    Raises:
        EngineError: it did not come up.
        InterruptedByUserError: Ctrl-C; nothing of it runs.
        TargetError: it cannot be started.
    """
    name = f"revision {release.revision}"
    try:
        drain.stop(driver, release, tell, tools)
        seconds = start(driver, front, release, tell, tools)
        front.lead(release)
        return seconds
    except BaseException as error:
        with shielded(lambda: tell(Event("warning", "cleaning up first"))):
            tell(Event("note", f"stopping {name}"))
            front.take_back(None)
            driver.stop(release, tell)
        if isinstance(error, KeyboardInterrupt):
            raise InterruptedByUserError(
                f"interrupted; {name} of {release.service} is stopped",
                hint=f"deployctl rollback {release.service} {release.revision} starts it",
            ) from error
        raise
