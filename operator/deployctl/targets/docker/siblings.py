"""An engine among the others of its service: which are there, which cores are its own, what of the
service's project goes with it, and what only with the last one.

A service with `--replicas` is one project with a service a replica, `engine`, `engine-1` and so on,
each with a container, a log, and volumes for its door and its keys of its own; the caches are
shared. They are started and replaced one at a time, so that it may hold those of two revisions.
So may that of an only one, which has two places, `engine` and `engine-b`: in one of them it comes
up beside the one in the other. There it stays until the next one takes over.
"""

from deployctl.planning.fleet.order import cards_of
from deployctl.render import gateway
from deployctl.render.compose import GRACE_S, LABEL, engine_name, project_name
from deployctl.render.gateway import SECOND, Place
from deployctl.targets import cores
from deployctl.targets.cores import Thread
from deployctl.targets.docker.engine import SERVICE_LABEL, DockerEngine
from deployctl.targets.docker.project import volumes_of
from deployctl.targets.docker.running import container_of
from deployctl.targets.history import Release, numbered, replicas


def place_of(engine: DockerEngine, release: Release) -> Place:
    """Where an engine of a release is; the first place, where it is not there."""
    if release.replica is not None:
        return release.replica
    container = container_of(engine, release)
    name = None if container is None else container.labels.get(SERVICE_LABEL)
    return SECOND if name == engine_name(SECOND) else None


def place_for(engine: DockerEngine, release: Release, serves: Release | None) -> Place:
    """Where an engine is to be started: not where one is that `serves` meanwhile."""
    if serves is None:
        return place_of(engine, release)
    return SECOND if place_of(engine, serves) is None else None


def others(engine: DockerEngine, service: str, place: Place) -> bool:
    """Whether engines of a service that deployctl has started are there, but in this place."""
    found = engine.engines(project_name(service))
    ours = {each.labels.get(SERVICE_LABEL) for each in found if each.labels.get(LABEL + "revision")}
    return not ours <= {engine_name(place)}


def found(engine: DockerEngine, release: Release) -> list[Release]:
    """Those of a revision that its record has, and those that are there: of a damaged record, too,
    which says nothing of them. But none for the first one's name, which is that of an only one."""
    numbers = {each.replica for each in replicas(release) if each.replica is not None}
    for each in engine.engines(project_name(release.service)):
        number = each.labels.get(SERVICE_LABEL, "").partition("-")[2]
        if number.isdecimal() and each.labels.get(LABEL + "revision") == str(release.revision):
            numbers.add(int(number))
    return numbered(release, sorted(numbers))


def make_room(engine: DockerEngine, release: Release, place: Place, *, serves: bool) -> None:
    """Takes away what is where an engine is to be started, and would have the volumes in use; and
    what is in the other place of an only one, unless that `serves` meanwhile."""
    service = release.service
    there = {each.labels.get(SERVICE_LABEL) for each in engine.containers(project_name(service))}
    other = None if place == SECOND else SECOND
    if release.replica is None and not serves and engine_name(other) in there:
        take_away(engine, service, other, GRACE_S)
    if there:
        take_away(engine, service, place, GRACE_S)


def take_away(engine: DockerEngine, service: str, place: Place, grace_s: int) -> bool:
    """Removes an engine's container, and what it mounts that is no cache; of the last one all of
    the project. Returns whether it was that."""
    last = not others(engine, service, place)
    engine.remove(project_name(service), grace_s, only=None if last else engine_name(place))
    for volume in volumes_of(service, place).values():
        engine.drop_volume(volume)
    if last:
        drop_volumes(engine, service)
    return last


def drop_unused(engine: DockerEngine, release: Release) -> None:
    """Removes what was made for an engine of a release whose container never came to be."""
    service, only = release.service, release.replica is None
    places: tuple[Place, ...] = (None, SECOND) if only else (release.replica,)
    there = {each.labels.get(SERVICE_LABEL) for each in engine.engines(project_name(service))}
    for place in (each for each in places if engine_name(each) not in there):
        for volume in volumes_of(service, place).values():
            engine.drop_volume(volume)


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
