"""What would make a fleet fit: each change is tried on the whole fleet.

Ranked as those of one service are: accuracy first, then context, users, throughput and speed, then
more and larger cards, and at last a service less.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from deployctl.errors import Reason
from deployctl.hardware import all_profiles
from deployctl.planning.fleet.make import HostCard, KnownNeeds, Member, PlannedFleet, holds
from deployctl.planning.fleet.result import FleetFix
from deployctl.spec.fleet import MOST_CARDS

_LEAST_CONTEXT = 2048  # tokens; less is no use to a chat
_SEQUENCES = (128, 64, 32, 16)
_MORE_CARDS = 4
_TOLD = 2  # of the fixes, in the reason itself


class _Change(NamedTuple):
    """A change, and the fleet with it."""

    fix: FleetFix
    members: Sequence[Member]
    cards: Sequence[HostCard]


class _Fleet(NamedTuple):
    """The fleet that does not fit."""

    members: Sequence[Member]
    cards: Sequence[HostCard]

    def given(self, index: int, change: str, cost: str, **settings: Any) -> _Change:
        """With other settings of one service."""
        member = self.members[index]
        other = member._replace(spec=member.spec.model_copy(update=settings))
        members = [*self.members[:index], other, *self.members[index + 1 :]]
        return _Change(
            FleetFix(service=member.spec.service, change=change, cost=cost), members, self.cards
        )

    def on(self, cards: Sequence[HostCard], change: str, cost: str) -> _Change:
        """With other cards."""
        return _Change(FleetFix(service=None, change=change, cost=cost), self.members, cards)


def advised(
    planned: PlannedFleet, members: Sequence[Member], cards: Sequence[HostCard], needs: KnownNeeds
) -> PlannedFleet:
    """The same plan, and where it does not fit, what would: the cheapest for the user first."""
    plan, fleet = planned.plan, _Fleet(members, cards)
    if plan.verdict != "does_not_fit":
        return planned
    fixes: list[FleetFix] = []
    for changes in _kinds(planned, fleet):
        fixes += _first(changes, needs)
    several = {fix.change.split()[0]: fix for fix in reversed(fixes)}
    told = [str(fix) for fix in fixes if fix in several.values()][:_TOLD]
    fix = ", or ".join(told) or "serve fewer of them on this host"
    reasons = tuple(Reason(r.code, r.message, r.fix or fix) for r in plan.reasons)
    update = {"fixes": tuple(fixes), "reasons": reasons}
    return planned._replace(plan=plan.model_copy(update=update))


def _kinds(planned: PlannedFleet, fleet: _Fleet) -> Iterator[Iterator[_Change]]:
    """Changes by kind and service, the smallest first: of each kind the first that is enough."""
    gib = {need.service: need.gib * need.cards or math.inf for need in planned.plan.needs}
    largest = sorted(
        range(len(fleet.members)), key=lambda i: (-gib[fleet.members[i].spec.service], i)
    )
    on_cpu = fleet.cards[0].profile.kind == "cpu"
    by_service = (_cache,) if on_cpu else (_eight, _context, _users, _sequences, _eager)
    for kind in by_service:
        yield from (kind(fleet, index) for index in largest)
    if not on_cpu:
        yield _more(fleet)
        yield _larger(fleet)
    yield from (_without(fleet, index) for index in reversed(largest) if len(largest) > 1)


def _first(changes: Iterator[_Change], needs: KnownNeeds) -> Iterator[FleetFix]:
    """The first that is enough; none is looked for where the last is not."""

    def enough(change: _Change) -> bool:
        return holds(change.members, change.cards, needs)

    every = list(changes)
    if every and enough(every[-1]):
        yield next(change.fix for change in every if enough(change))


def _eight(fleet: _Fleet, index: int) -> Iterator[_Change]:
    if fleet.members[index].spec.kv_cache_dtype in (None, "auto"):
        cost = "some accuracy: keys and values have 8 bits"
        yield fleet.given(index, "--kv-cache-dtype fp8", cost, kv_cache_dtype="fp8")


def _context(fleet: _Fleet, index: int) -> Iterator[_Change]:
    """Half of the context that is asked for, or of the least that is chosen; and so on."""
    spec = fleet.members[index].spec
    asked = spec.max_model_len is not None
    name = "max_model_len" if asked else "min_model_len"
    length = (spec.max_model_len or spec.min_model_len) // 2
    while length >= _LEAST_CONTEXT:
        flag = f"--{name.replace('_', '-')} {length}"
        yield fleet.given(index, flag, "longer requests are refused", **{name: length})
        length //= 2


def _users(fleet: _Fleet, index: int) -> Iterator[_Change]:
    users = (fleet.members[index].spec.users or 1) // 2
    while users:
        yield fleet.given(index, f"--users {users}", "the others wait", users=users)
        users //= 2


def _sequences(fleet: _Fleet, index: int) -> Iterator[_Change]:
    now = fleet.members[index].spec.max_num_seqs or math.inf
    for number in _SEQUENCES:
        if number < now:
            cost = "throughput: more requests wait"
            yield fleet.given(index, f"--max-num-seqs {number}", cost, max_num_seqs=number)


def _eager(fleet: _Fleet, index: int) -> Iterator[_Change]:
    if not fleet.members[index].spec.enforce_eager:
        cost = "speed: no CUDA graphs, no torch.compile"
        yield fleet.given(index, "--enforce-eager", cost, enforce_eager=True)


def _cache(fleet: _Fleet, index: int) -> Iterator[_Change]:
    """On a CPU: half of the KV cache, and so on."""
    gib = (fleet.members[index].spec.kv_cache_gib or 1.0) / 2
    while gib >= 0.25:
        cost = "fewer requests at once"
        yield fleet.given(index, f"--kv-cache-gib {gib:g}", cost, kv_cache_gib=gib)
        gib /= 2


def _more(fleet: _Fleet) -> Iterator[_Change]:
    """More cards of the kind that there is most of."""
    kinds = [card.profile.name for card in fleet.cards]
    most = max(kinds, key=kinds.count)
    free = next(card for card in fleet.cards if card.profile.name == most)
    for number in range(1, min(_MORE_CARDS, MOST_CARDS - len(kinds)) + 1):
        change = f"{kinds.count(most) + number} × {most} in the fleet's cards"
        cost = f"{number} more card{'s' if number > 1 else ''}"
        yield fleet.on([*fleet.cards, *[free] * number], change, cost)


def _larger(fleet: _Fleet) -> Iterator[_Change]:
    """As many of a card with more memory, the cheapest first; where all are of one kind. One that
    costs more than another and has no more memory is none."""
    now = {card.profile.name: card.profile for card in fleet.cards}
    fixed = {member.spec.gpu for member in fleet.members} & now.keys()
    if len(now) > 1 or fixed:
        return
    (mine,) = now.values()
    known = [profile for profile in all_profiles() if profile.kind == "cuda"]
    gib = mine.memory_gib
    for profile in sorted(known, key=lambda p: (p.price_per_hour_usd or math.inf, p.memory_gib)):
        if profile.memory_gib <= gib:
            continue
        gib = profile.memory_gib
        cards = [card._replace(profile=profile) for card in fleet.cards]
        price = profile.price_per_hour_usd
        cost = "other cards" + (f", ${price:.2f} an hour each" if price else "")
        yield fleet.on(cards, f"{len(cards)} × {profile.name} in the fleet's cards", cost)


def _without(fleet: _Fleet, index: int) -> Iterator[_Change]:
    name = fleet.members[index].spec.service
    others = [*fleet.members[:index], *fleet.members[index + 1 :]]
    fix = FleetFix(service=None, change=f"another host for {name}", cost="a service less here")
    yield _Change(fix, others, fleet.cards)
