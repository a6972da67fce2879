"""Several services on the cards of one host: a file's specs, each with its cards and its share."""

import os
from collections.abc import Sequence
from pathlib import Path

from deployctl.errors import PlanRefusedError, SpecError, of_service
from deployctl.hardware import load_profile
from deployctl.operations.prepare import checkpoint, refuse_unrendered, resolve_profile, target_of
from deployctl.planning.fleet.fixes import advised
from deployctl.planning.fleet.make import AUTO, HostCard, KnownNeeds, Member, PlannedFleet, place
from deployctl.planning.fleet.result import FleetPlan
from deployctl.render.clashes import Hosted, clashes
from deployctl.spec import ServiceSpec, TargetKind, load_specs
from deployctl.spec.fleet import (
    CARDS_VARIABLE,
    MOST_SERVICES,
    CardsOfHost,
    load_fleet,
    pinned,
)
from deployctl.spec.place import Said, marked


def load_placed(files: Sequence[Path]) -> list[ServiceSpec]:
    """The services of spec files; those of a fleet with their cards and shares.

    Raises:
        As `load_specs` and `placed`.
    """
    specs, fleet = load_specs(files, {}), load_fleet(files)
    if not fleet:
        return specs
    with marked(Said(files=files, services=[spec.service for spec in specs])):
        return placed(specs, fleet)


def placed(specs: Sequence[ServiceSpec], fleet: Sequence[CardsOfHost]) -> list[ServiceSpec]:
    """The specs, with their cards and shares of the host's cards.

    Raises:
        InputError: a spec, a checkpoint or the host's cards are wrong.
        PlanRefusedError: they do not fit beside each other.
        TargetError: the Hub, or the machine asked for its GPU, did not answer.
    """
    return list(planned_fleet(specs, fleet).specs)


def planned_fleet(specs: Sequence[ServiceSpec], fleet: Sequence[CardsOfHost]) -> PlannedFleet:
    """The plan of services that fit.

    Raises:
        As `placed`.
    """
    planned = plan_fleet(specs, fleet)
    refuse_unfit_fleet(planned.plan)
    return planned


def plan_fleet(specs: Sequence[ServiceSpec], fleet: Sequence[CardsOfHost]) -> PlannedFleet:
    """Plans the services together; where they do not fit, the plan says what would.

    Raises:
        InputError: a spec, a checkpoint or the host's cards are wrong.
        TargetError: the Hub, or the machine asked for its GPU, did not answer.
    """
    on_docker = all(spec.target == "docker" for spec in specs)  # whose host may be another
    target: TargetKind | None = "docker" if on_docker else None
    found = [(said.gpu, card) for at, said in enumerate(fleet) for card in _cards(said, at, target)]
    cards = [card for _, card in found]
    if len({card.profile.kind for card in cards}) > 1:
        raise SpecError("a fleet has cards or is on a CPU", where="fleet", hint="leave one out")
    if len(specs) > MOST_SERVICES:
        message = f"{len(specs)} services; a fleet has {MOST_SERVICES} at most"
        raise SpecError(message, where="fleet", hint="give the others a file of their own")
    settled = [_settled(spec, index, cards) for index, spec in enumerate(specs)]
    members = [Member(spec, checkpoint(spec)[1]) for spec in settled]
    needs = KnownNeeds()
    planned = advised(place(members, cards, needs), members, cards, needs)
    pairs = zip(planned.specs, planned.plan.services, strict=True)
    hosted = [Hosted(plan, spec, target_of(spec, plan.accelerator)) for spec, plan in pairs]
    for plan, spec, runs_on in hosted:
        with of_service(spec.service):
            refuse_unrendered(plan, spec, runs_on)
    for error in clashes(hosted):
        raise error
    # As the file names a card, and no profile's name: that of a file of one's own says nothing to
    # whoever plans the service next, nor what `auto` found of this host's cards.
    named = {card.profile.name: gpu for gpu, card in found}
    specs = tuple(spec.model_copy(update={"gpu": named[spec.gpu]}) for spec in planned.specs)
    return planned._replace(specs=specs)


def refuse_unfit_fleet(plan: FleetPlan) -> None:
    """Refuses a fleet that does not fit.

    Raises:
        PlanRefusedError: says why, with the first fixes.
    """
    if plan.verdict != "fits":
        raise PlanRefusedError(
            "; ".join(reason.message for reason in plan.reasons),
            where="fleet",
            hint=plan.reasons[0].fix or None,
        )


