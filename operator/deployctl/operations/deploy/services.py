"""What is known of services, running or not: their state, history and log."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from deployctl.errors import DeployctlError, InputError, NotFoundError
from deployctl.operations.deploy.seen import Health, ServiceStatus, look_at, unserved
from deployctl.spec import ServiceSpec, TargetKind
from deployctl.spec.service import HOSTS
from deployctl.spec.settings import Settings
from deployctl.targets import history as histories
from deployctl.targets import open_driver, open_view
from deployctl.targets import open_store as records
from deployctl.targets.driver import Surveyed
from deployctl.targets.history import Release
from deployctl.targets.store import ServiceRef, Store


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
    """The service of that name, or the only one that runs, or that there is: of those that were
    changed from here, where one of them runs.

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
    replica: int | None = None,
    tail: int | None = None,
    follow: bool = False,
) -> Log:
    """The log of the revision at work, or the newest, or the one named; of several engines of it
    those of all, each line with its replica, or of the one named.

    Raises:
        NotFoundError: no such service, revision or replica.
        InputError: a replica is named on a cluster, where pods have names.
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
    if replica is not None and ref.target not in HOSTS:
        raise InputError(
            "replicas have numbers on a host alone",
            where="--replica",
            hint="leave it out: each line has its pod's name, and kubectl logs shows one pod",
        )
    release = histories.shown(chosen)
    engines = histories.replicas(release)
    if replica is not None and replica >= len(engines):
        there = "one engine" if len(engines) == 1 else f"replicas 0 to {len(engines) - 1}"
        message = f"revision {release.revision} of {ref.service} has no replica {replica}"
        raise NotFoundError(message, where="--replica", hint=f"it has {there}")
    of = release if replica is None else engines[replica]
    lines = open_driver(ref.target, settings).logs(of, tail=tail, follow=follow)
    return Log(ref, release, lines)


def status(name: str | None = None, target: TargetKind | None = None) -> list[ServiceStatus]:
    """Looks at one service, or at every one that was not taken down, and asks each engine; of all
    those of a cluster, where asking each would take long, tells what the cluster's probes say. What
    others have on a shared Docker engine comes with them, marked.

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
    live += [seen._replace(ours=False) for seen in looked if seen and seen.status != "removed"]
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
        health, detail = unserved(state)
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
        return look_at(settings, ref, releases) if releases else None
    except DeployctlError as error:
        # One broken service must not hide the others.
        detail = f"{error.message} ({error.where})" if error.where else error.message
        return ServiceStatus(ref.service, ref.target, detail=detail, hint=error.hint or "")
