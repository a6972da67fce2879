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

STILL_THERE_S = 10.0  # for a running service to prove, with a completion, that it needs no change


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
        bring_up(driver, front, [release], tell, tools, wait=wait)
    finally:
        front.lead(release, answers=False)
    return tools.clock() - begun


def bring_up(
    driver: Driver,
    front: Front,
    engines: Sequence[Release],
    tell: Tell,
    tools: Tools,
    *,
    wait: bool,
    serves: Release | None = None,
) -> None:
    """Starts engines together, of one release, beside one that `serves`; with `wait`, returns once
    each has answered.

    Raises:
        EngineError: one of them did not come up.
        TargetError: one cannot be started.
    """
    begun = tools.clock()
    for each in engines:
        front.shut(each)
        driver.start(each, tell, serves=serves)
    for each in engines if wait else []:
        for engine in replicas(each):
            wait_until_answers(driver, engine, tell, tools, begun=begun)


def _answers(driver: Driver, engine: Release, tools: Tools) -> bool:
    if driver.state(engine).condition != "running":
        return False
    return tools.ask(driver.endpoint(engine), STILL_THERE_S).ok


def serve(driver: Driver, front: Front, release: Release, tell: Tell, tools: Tools) -> float:
    """Has the revision serve again that is on record as serving; returns for how many seconds it
    started. One that does not come up is stopped, and stays on record: it may be tried again. Of
    several replicas those that answer serve on, and only the others are started.

    Raises:
        EngineError: it did not come up.
        InterruptedByUserError: Ctrl-C; nothing of it runs.
        TargetError: it cannot be started.
    """
    name = f"revision {release.revision}"
    silent = [one for one in replicas(release) if not _answers(driver, one, tools)]
    others_serve = len(silent) < len(replicas(release)) > 1
    ended = silent if others_serve else [release]
    for one in silent if others_serve else []:
        tell(Event("note", f"replica {one.replica} does not answer: it is started again"))
    try:
        for one in ended:
            drain.stop(driver, one, tell, tools)
        begun = tools.clock()
        bring_up(driver, front, ended, tell, tools, wait=True)
        front.lead(release)
        return tools.clock() - begun
    except BaseException as error:
        with shielded(lambda: tell(Event("warning", "cleaning up first"))):
            tell(Event("note", f"stopping {'what was started of ' if others_serve else ''}{name}"))
            if not others_serve:
                front.take_back(None)
            for one in ended:
                driver.stop(one, tell)
        if isinstance(error, KeyboardInterrupt):
            raise InterruptedByUserError(
                f"interrupted; {name} of {release.service} is stopped",
                hint=f"deployctl rollback {release.service} --to {release.revision} starts it",
            ) from error
        raise
