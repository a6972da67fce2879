"""Services of a fleet brought up on one host: one at a time, each when its cards have room for it.

One that fails stops nothing that runs, nor those that have room without it.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from deployctl.errors import DeployctlError, InterruptedByUserError, TargetError
from deployctl.operations.deploy.deployed import Deployed
from deployctl.operations.deploy.deployment import Deployment
from deployctl.operations.deploy.fleet import Fleet, NotDeployed
from deployctl.operations.deploy.oncards import cards_held, named, running_here, told
from deployctl.operations.prepare import target_of
from deployctl.planning.fleet.make import PlannedFleet
from deployctl.planning.fleet.order import SLACK_GIB, CardHolding, next_of
from deployctl.targets import Check


def up_in_order(
    deployments: Sequence[Deployment],
    planned: PlannedFleet,
    bring_up: Callable[[Deployment], Deployed],
    done: Callable[[NotDeployed], None],
) -> Fleet:
    """Brings all of them up, in the order that fits what runs; returns when each serves or has
    failed. `bring_up` is `deployment.up` with a listener; `done` hears of each that fails. Of two
    fleets at once, each would start an engine where the other is about to: the second is refused.

    What shrinks goes before what grows. A service that waits for room that another has, which is no
    part of the fleet or stands where it is to go, is not begun.

    Raises:
        LockedError: somebody else brings a fleet up on this host; says who. One who took the lock
            meanwhile is why the rest is not begun.
    """
    kind = planned.plan.services[0].accelerator
    targets = {target_of(deployment.spec, kind) for deployment in deployments}
    with cards_held(targets, "deployctl up -f") as check:
        on_host = partial(running_here, kind, targets)
        return in_order(deployments, planned, bring_up, done, on_host, check)


def in_order(
    deployments: Sequence[Deployment],
    planned: PlannedFleet,
    bring_up: Callable[[Deployment], Deployed],
    done: Callable[[NotDeployed], None],
    on_host: Callable[[], Mapping[str, CardHolding]],
    check: Check,
) -> Fleet:
    """`up_in_order` beside what `on_host` says that runs, under the lock of whoever calls it, which
    `check` says is lost where it is."""
    gib = [card.memory_gib - card.held_gib for card in planned.plan.cards]
    holdings = {holding.service: holding for holding in planned.holdings}
    by_name = {deployment.spec.service: deployment for deployment in deployments}
    deployed: list[Deployed] = []
    failed: list[NotDeployed] = []
    interrupted, lost = False, None
    while by_name:
        try:
            check()  # first: of what runs, another who has the lock by now would start more
        except TargetError as error:
            lost = error
            break
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
        if interrupted:
            why: DeployctlError = _not_begun()
        else:
            why = lost or _in_the_way(holdings[name], running, holdings)
        failed.append(_failure(deployment, why))
        if not interrupted:
            done(failed[-1])
    return Fleet(tuple(deployed), tuple(failed), interrupted)


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
    names = " ".join(o.service for o in there if not _in_place(o, holdings.get(o.service)))
    return TargetError(
        f"it needs {holding.peak:.1f} GiB of {named(holding.cards)}, where {told(there)}",
        where=holding.service,
        hint=f"deployctl down {names} ends what is in its way; then up again",
    )


def _in_place(has: CardHolding, wanted: CardHolding | None) -> bool:
    if wanted is None or has.cards != wanted.cards:
        return False
    return has.footprint <= wanted.footprint + SLACK_GIB
