"""Ends a running release once its users' requests have ended: its door lets no new one in, those
under way go on to their end, and then the driver stops the engine.
"""

from deployctl.errors import TargetError
from deployctl.events import Event, Tell
from deployctl.targets.driver import Driver
from deployctl.targets.history import Release
from deployctl.targets.readiness import Tools

DRAIN_S = 60.0  # as long as the chart gives a pod: a long answer, some 2,000 tokens at 40 a second
NOTICE_S = 0.3  # for the door to see that it is to close: it looks every 0.25 s
SILENT = 3  # questions in a row that nobody answers: it has died, or hangs
_POLL_S = 0.2


def stop(driver: Driver, release: Release, tell: Tell, tools: Tools) -> None:
    """Stops a release, after its requests under way have ended or had DRAIN_S to do so.

    Ctrl-C ends the waiting and not the stopping: a door that has closed opens no more.

    Raises:
        TargetError: something of it still runs.
    """
    try:
        _drain(driver, release, tell, tools)
    except TargetError as error:  # of what cannot be asked, nobody knows what is under way
        tell(Event("warning", f"requests under way are not waited for: {error.message}"))
    finally:
        driver.stop(release, tell)


def _drain(driver: Driver, release: Release, tell: Tell, tools: Tools) -> None:
    if driver.state(release).condition != "running":
        return
    endpoint = driver.endpoint(release)
    if tools.under_way(endpoint) is None or not driver.close_door(release):
        return  # it loads, hangs, has no door, or was told before
    tools.sleep(NOTICE_S)
    deadline = tools.clock() + DRAIN_S
    last = silent = 0
    while silent < SILENT and (left := tools.under_way(endpoint)) != 0:
        silent = 0 if left else silent + 1
        if left and not last:
            tell(Event("note", f"waiting for {_requests(left)}, {DRAIN_S:.0f} s at most"))
        last = left or last
        if tools.clock() >= deadline:
            tell(Event("warning", f"cutting {_requests(last)} after {DRAIN_S:.0f} s"))
            return
        tools.sleep(_POLL_S)


def _requests(number: int) -> str:
    return f"{number} request{'' if number == 1 else 's'} under way"
