"""A fleet's plan: what each service needs, where it goes, with what share, and in which order."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from deployctl.errors import Reason
from deployctl.hardware import GpuProfile
from deployctl.model import ModelFacts
from deployctl.planning.fleet.divide import divide, taken_on
from deployctl.planning.fleet.need import Need, need_of
from deployctl.planning.fleet.order import CardHolding, in_order
from deployctl.planning.fleet.pack import CardRoom, Item, Placed, Slot, can_be, free_gib, pack
from deployctl.planning.fleet.result import CardShare, FleetCard, FleetNeed, FleetPlan
from deployctl.planning.fleet.taken import Taken
from deployctl.planning.make import make_plan
from deployctl.planning.plan import Verdict
from deployctl.planning.settings import fold
from deployctl.spec import ServiceSpec
from deployctl.spec.fleet import CARDS_VARIABLE, pinned

AUTO = "auto"  # of a service's `gpu`: whatever the fleet has


class Member(NamedTuple):
    """A service of the fleet, and what its checkpoint says. `gpu` is a profile's name, or auto."""

    spec: ServiceSpec
    facts: ModelFacts


class HostCard(NamedTuple):
    """A card of the host, or on a CPU the host, and the GiB of it that others have."""

    profile: GpuProfile
    held_gib: float = 0.0


class PlannedFleet(NamedTuple):
    """The plan; of one that fits also each service's spec, with its card and share in it."""

    plan: FleetPlan
    specs: tuple[ServiceSpec, ...] = ()
    holdings: tuple[CardHolding, ...] = ()


@dataclass
class KnownNeeds:
    """What services need, each of which is found out once."""

    known: dict[tuple[str, str, float, str], Need] = field(default_factory=dict)

    def of(self, member: Member, profile: GpuProfile) -> Need:
        """What this service needs on such a card."""
        spec = member.spec.model_dump_json()
        key = (spec, profile.name, profile.memory_gib, member.facts.source)
        if key not in self.known:
            self.known[key] = need_of(member.spec, member.facts, profile)
        return self.known[key]


class _Sought(NamedTuple):
    """What came of looking for cards."""

    each: list[dict[str, Need]]  # what each service needs, by kind of card
    told: tuple[FleetNeed, ...]
    alone: tuple[Reason, ...]  # why some would not fit alone
    slots: list[Slot]
    items: list[Item]  # none where some would not fit alone


def place(
    members: Sequence[Member], cards: Sequence[HostCard], needs: KnownNeeds | None = None
) -> PlannedFleet:
    """Plans the services together. Never raises for a bad fit: the verdict and its reasons tell.

    Without fixes, which `fixes.advised` adds.
    """
    sought = _sought(members, cards, needs or KnownNeeds())
    placed = None if sought.alone else pack(sought.items, sought.slots)
    if placed is not None:
        return _planned(members, cards, sought, placed)
    reasons = sought.alone or (_crowded(sought.told, cards),)
    cannot = any(reason.code == "cannot_run" for reason in reasons)
    bare = tuple(_bare(index, card) for index, card in enumerate(cards))
    verdict: Verdict = "cannot_run" if cannot else "does_not_fit"
    plan = FleetPlan(verdict=verdict, cards=bare, needs=sought.told, reasons=reasons)
    return PlannedFleet(plan)


def holds(members: Sequence[Member], cards: Sequence[HostCard], needs: KnownNeeds) -> bool:
    """Whether a placement is found before long."""
    sought = _sought(members, cards, needs)
    return not sought.alone and can_be(sought.items, sought.slots)


def _sought(members: Sequence[Member], cards: Sequence[HostCard], needs: KnownNeeds) -> _Sought:
    kinds = {card.profile.name: card.profile for card in cards}
    each = [
        {
            name: needs.of(member, profile)
            for name, profile in kinds.items()
            if _may_be_on(member.spec, name, cards)
        }
        for member in members
    ]
    pairs = list(zip(members, each, strict=True))
    told = tuple(_least(member, by_kind) for member, by_kind in pairs)
    alone = tuple(reason for member, by_kind in pairs for reason in _alone(member, by_kind))
    slots = [Slot(card.profile.name, card.profile.memory_gib - card.held_gib) for card in cards]
    items = [] if alone else [_item(member, by_kind) for member, by_kind in pairs]
    return _Sought(each, told, alone, slots, items)


def _may_be_on(spec: ServiceSpec, kind: str, cards: Sequence[HostCard]) -> bool:
    pins = pinned(spec)
    there = all(cards[pin].profile.name == kind for pin in pins)
    return there and spec.gpu in (AUTO, kind)


def _planned(
    members: Sequence[Member], cards: Sequence[HostCard], sought: _Sought, placed: Placed
) -> PlannedFleet:
    slots = sought.slots
    chosen = [
        by_kind[slots[where[0]].kind] for by_kind, where in zip(sought.each, placed, strict=True)
    ]
    shares = divide(chosen, placed, slots)
    there = [taken_on(card, chosen, placed, shares) for card in range(len(cards))]
    mixed = len({slot.kind for slot in slots}) > 1
    specs, plans, holdings = [], [], []
    for index, (member, need, where) in enumerate(zip(members, chosen, placed, strict=True)):
        others = max(cards[card].held_gib + _others(there[card], index) for card in where)
        spec = _shared(need, where, shares[index], others, mixed=mixed)
        specs.append(spec)
        plans.append(make_plan(spec, member.facts, cards[where[0]].profile, advise=False))
        taken = need.at(shares[index])
        holdings.append(CardHolding(spec.service, where, taken.footprint, taken.peak))
    reasons = tuple(
        Reason(reason.code, f"{plan.name}: {reason.message}", reason.fix)
        for plan in plans
        for reason in plan.reasons
    )
    plan = FleetPlan(
        verdict="does_not_fit" if reasons else "fits",
        cards=tuple(
            _card(index, card, slots[index], [(plans[i], t) for i, t in there[index]])
            for index, card in enumerate(cards)
        ),
        order=tuple(holding.service for holding in in_order(holdings)),
        needs=sought.told,
        services=tuple(plans),
        reasons=reasons,
    )
    return PlannedFleet(plan, tuple(specs), tuple(holdings))


