"""What is known of services, running or not: their state, history and log."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, Literal, NamedTuple

from deployctl.errors import DeployctlError, InputError, NotFoundError
from deployctl.render import chat
from deployctl.spec import ServiceSpec, TargetKind
from deployctl.spec.settings import Settings
from deployctl.targets import Driver, open_driver, open_view
from deployctl.targets import history as histories
from deployctl.targets import open_store as records
from deployctl.targets.driver import EngineState, Surveyed
from deployctl.targets.gateway import HeldSince
from deployctl.targets.history import Release
from deployctl.targets.readiness import Reply, ask
from deployctl.targets.store import ServiceRef, Store

ASK_TIMEOUT_S = 10.0  # a saturated engine queues; one that is silent for longer is no service
LINES_OF_THE_DEAD = 10
_GONE = "the engine is gone"

Health = Literal["serving", "starting", "silent", "dead", "stopped", "unknown"]


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


class ServiceStatus(NamedTuple):
    """One service, as the JSON document of `status` shows it."""

    service: str
    target: TargetKind
    revision: int | None = None  # None, like all below, where it cannot be told
    status: str = "unknown"  # of the release
    health: Health = "unknown"
    detail: str = ""
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

    @property
    def beside(self) -> tuple[str, ...]:
        """What is shown of it beside its row: its cards, and its page to chat on."""
        return (*self.cards, *([f"chat page at {self.chat_url}"] if self.chat_url else []))

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**self._asdict(), "replicas": [each._asdict() for each in self.replicas]}


class Log(NamedTuple):
    """The log of one release, oldest line first."""

    ref: ServiceRef
    release: Release
    lines: Iterator[str]


def open_store(spec: ServiceSpec | None = None) -> tuple[Settings, Store]:
    """The settings, and the records where they say; of the cluster that a spec names."""
    settings = Settings()
    if spec is not None:
        settings = settings.in_cluster(spec.context, spec.namespace)
    return settings, records(settings)


def find(store: Store, name: str | None, target: TargetKind | None) -> ServiceRef:
    """The service of that name, or the only one there is: of those that were changed from here,
    where one of them runs.

    Raises:
        InputError: none is named and there are several; or it is on several targets.
        NotFoundError: there is none.
        TargetError: a target that may have one cannot be asked.
    """
    if name is not None:
        return store.find(name, target)
    known = store.meant(target)
    if not known:
        raise store.unknown("whether there is a service") or NotFoundError(
            "there is no service", where=str(store.root), hint="start one with deployctl up"
        )
    if len(known) > 1:
        names = ", ".join(dict.fromkeys(ref.service for ref in known))
        raise InputError("say which service", where="NAME", hint=f"known services: {names}")
    return known[0]


def of_specs(
    specs: Iterable[ServiceSpec], target: TargetKind | None = None
) -> dict[ServiceRef, ServiceSpec]:
    """The services of specs that there are, each in the cluster that its spec names.

    Raises:
        InputError, TargetError: as `find`.
    """
    found = {}
    for spec in specs:
        with suppress(NotFoundError):
            found[open_store(spec)[1].find(spec.service, target or spec.target)] = spec
    return found


def history(
    name: str | None = None, target: TargetKind | None = None
) -> tuple[ServiceRef, list[Release]]:
    """The releases of a service, oldest first.

    Raises:
        InputError, NotFoundError: as `find`.
        StateError: a record is damaged.
    """
    _, store = open_store()
    ref = find(store, name, target)
    return ref, store.releases(ref)


def logs(
    name: str | None = None,
    target: TargetKind | None = None,
    *,
    revision: int | None = None,
    tail: int | None = None,
    follow: bool = False,
) -> Log:
    """The log of the revision at work, or the newest, or the one named.

    Raises:
        NotFoundError: no such service or revision.
        Otherwise as `history`.
    """
    settings, store = open_store()
    ref = find(store, name, target)
    releases = store.releases(ref)
    chosen = [r for r in releases if r.revision == revision] if revision else releases
    if not chosen:
        raise NotFoundError(
            f"{ref.service} has no revision {revision}" if revision else "there is no revision",
            hint=f"deployctl history {ref.service} lists them",
        )
    release = histories.shown(chosen)
    lines = open_driver(ref.target, settings).logs(release, tail=tail, follow=follow)
    return Log(ref, release, lines)


def status(name: str | None = None, target: TargetKind | None = None) -> list[ServiceStatus]:
    """Looks at one service, or at every one that was not taken down, and asks each engine; of all
    those of a cluster, where asking each would take long, tells what the cluster's probes say.

    Raises:
        NotFoundError: no such service.
        TargetError: there is none here, and a target that may have some cannot be asked.
    """
    settings, store = open_store()
    if name:
        seen = _look(settings, store, store.find(name, target))
        return [seen] if seen else []
    found: list[ServiceStatus] = []
    for kind in [target] if target else store.targets():
        view = open_view(kind, settings)
        if view is not None:
            found += [_of_view(each, kind) for each in view.survey()]
        else:
            looked = (_look(settings, store, ref) for ref in store.services(kind))
            found += [seen for seen in looked if seen]
    live = [seen for seen in found if seen.status != "removed"]
    try:
        others = store.others(target)
    except DeployctlError:
        if not live:
            raise
        others = []  # what is known here says it
    if not live and (unknown := store.unknown("whether there is a service")):
        raise unknown
    looked = (_look(settings, store, ref) for ref in others)
    live += [seen for seen in looked if seen and seen.status != "removed"]
    return sorted(live, key=lambda seen: (seen.service, seen.target))


def _of_view(seen: Surveyed, target: TargetKind) -> ServiceStatus:
    state, runs = seen.state, seen.state.condition == "running"
    health: Health = "stopped"
    detail = state.detail
    if seen.ready and seen.status == "deployed":
        health = "serving"
    elif runs:
        waiting: Health = "starting" if seen.status == "pending" else "silent"
        health = waiting if state.waits_for else "serving"
    elif seen.status == "deployed" or state.condition == "dead":
        health, detail = "dead", detail or _GONE
    elif seen.status == "failed":
        detail = seen.message
    elif seen.coming:
        health = "starting"
    return ServiceStatus(
        service=seen.service,
        target=target,
        revision=seen.revision,
        status=seen.status,
        health=health,
        detail=detail,
        url=seen.url if runs else None,
        model=seen.model,
        gpu=seen.gpu,
        started=state.started,
        coming=seen.coming,
    )


def _look(settings: Settings, store: Store, ref: ServiceRef) -> ServiceStatus | None:
    """One service; None when it has no record after all."""
    try:
        releases = store.releases(ref)
        return _look_at(settings, ref, releases) if releases else None
    except DeployctlError as error:
        # One broken service must not hide the others.
        detail = f"{error.message} ({error.where})" if error.where else error.message
        return ServiceStatus(ref.service, ref.target, detail=detail)


def _look_at(settings: Settings, ref: ServiceRef, releases: list[Release]) -> ServiceStatus:
    driver = open_driver(ref.target, settings)
    # A revision that is being brought up speaks for the service, once its engine is there.
    release = histories.deployed(releases) or releases[-1]
    state = driver.state(release)
    coming: list[str] = []
    for unfinished in histories.pending(releases):
        at_work = driver.state(unfinished)
        if at_work.condition != "absent":
            release, state = unfinished, at_work
        else:
            coming += at_work.waits_for
    health: Health = "stopped"
    detail, endpoint = state.detail, None
    if state.condition == "running":
        endpoint = driver.endpoint(release)
        problem = driver.gateway.problem(ref.service) if driver.gateway else ""
        health, detail = _health(driver, release, state, problem)
    elif release.status == "deployed" or state.condition == "dead":
        health = "dead"
        detail = state.detail or _GONE
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
        memory_bytes=state.memory_bytes,
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
        replicas=tuple(
            _replica(driver, each)
            for each in histories.replicas(release)
            if each.replica is not None
        ),
    )


def _replica(driver: Driver, engine: Release) -> ReplicaStatus:
    state, endpoint, log = driver.state(engine), driver.endpoint(engine), driver.log_path(engine)
    health, detail = _health(driver, engine, state)
    return ReplicaStatus(
        engine.replica or 0,
        health,
        detail,
        endpoint.url,
        state.started,
        state.pid,
        state.memory_bytes,
        state.restarts.number,
        str(log) if log else None,
    )


def _health(
    driver: Driver, engine: Release, state: EngineState, problem: str = ""
) -> tuple[Health, str]:
    """Of an engine that should serve, or is being brought up, and why it does not. `problem` is
    known to keep requests from it."""
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
    left = ", for a deployctl that was killed: the next up leads them on" if held.left else ""
    return f"new requests wait in the gateway since {held.since}{left}"
