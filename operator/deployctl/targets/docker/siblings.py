"""An engine among the others of its service: which are there, which cores are its own, what of the
service's project goes with it, and what only with the last one.

A service with `--replicas` is one project with a service a replica, `engine`, `engine-1` and so on,
each with a container, a log, and volumes for its door and its keys of its own; the caches are
shared. They are started and replaced one at a time, so that it may hold those of two revisions.
"""

from deployctl.planning.fleet.order import cards_of
from deployctl.render import gateway
from deployctl.render.compose import LABEL, engine_name, project_name
from deployctl.targets import cores
from deployctl.targets.cores import Thread
from deployctl.targets.docker.engine import SERVICE_LABEL, DockerEngine
from deployctl.targets.docker.project import volumes_of
from deployctl.targets.history import Release, numbered, replicas


def beside(engine: DockerEngine, release: Release) -> bool:
    """Whether engines of the service that deployctl has started are there besides this one."""
    found = engine.engines(project_name(release.service))
    ours = {each.labels.get(SERVICE_LABEL) for each in found if each.labels.get(LABEL + "revision")}
    return not ours <= {engine_name(release.replica)}


def found(engine: DockerEngine, release: Release) -> list[Release]:
    """Those of a revision that its record has, and those that are there: of a damaged record, too,
    which says nothing of them. But none for the first one's name, which is that of an only one."""
    numbers = {each.replica for each in replicas(release) if each.replica is not None}
    for each in engine.engines(project_name(release.service)):
        number = each.labels.get(SERVICE_LABEL, "").partition("-")[2]
        if number and each.labels.get(LABEL + "revision") == str(release.revision):
            numbers.add(int(number))
    return numbered(release, sorted(numbers))


def take_away(engine: DockerEngine, release: Release, grace_s: int) -> bool:
    """Removes an engine's container, and what it mounts that is no cache; of the last one all of
    the project. Returns whether it was that."""
    service, others = release.service, beside(engine, release)
    only = engine_name(release.replica) if others else None
    engine.remove(project_name(service), grace_s, only=only)
    for volume in volumes_of(service, release.replica).values():
        engine.drop_volume(volume)
    if not others:
        drop_volumes(engine, service)
    return not others


def drop_volumes(engine: DockerEngine, service: str) -> None:
    """Removes what engines of a service mounted that is no cache."""
    of_one = tuple(volumes_of(service).values())
    several = (v for v in engine.carriers.volumes(LABEL + "service") if v.startswith(of_one))
    for volume in {*of_one, *several}:
        engine.drop_volume(volume)


def cores_of(engine: DockerEngine, release: Release) -> list[int] | None:
    """The cores of one of several engines; None where they are not to be told."""
    entry, plan = gateway.entry_of(release.bundle), release.plan
    if release.replica is None or entry is None:
        return None
    threads = [] if engine.address.remote else cores.usable()
    if plan.accelerator != "cpu":
        if cores.BINDS_ITSELF in plan.engine.args:
            return None
        return cores.near(cards_of(plan, release.replica), threads) or None
    if cores.VARIABLE in plan.engine.env:
        return None
    there = engine.cpus()
    if not 0 < len(threads) <= there:  # another host, or a virtual machine on this one
        # Nobody says which of its threads share a core.
        threads = [Thread(0, number, str(number)) for number in range(there)]
    return cores.shares(threads, entry.replicas)[release.replica]