def _cards(cards: CardsOfHost, index: int, target: TargetKind | None) -> list[HostCard]:
    """The cards one by one; those of `auto` are of the machine that the target's engines run on."""
    where = f"fleet/{index}"
    if cards.gpu != AUTO:
        load_profile(cards.gpu, where=f"{where}/gpu")  # of one that is not there, says so
    profile = resolve_profile(ServiceSpec(model="any", gpu=cards.gpu, target=target))
    if profile.slice:
        message = "a fleet's cards are whole: a slice has its memory for itself"
        hint = "give each slice's service a file of its own"
        raise SpecError(message, where=f"{where}/gpu", hint=hint)
    if profile.kind == "cpu" and (cards.count or 1) > 1:
        raise SpecError("a host has one CPU's memory", where=f"{where}/count", hint="leave it out")
    if cards.held_gib >= profile.memory_gib:
        message = f"others cannot have {cards.held_gib:g} GiB of {profile.memory_gib:.1f} GiB"
        hint = "say what others have of each card, as nvidia-smi shows it"
        raise SpecError(message, where=f"{where}/held_gib", hint=hint)
    auto = cards.gpu == AUTO and profile.kind == "cuda"
    there = _count(f"{where}/gpu") if auto else 1
    return [HostCard(profile, cards.held_gib)] * (cards.count or there)


def _count(where: str) -> int:
    """How many cards there are where services run: `DOCKER_HOST` may say that it is elsewhere.

    Raises:
        SpecError: the shell hides some, so that they are not numbered as `nvidia-smi` does.
    """
    from deployctl.doctor.detect import ask_gpus, visible
    from deployctl.doctor.shell import run, there

    cards = ask_gpus(there(run, os.environ), thorough=False).cards
    if len(visible(cards, os.environ)) < len(cards):
        raise SpecError(
            f"{CARDS_VARIABLE} hides cards of this host, and a fleet is planned for all",
            where=where,
            hint="unset it, or name the cards: fleet: [{gpu: l4, count: 2}]",
        )
    return len(cards)


def _settled(spec: ServiceSpec, index: int, cards: Sequence[HostCard]) -> ServiceSpec:
    """The spec, its card by the profile's name.

    Raises:
        SpecError: what it says of cards does not go with the fleet's.
    """
    where = f"services/{index}"
    if spec.target == "kubernetes" or spec.claims_cards:
        message = "a fleet's cards are those of one host, and Kubernetes chooses its own"
        raise SpecError(message, where=f"{where}/target", hint="use target docker or process")
    _check_memory(spec, where)
    kinds = list(dict.fromkeys(card.profile.name for card in cards))
    gpu = AUTO if spec.gpu == AUTO else load_profile(spec.gpu, where=f"{where}/gpu").name
    if gpu not in (AUTO, *kinds):
        message = f"the fleet has no {gpu}, but {', '.join(kinds)}"
        raise SpecError(message, where=f"{where}/gpu", hint="leave it out, or add it to fleet")
    _check_pins(spec, f"{where}/env/{CARDS_VARIABLE}", gpu, cards)
    return spec.model_copy(update={"gpu": gpu})


def _check_memory(spec: ServiceSpec, where: str) -> None:
    """What a card has, and others have of it, is the same for all that share it."""
    hints = {
        "gpu_memory_gib": "a profile file in place of its gpu says what a card has",
        "gpu_memory_held_gib": "say held_gib beside the card's gpu",
    }
    for name, hint in hints.items():
        if getattr(spec, name) is not None:
            message = f"{name} is of a card, which a fleet says for all its services"
            raise SpecError(message, where=f"{where}/{name}", hint=hint)


def _check_pins(spec: ServiceSpec, where: str, gpu: str, cards: Sequence[HostCard]) -> None:
    said, pins = spec.env.get(CARDS_VARIABLE), pinned(spec)
    if said is None:
        return
    hint = "name cards by their number, as nvidia-smi does, from 0 on"
    if len(pins) != len(said.split(",")) or len(set(pins)) != len(pins):
        raise SpecError(f"{said!r} names no cards of a fleet", where=where, hint=hint)
    if beyond := [pin for pin in pins if pin >= len(cards)]:
        message = f"there is no card {beyond[0]}: the fleet has {len(cards)}"
        raise SpecError(message, where=where, hint=hint)
    kinds = {cards[pin].profile.name for pin in pins}
    if len(kinds) > 1 or gpu not in (AUTO, *kinds):
        message = f"cards {said} are {', '.join(sorted(kinds))}"
        raise SpecError(message, where=where, hint="pin a service to cards of its one kind")
