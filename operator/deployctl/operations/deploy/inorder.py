"""Services of a fleet brought up on one host: one at a time, each when its cards have room for it.

One that fails stops nothing that runs, nor those that have room without it.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from deployctl.errors import DeployctlError, InterruptedByUserError, TargetError
from deployctl.operations.deploy.deployed import Deployed
from deployctl.operations.deploy.deployment import Deployment
from deployctl.operations.deploy.fleet import Fleet, NotDeployed
from deployctl.operations.deploy.services import open_store
from deployctl.planning.fleet.make import PlannedFleet
from deployctl.planning.fleet.order import CardHolding, held_by, next_of
from deployctl.spec.service import HOSTS
from deployctl.targets import history, open_driver

_SLACK_GIB = 0.01
_OnHost = Callable[[], Mapping[str, CardHolding]]


def up_in_order(
    deployments: Sequence[Deployment],
    planned: PlannedFleet,
    bring_up: Callable[[Deployment], Deployed],
    done: Callable[[NotDeployed], None],
    on_host: "_OnHost | None" = None,
) -> Fleet:
    """Brings all of them up, in the order that fits what runs; returns when each serves or has
    failed. `bring_up` is `deployment.up` with a listener; `done` hears of each that fails;
    `on_host` says what runs.

    What shrinks goes before what grows. A service that waits for room that another has, which is no
    part of the fleet or stands where it is to go, is not begun.
    """
    on_host = on_host or partial(running_here, planned.plan.services[0].accelerator)
    gib = [card.memory_gib - card.held_gib for card in planned.plan.cards]
    holdings = {holding.service: holding for holding in planned.holdings}
    by_name = {deployment.spec.service: deployment for deployment in deployments}
    deployed: list[Deployed] = []
    failed: list[NotDeployed] = []
    interrupted = False
    while by_name:
        running = on_host()
        turn = next_of([holdings[name] for name in by_name], running, gib)
        if turn is None or interrupted:
            break
        deployment = by_name.pop(turn.service)
        try:
            deployed.append(bring_up(deployment))
        except DeployctlError as error:
            interrupted = isinstance(error, InterruptedByUserError)
            failed.append(_failure(deployment, error))
            done(failed[-1])
    for name, deployment in by_name.items():
        why = _not_begun() if interrupted else _in_the_way(holdings[name], running, holdings)
        failed.append(_failure(deployment, why))
        if not interrupted:
            done(failed[-1])
    return Fleet(tuple(deployed), tuple(failed), interrupted)


def running_here(accelerator: str) -> dict[str, CardHolding]:
    """What services that were brought up from here hold of this host's cards, or of its memory
    those on its CPU; one that a killed deployctl left unfinished, too."""
    settings, store = open_store()
    found: dict[str, CardHolding] = {}
    for ref in store.services():
        if ref.target not in HOSTS:
            continue
        with suppress(TargetError):  # one that cannot be asked is told of by its own up
            releases, driver = store.releases(ref), open_driver(ref.target, settings)
            for release in (history.deployed(releases), *history.pending(releases)):
                if release is None or release.plan.accelerator != accelerator:
                    continue
                if driver.state(release).condition != "absent":
                    found[ref.service] = held_by(release.plan)
    return found


def _failure(deployment: Deployment, error: DeployctlError) -> NotDeployed:
    spec = deployment.spec
    return NotDeployed(spec.service, str(spec.target or "host"), error)


def _not_begun() -> InterruptedByUserError:
    return InterruptedByUserError("interrupted", hint="nothing of it was begun")


def _in_the_way(
    holding: CardHolding, running: Mapping[str, CardHolding], holdings: Mapping[str, CardHolding]
) -> TargetError:
    """Who has the room that a service waits for: who is there beside it, and of those whoever is no
    part of the fleet, is to be elsewhere, or is to have less."""
    there = [
        other
        for name, other in running.items()
        if name != holding.service and {*other.cards} & {*holding.cards}
    ]
    told = ", ".join(f"{other.service} holds {other.footprint:.1f} GiB" for other in there)
    names = " ".join(o.service for o in there if not _in_place(o, holdings.get(o.service)))
    return TargetError(
        f"it needs {holding.peak:.1f} GiB of {_named(holding.cards)}, where {told}",
        where=holding.service,
        hint=f"deployctl down {names} ends what is in its way; then up again",
    )


def _in_place(has: CardHolding, wanted: CardHolding | None) -> bool:
    if wanted is None or has.cards != wanted.cards:
        return False
    return has.footprint <= wanted.footprint + _SLACK_GIB


def _named(cards: tuple[int, ...]) -> str:
    numbers = ", ".join(map(str, cards))
    return f"card {numbers}" if len(cards) == 1 else f"each of the cards {numbers}"
