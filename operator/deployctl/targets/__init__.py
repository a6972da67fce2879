"""Where services run. One driver a target; `rollout` is the same for all of them."""

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import assert_never

from deployctl.events import Tell
from deployctl.spec import TargetKind
from deployctl.spec.settings import Settings
from deployctl.targets import guards
from deployctl.targets.driver import Driver, View
from deployctl.targets.holder import Check
from deployctl.targets.loads import LoadMaker, LoadOrder
from deployctl.targets.several import HostDriver
from deployctl.targets.shelf import Shelf
from deployctl.targets.store import Store

__all__ = [
    "Check",
    "Driver",
    "View",
    "cards_locked",
    "open_driver",
    "open_load",
    "open_store",
    "open_view",
    "place",
]

_SOCKET = Path("/var/run/docker.sock")  # of an engine on this host


def open_driver(target: TargetKind, settings: Settings) -> Driver:
    """Opens the driver of a target; only its module, and what that needs, is imported."""
    if target == "docker":
        from deployctl.targets.docker import DockerDriver

        return HostDriver(DockerDriver(settings))
    if target == "process":
        from deployctl.targets.process import ProcessDriver

        return HostDriver(ProcessDriver(settings))
    if target == "kubernetes":
        from deployctl.targets.kubernetes.driver import KubernetesDriver

        return KubernetesDriver(settings)
    assert_never(target)


def open_view(target: TargetKind, settings: Settings) -> View | None:
    """What can be asked of a cluster as a whole; None for a host."""
    if target != "kubernetes":
        return None
    from deployctl.targets.kubernetes.survey import KubernetesView

    return KubernetesView(settings)


def place(target: TargetKind, settings: Settings) -> str:
    """Where services of a target run, as every machine names it: an API server and a namespace, or
    a Docker engine's address. Empty for this machine.

    Raises:
        ClusterError: there is no way to a cluster.
        DockerError: `docker` is not installed, or what it names is no address.
    """
    if target == "kubernetes":
        from deployctl.targets.kubernetes.cluster import cluster_of

        cluster = cluster_of(settings)
        return f"{cluster.server} {cluster.namespace}"
    if target == "docker":
        from deployctl.targets.docker import commands
        from deployctl.targets.docker.address import find

        address = find(os.environ, commands.run)
        return address.url if address.remote else ""
    return ""


def open_load(settings: Settings, order: LoadOrder, tell: Tell) -> LoadMaker:
    """What makes a load in the cluster that the settings name."""
    from deployctl.targets.kubernetes.cluster import cluster_of
    from deployctl.targets.kubernetes.load import LoadPods

    return LoadPods(cluster_of(settings), order, tell)


def open_store(settings: Settings) -> Store:
    """The records of every service; those on an engine or in a cluster are read when they are asked
    for."""

    def in_cluster() -> Shelf:
        from deployctl.targets.kubernetes.cluster import cluster_of
        from deployctl.targets.kubernetes.shelf import ClusterShelf

        return ClusterShelf(cluster_of(settings), settings.state_dir)

    def on_engine() -> Shelf:
        from deployctl.targets.docker.engine import here
        from deployctl.targets.docker.shelf import DockerShelf

        return DockerShelf(settings.state_dir, here)

    shelves: dict[TargetKind, Callable[[], Shelf]] = {"docker": on_engine, "kubernetes": in_cluster}
    shared: list[TargetKind] = ["docker"] if _engine_may_be_here() else []
    return Store(settings.state_dir, shelves, shared=shared)


@contextmanager
def cards_locked(
    targets: Collection[TargetKind], settings: Settings, command: str
) -> Iterator[Check]:
    """Held while services of a host's targets are started that share its cards: on Docker by the
    engine, whichever state folder they are of; as processes by the state folder. What is yielded
    raises LockedError where it was lost.

    Raises:
        LockedError: somebody else holds it; says who, and since when.
        DockerError: the engine does not answer.
    """
    with ExitStack() as held:
        check: Check = lambda: None  # noqa: E731
        if "process" in targets:
            what = "what shares this host's cards"
            held.enter_context(guards.lock(settings.state_dir / "cards", what, command))
        if "docker" in targets:
            from deployctl.targets.docker import enginelock
            from deployctl.targets.docker.engine import here

            check = held.enter_context(enginelock.cards_held(here().carriers, command))
        yield check


def _engine_may_be_here() -> bool:
    """Whether it is worth to look for a Docker engine where nothing was done with one from here."""
    if _SOCKET.exists():
        return True
    from deployctl.targets.docker.address import docker_host

    return bool(docker_host(os.environ))
