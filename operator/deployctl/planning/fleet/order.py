"""In which order services start: one at a time on a card, and none where another holds its room."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from deployctl.planning.fleet.taken import OUTSIDE_GIB, of_host
from deployctl.planning.plan import ServingPlan
from deployctl.spec.fleet import named_in

SLACK_GIB = 0.01


class CardHolding(NamedTuple):
    """What a service has, or is to have: its cards, and GiB of each."""

    service: str
    cards: tuple[int, ...]
    footprint: float
    peak: float  # while it starts


def held_by(plan: ServingPlan) -> CardHolding:
    """What a service holds that runs by this plan: of the first cards, where it names none; of no
    card that is known, where it names them by UUID."""
    if plan.accelerator == "cpu":
        gib = of_host(plan).footprint
        return CardHolding(plan.name, (0,), gib, gib)
    named = named_in(plan.engine.env)
    cards = tuple(int(name) for name in named if name.isdecimal())
    first = tuple(range(plan.world_size * plan.replicas))
    gib = (plan.memory.budget_gib if plan.memory else 0.0) + OUTSIDE_GIB
    return CardHolding(plan.name, cards if named else first, gib, gib)


def cards_of(plan: ServingPlan, replica: int = 0) -> tuple[str, ...]:
    """The cards of a replica, as the plan names them or by their number; none on a CPU."""
    if plan.accelerator == "cpu":
        return ()
    named, first = named_in(plan.engine.env), replica * plan.world_size
    numbers = range(first, first + plan.world_size)
    known = len(named) > numbers[-1]
    return tuple(named[n] if known else str(n) for n in numbers)


def in_order(holdings: Sequence[CardHolding]) -> list[CardHolding]:
    """The order on empty cards: whoever needs most beyond what it keeps, then the largest."""
    return sorted(holdings, key=lambda h: (h.footprint - h.peak, -h.footprint, h.service))


def next_of(
    waiting: Sequence[CardHolding], running: Mapping[str, CardHolding], gib: Sequence[float]
) -> CardHolding | None:
    """Whose turn it is among those that wait: the first that fits beside what runs.

    `running` has what services hold now, those that wait too, which give that back as they are
    replaced; `gib` has each card's room. None: whoever waits is in another's way.
    """
    smaller_first = sorted(in_order(waiting), key=lambda h: h.service not in running)
    return next((h for h in smaller_first if _fits(h, running, gib)), None)


def _fits(holding: CardHolding, running: Mapping[str, CardHolding], gib: Sequence[float]) -> bool:
    others = [h for name, h in running.items() if name != holding.service]
    return all(
        holding.peak + sum(h.footprint for h in others if card in h.cards) <= gib[card] + SLACK_GIB
        for card in holding.cards
    )
