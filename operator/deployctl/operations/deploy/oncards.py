"""What services hold of this host's cards, and whether one more has room beside them."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from deployctl.errors import PlanRefusedError, TargetError
from deployctl.operations.deploy.services import open_store
from deployctl.planning.fleet.order import SLACK_GIB, CardHolding, held_by
from deployctl.planning.plan import Accelerator
from deployctl.spec import TargetKind
from deployctl.spec.fleet import CARDS_VARIABLE
from deployctl.spec.service import HOSTS
from deployctl.spec.settings import Settings
from deployctl.targets import Check, Driver, cards_locked, history, open_driver, place
from deployctl.targets.history import Release
from deployctl.targets.store import ServiceRef, Store
from deployctl.units import GIB


@contextmanager
def cards_held(targets: Collection[TargetKind], command: str) -> Iterator[Check]:
    """Held while services of a host's targets are brought up that share its cards, where `command`
    does it: of two who do, each would count on room that the other is about to take. What is
    yielded raises LockedError where it was lost: this machine slept, and another has it.

    Raises:
        LockedError: somebody else does; says who, and since when.
        DockerError: the engine cannot be asked.
    """
    with cards_locked(targets, open_store()[0], command) as check:
        yield check


def running_here(
    accelerator: Accelerator, targets: Collection[TargetKind]
) -> dict[str, CardHolding]:
    """What services that were brought up from here hold of the cards of the host of these targets,
    or of its memory those on its CPU; one that a killed deployctl left unfinished, too, and none
    of which nothing runs.

    Raises:
        DockerError: it is not known where the engine is.
    """
    found: dict[str, CardHolding] = {}
    for driver, store, ref in _on_host(targets):
        with suppress(TargetError):  # one that cannot be asked is told of by its own up
            for release in _live(store.releases(ref), accelerator):
                if driver.state(release).has_memory:
                    found[ref.service] = held_by(release.plan)
    return found


def yet_to_take(new: Release, target: TargetKind) -> dict[str, float]:
    """What others are going to have of that which is free where a release is to run, in GiB by
    service: of each card that both have, one that is being brought up; of a host's memory also one
    that serves, whose KV cache takes it as it fills. Each of two that are brought up at once counts
    the other: both are on record before either looks.

    Raises:
        DockerError: it is not known where the engine is.
    """
    cards, found = {*held_by(new.plan).cards}, dict[str, float]()
    for driver, store, ref in _on_host([target], others_too=True):
        if ref.service == new.service:
            continue
        with suppress(TargetError):
            for release in _live(store.releases(ref), new.plan.accelerator):
                if both := cards & {*held_by(release.plan).cards}:
                    missing = _missing(driver, release, both)
                    found[ref.service] = found.get(ref.service, 0.0) + missing
    return found


def _missing(driver: Driver, release: Release, cards: Collection[int]) -> float:
    """What it is to have of each of these cards, in GiB, and what is free looks as if nobody had
    it: all where nobody tells what it has already. Asked before what is free, so that what it takes
    in between counts twice, and nothing for nobody."""
    footprint, gateway = held_by(release.plan).footprint, driver.gateway
    changed = release.candidate_of or release.service  # whose lock whoever tries it has
    at_work = gateway is not None and gateway.at_work(changed)
    begun = release.status == "pending" and at_work  # else whoever began it was killed
    if release.plan.accelerator != "cpu":
        return max(0.0, footprint - _on_cards(driver, release, cards)) if begun else 0.0
    state = driver.state(release)
    has = (state.memory_bytes or 0) / GIB
    return max(0.0, footprint - has) if begun or state.has_memory else 0.0


def _on_cards(driver: Driver, release: Release, cards: Collection[int]) -> float:
    """What it has of each of these, in GiB, at least."""
    from deployctl.doctor import detect

    try:
        return detect.taken_gib(driver.state(release).pids, cards)
    except TargetError:
        return 0.0


def _live(releases: Sequence[Release], accelerator: Accelerator) -> list[Release]:
    """What serves or is to serve on cards, or on a CPU."""
    live = history.deployed(releases), *history.pending(releases)
    return [r for r in live if r is not None and r.plan.accelerator == accelerator]


def _on_host(
    targets: Collection[TargetKind], *, others_too: bool = False
) -> Iterator[tuple[Driver, Store, ServiceRef]]:
    """Services on the host of these targets: those that were brought up from here, or of others,
    too, as far as it can be asked. A cluster is another place, and may be out of reach."""
    settings, store = open_store()
    hosts = {place(target, settings) for target in targets}
    for target in HOSTS:
        refs = store.services(target)
        if others_too and target in targets:
            refs += store.others(target)
        if not refs or _place(target, settings) not in hosts:
            continue
        driver = open_driver(target, settings)
        for ref in refs:
            yield driver, store, ref


def _place(target: TargetKind, settings: Settings) -> str | None:
    """None where that is not known."""
    try:
        return place(target, settings)
    except TargetError:
        return None


def refuse_no_room(store: Store, ref: ServiceRef, revision: int | None) -> None:
    """Refuses to go back to a revision that has no room on its host's cards, as others are there.
    The one in place has the room that it had: that others are to serve beside it was settled then.

    Raises:
        NotFoundError: there is no such revision, or none to go back to.
        PlanRefusedError: it has no room.
        StateError: a record is damaged.
        DockerError: it is not known where the engine is.
    """
    if ref.target not in HOSTS:
        return
    releases = store.releases(ref)
    release, current = history.to_go_back_to(releases, revision), history.deployed(releases)
    in_place = current is not None and release.revision == current.revision
    if not in_place and not _by_the_shell(release, ref.target):
        kind = release.plan.accelerator
        running = running_here(kind, [ref.target])
        if current is not None and current.plan.accelerator == kind:
            running.setdefault(ref.service, held_by(current.plan))  # though it may be dead
        refuse_crowded(release, running)


def _by_the_shell(release: Release, target: TargetKind) -> bool:
    """Whether the shell says which cards it gets. It said so of others, too, which is on no
    record."""
    unnamed = CARDS_VARIABLE not in release.plan.engine.env
    cuda = release.plan.accelerator == "cuda"
    return target == "process" and cuda and unnamed and bool(os.environ.get(CARDS_VARIABLE))


def refuse_crowded(release: Release, running: Mapping[str, CardHolding]) -> None:
    """Refuses a release that has no room on its cards, beside what others hold of them. One that
    takes no more than what is in place of its service may have it, whatever we count.

    Raises:
        PlanRefusedError: says who holds what, and what would make room.
    """
    service, wants = release.service, held_by(release.plan)
    memory, has = release.plan.memory, running.get(release.service)
    if memory is None:
        return
    for card in wants.cards:
        others = [h for name, h in running.items() if name != service and card in h.cards]
        there = sum(other.footprint for other in others)
        already = has.footprint if has is not None and card in has.cards else 0.0
        fits = there + wants.footprint <= memory.gpu_total_gib + SLACK_GIB
        if fits or not others or wants.footprint <= already + SLACK_GIB:
            continue
        where = named((card,)) if release.plan.accelerator == "cuda" else "this host's memory"
        names = " ".join(other.service for other in others)
        raise PlanRefusedError(
            f"revision {release.revision} needs {wants.footprint:.1f} GiB of {where}, which has "
            f"{memory.gpu_total_gib:.1f} GiB: {told(others)}",
            where=service,
            hint=f"deployctl down {names} makes room; or go back to a revision with a smaller "
            f"share: deployctl history {service}",
        )


def told(holdings: Sequence[CardHolding]) -> str:
    """Who holds how much, for a person."""
    return ", ".join(f"{each.service} holds {each.footprint:.1f} GiB" for each in holdings)


def named(cards: tuple[int, ...]) -> str:
    """Cards by their number, for a person."""
    numbers = ", ".join(map(str, cards))
    return f"card {numbers}" if len(cards) == 1 else f"each of the cards {numbers}"