def _others(there: Sequence[tuple[int, Taken]], index: int) -> float:
    return sum(taken.footprint for other, taken in there if other != index)


def _shared(
    need: Need, where: tuple[int, ...], share: int, others: float, *, mixed: bool
) -> ServiceSpec:
    """The service's spec, with its cards, its share, and what others have of them. `mixed`: the
    host has cards of several kinds."""
    spec = need.spec
    held = {"gpu_memory_held_gib": math.ceil(others * 100) / 100} if others else {}
    if not share:  # a CPU's: vLLM would bind all engines to the same first cores
        free = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", **spec.env}
        return spec.model_copy(update={"env": free, **held}) if others else spec
    own = {CARDS_VARIABLE: ",".join(map(str, where))}
    if mixed:  # CUDA numbers the fastest first, unless it is told to count as nvidia-smi does
        own["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    update: dict[str, Any] = {"env": {**spec.env, **own}, **held}
    if fold(spec)[0].gpu_memory_utilization is None:
        update["gpu_memory_utilization"] = share / 100
    return spec.model_copy(update=update)


def _card(index: int, card: HostCard, slot: Slot, there: Sequence[tuple[Any, Taken]]) -> FleetCard:
    shares = tuple(
        CardShare(
            service=plan.name,
            share=plan.engine.defaults.get("gpu_memory_utilization"),
            gib=round(taken.footprint, 2),
            weights_gib=round(plan.memory.weights_gib, 2),
            kv_cache_gib=round(max(0.0, plan.memory.kv_cache_gib), 2),
        )
        for plan, taken in there
        if plan.memory is not None
    )
    rooms = [CardRoom(taken.footprint, taken.peak) for _, taken in there]
    return _bare(index, card).model_copy(
        update={"shares": shares, "left_gib": round(free_gib(rooms, slot.gib), 2)}
    )


def _bare(index: int, card: HostCard) -> FleetCard:
    gib, held = card.profile.memory_gib, card.held_gib
    return FleetCard(
        index=index,
        gpu=card.profile.name,
        memory_gib=round(gib, 2),
        held_gib=held,
        shares=(),
        left_gib=round(gib - held, 2),
    )


def _item(member: Member, by_kind: dict[str, Need]) -> Item:
    fitting = {name: need for name, need in by_kind.items() if need.fits}
    count = min(need.cards for need in fitting.values())
    rooms = {
        name: CardRoom(need.at(need.least).footprint, need.at(need.least).peak)
        for name, need in fitting.items()
        if need.cards == count
    }
    return Item(member.spec.service, count, rooms, pinned(member.spec))


def _least(member: Member, by_kind: dict[str, Need]) -> FleetNeed:
    fitting = [
        (need.cards * need.at(need.least).footprint, name, need)
        for name, need in by_kind.items()
        if need.fits
    ]
    if not fitting:
        return FleetNeed(service=member.spec.service, gpu=None)
    _, name, need = min(fitting, key=lambda one: one[:2])
    gib = round(need.at(need.least).footprint, 2)
    return FleetNeed(service=member.spec.service, gpu=name, cards=need.cards, gib=gib)


def _alone(member: Member, by_kind: dict[str, Need]) -> list[Reason]:
    """Why the service fits no card of the host, though it were alone; nothing where it does."""
    pins = pinned(member.spec)
    for need in by_kind.values():
        if need.fits and pins and len(pins) != need.cards:
            name = member.spec.service
            message = f"{name} is pinned to {len(pins)} cards, and needs {need.cards}"
            return [Reason("cannot_run", message, f"name {need.cards} in {CARDS_VARIABLE}")]
    if any(need.fits for need in by_kind.values()):
        return []
    name, need = min(by_kind.items(), key=lambda one: (one[1].plan.verdict, one[0]))
    first = need.plan.reasons[0] if need.plan.reasons else None
    why = first.message if first else "no share of it is enough"
    code = "cannot_run" if need.plan.verdict == "cannot_run" else "fits_no_card"
    alone = f"{member.spec.service} does not fit {name}, though it were alone: {why}"
    said = f"{member.spec.service} cannot run on {name}: {why}"
    if code == "cannot_run":
        return [Reason(code, said, first.fix if first else "")]
    return [Reason(code, alone, "")]


def _crowded(told: Sequence[FleetNeed], cards: Sequence[HostCard]) -> Reason:
    """What all need at least, and what there is."""
    wants = ", ".join(
        f"{need.service} {need.gib:.1f} GiB" + (f" on {need.cards} cards" if need.cards > 1 else "")
        for need in told
    )
    counts: dict[tuple[str, float], int] = {}
    for card in cards:
        key = (card.profile.title, card.profile.memory_gib - card.held_gib)
        counts[key] = counts.get(key, 0) + 1
    have = ", ".join(f"{count} × {title} {gib:.1f} GiB" for (title, gib), count in counts.items())
    return Reason(
        "cards_too_small",
        f"each fits alone, and no placement holds all: at least they need {wants}; "
        f"this host has {have}",
        "",
    )
