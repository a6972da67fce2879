"""Ends a running release once its users' requests have ended: its door lets no new one in, those
under way go on to their end, and then the driver stops the engine.
"""

from deployctl.errors import TargetError
from deployctl.events import Event, Tell
from deployctl.render import gateway
from deployctl.targets.driver import Driver
from deployctl.targets.history import Release, replicas
from deployctl.targets.readiness import Tools

DRAIN_S = 60.0  # as long as the chart gives a pod: a long answer, some 2,000 tokens at 40 a second
# Behind a gateway, for what it has sent on: of a request whose body is late and has no length, Go
# keeps the head back for 0.2 s. A door that has closed would turn it away, and not all that it
# turns away can be sent again.
ARRIVES_S = 0.3
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
    closed = []
    running = [each for each in replicas(release) if driver.state(each).condition == "running"]
    if running and gateway.entry_of(release.bundle) is not None:
        tools.sleep(ARRIVES_S)
    for each in running:
        endpoint = driver.endpoint(each)
        if tools.under_way(endpoint) is not None and driver.close_door(each):
            closed.append(endpoint)
    if not closed:
        return  # they load, hang, have no door, or were told before

    def under_way() -> int | None:
        counts = [tools.under_way(endpoint) for endpoint in closed]
        told = [count for count in counts if count is not None]
        return sum(told) or (0 if len(told) == len(counts) else None)

    tools.sleep(NOTICE_S)
    deadline = tools.clock() + DRAIN_S
    last = silent = 0
    while silent < SILENT and (left := under_way()) != 0:
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
