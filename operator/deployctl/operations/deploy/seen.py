"""What is seen of one service: of its engine, or of each of several; asked, never guessed."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, Literal, NamedTuple

from deployctl.render import chat
from deployctl.spec import TargetKind
from deployctl.spec.settings import Settings
from deployctl.targets import Driver, open_driver
from deployctl.targets import history as histories
from deployctl.targets.driver import EngineState
from deployctl.targets.gatewayrecords import HeldSince
from deployctl.targets.history import Release
from deployctl.targets.readiness import Reply, ask
from deployctl.targets.store import ServiceRef

ASK_TIMEOUT_S = 10.0  # a saturated engine queues; one that is silent for longer is no service
LINES_OF_THE_DEAD = 10
_OTHERS = "another state folder's: nothing was done with it from here"

Health = Literal["serving", "starting", "silent", "dead", "halted", "stopped", "unknown"]


class ReplicaStatus(NamedTuple):
    """One of several engines of a service on a host."""

    replica: int
    health: Health
    detail: str
    url: str  # its own, on loopback: with /metrics
    started: str | None
    pid: int | None
    memory_bytes: int | None
    restarts: int
    log: str | None
    revision: int  # amid an update one is of another than the next


class ServiceStatus(NamedTuple):
    """One service, as the JSON document of `status` shows it."""

    service: str
    target: TargetKind
    revision: int | None = None  # None, like all below, where it cannot be told
    status: str = "unknown"  # of the release
    health: Health = "unknown"
    detail: str = ""
    hint: str = ""  # what to do where it is unknown
    url: str | None = None
    model: str | None = None
    gpu: str | None = None
    started: str | None = None  # ISO 8601, UTC
    pid: int | None = None  # process target
    container: str | None = None  # docker target
    memory_bytes: int | None = None  # resident, engine and children
    log: str | None = None
    log_tail: tuple[str, ...] = ()  # of a dead engine
    cards: tuple[str, ...] = ()  # that its pods were given by claim, on Kubernetes
    restarts: int = 0  # of the engine by its watchdog, since it was brought up
    restarted: str | None = None  # the last time, ISO 8601, UTC
    restart_why: str = ""
    memory_why: str = ""  # that the engine holds, where it is more than its share
    coming: str = ""  # of a revision that is being brought up, before it starts
    held_since: str | None = None  # requests wait in the gateway, ISO 8601, UTC
    chat_url: str | None = None  # the page to chat on, where the gateway serves one
    replicas: tuple[ReplicaStatus, ...] = ()  # where there are several on a host
    ours: bool = True  # False: only another state folder knows it, and nothing was done from here

    @property
    def beside(self) -> tuple[str, ...]:
        """What is shown of it beside its row: its cards, its page to chat on, and whose it is."""
        page = [f"chat page at {self.chat_url}"] if self.chat_url else []
        return (*self.cards, *page, *([] if self.ours else [_OTHERS]))

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**self._asdict(), "replicas": [each._asdict() for each in self.replicas]}


def look_at(settings: Settings, ref: ServiceRef, releases: list[Release]) -> ServiceStatus:
    """Looks at a service that has these releases, oldest first, and asks its engines.

    Raises:
        TargetError: its target cannot be asked.
    """
    driver = open_driver(ref.target, settings)
    release, state, coming = _speaker(driver, releases)
    engines = _engines(driver, histories.deployed(releases), release)
    health: Health = "stopped"
    detail, endpoint = _amid(engines, release) or state.detail, None
    if state.condition == "running":
        endpoint = driver.endpoint(release)
        problem = driver.gateway.problem(ref.service) if driver.gateway else ""
        health, detail = _health(driver, release, state._replace(detail=detail), problem)
    elif release.status == "deployed" or state.condition == "dead":
        health, detail = unserved(state)
    elif release.status == "failed":
        detail = release.message
    elif coming:
        health = "starting"
    held = driver.gateway.held(ref.service) if driver.gateway else None
    log = driver.log_path(release)
    tail = driver.logs(release, tail=LINES_OF_THE_DEAD, follow=False) if health == "dead" else ()
    return ServiceStatus(
        service=ref.service,
        target=ref.target,
        revision=release.revision,
        status=release.status,
        health=health,
        detail="; ".join(filter(None, [_waiting(held), detail])),
        url=f"{endpoint.shown}/v1" if endpoint else None,
        model=release.plan.served_model_name,
        gpu=release.plan.gpu,
        started=state.started,
        pid=state.pid,
        container=state.container,
        memory_bytes=sum(each.memory_bytes or 0 for each in engines) or state.memory_bytes,
        log=str(log) if log else None,
        log_tail=tuple(tail),
        cards=state.cards,
        restarts=state.restarts.number,
        restarted=state.restarts.last,
        restart_why=state.restarts.why,
        memory_why=state.restarts.memory,
        coming="; ".join(coming),
        held_since=held.since if held else None,
        chat_url=chat.address(release.spec, endpoint.gateway) if endpoint else None,
        replicas=engines,
    )


def unserved(state: EngineState) -> tuple[Health, str]:
    """Of an engine that should serve and does not run, or has died; and why."""
    return "halted" if state.halted else "dead", state.detail or "the engine is gone"


def _speaker(driver: Driver, releases: list[Release]) -> tuple[Release, EngineState, list[str]]:
    """The revision that speaks for the service, and what is said of others that come: one that is
    being brought up does, once its engine is there."""
    release = histories.deployed(releases) or releases[-1]
    state = driver.state(release)
    coming: list[str] = []
    for unfinished in histories.pending(releases):
        at_work = driver.state(unfinished)
        if at_work.condition == "absent":
            coming += at_work.waits_for
        elif said := _behind(driver, release, state, unfinished, at_work):
            coming.append(said)
        else:
            release, state = unfinished, at_work
    return release, state, coming


def _behind(
    driver: Driver, former: Release, state: EngineState, unfinished: Release, at_work: EngineState
) -> str:
    """What is to be said of a revision that does not speak for the service: the former serves,
    beside which it loads, or has died. Empty where it does."""
    if driver.replaces or former.status != "deployed" or state.condition != "running":
        return ""
    name = f"revision {unfinished.revision}"
    if at_work.condition == "dead":
        return f"{name}, which has died ({at_work.detail})"
    alone = len(histories.replicas(former)) == len(histories.replicas(unfinished)) == 1
    loads = alone and not ask(driver.endpoint(unfinished), ASK_TIMEOUT_S).ok
    return f"{name}, which loads beside the one that serves" if loads else ""


def _engines(driver: Driver, former: Release | None, release: Release) -> tuple[ReplicaStatus, ...]:
    numbered = _numbered(driver, former, release)
    return tuple(_replica(driver, number, each) for number, each in numbered)


def _numbered(
    driver: Driver, former: Release | None, release: Release
) -> list[tuple[int, Release]]:
    """Each engine of a service that has several, by its number: of `release`, or, as long as that
    has none in its place, of the `former` revision, which it replaces one by one."""
    wanted = histories.replicas(release)
    there = histories.replicas(former) if former is not None else []
    if max(len(wanted), len(there)) == 1:
        return []
    if former is None or former.revision == release.revision:
        return list(enumerate(wanted))
    found = []
    for number, (old, new) in enumerate(zip_longest(there, wanted)):
        here = [one for one in (new, old) if one and driver.state(one).condition != "absent"]
        if here or (old and new):  # else it is still to come, or has gone for good
            found.append((number, next(iter(here), new or release)))
    return found


def _amid(engines: Sequence[ReplicaStatus], release: Release) -> str:
    """Which replicas an update has not come to yet."""
    left = [each for each in engines if each.revision != release.revision]
    if not left:
        return ""
    numbers = ", ".join(str(each.replica) for each in left)
    are = f"replica {numbers} is" if len(left) == 1 else f"replicas {numbers} are"
    return f"amid an update to revision {release.revision}: {are} of {left[0].revision} still"


def _replica(driver: Driver, number: int, engine: Release) -> ReplicaStatus:
    state, endpoint, log = driver.state(engine), driver.endpoint(engine), driver.log_path(engine)
    health, detail = _health(driver, engine, state)
    return ReplicaStatus(
        number,
        health,
        detail,
        endpoint.own,
        state.started,
        state.pid,
        state.memory_bytes,
        state.restarts.number,
        str(log) if log else None,
        engine.revision,
    )


def _health(
    driver: Driver, engine: Release, state: EngineState, problem: str = ""
) -> tuple[Health, str]:
    """Of an engine that should serve, or is being brought up, and why it does not. `problem` is
    known to keep requests from it."""
    if state.halted and engine.status == "deployed":
        return unserved(state)
    if state.condition != "running":
        return "dead" if state.condition == "dead" else "stopped", state.detail
    again = "; ".join(filter(None, [state.detail, state.restarts.detail]))
    reply = Reply(False, problem) if problem else ask(driver.endpoint(engine), ASK_TIMEOUT_S)
    if reply.ok:
        return "serving", again
    health: Health = "starting" if engine.status == "pending" else "silent"
    return health, "; ".join(filter(None, [again, reply.detail]))


def _waiting(held: HeldSince | None) -> str:
    if held is None:
        return ""
    left = ", and nobody brings it up now: the next up leads them on" if held.left else ""
    return f"new requests wait in the gateway since {held.since}{left}"
