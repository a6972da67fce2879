"""One plan for cards of several kinds: what a claim asks for, the cheapest that fits first. Pure.

The same flags run on every one of them: those that hold for all, or it is refused.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from deployctl.errors import Reason
from deployctl.hardware import GpuProfile
from deployctl.hardware.found import KEPT_GIB
from deployctl.model import ModelFacts
from deployctl.planning import fit
from deployctl.planning.alike import (
    SETTABLE,
    CardsDifferError,
    PlannedCard,
    agree,
    flags_of,
    plan_on,
)
from deployctl.planning.context import ContextChoice
from deployctl.planning.make import make_plan
from deployctl.planning.plan import OTHER_CARD, CardOption, ServingPlan
from deployctl.planning.settings import Sharding, fold
from deployctl.planning.shape import shape_of
from deployctl.planning.sharding import Planner
from deployctl.planning.tasks import deaf, text_alone
from deployctl.spec import ServiceSpec

# Compute capabilities of the cards that there are (NVIDIA's table of CUDA GPUs), servers' and PCs'.
_CAPABILITIES = ("7.0", "7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "10.3", "12.0", "12.1")
_STEP_MIB = 256  # what a claim asks for is a multiple of this
_LARGEST_GIB = 4096.0
_UNKNOWN = 1.1  # times what the known cards need, of one that nobody planned for
_NAMED = 3  # cards that a note names


class Chosen(NamedTuple):
    """A plan with its cards, and the profile of the one that it is told for: the cheapest."""

    plan: ServingPlan
    profile: GpuProfile


def plan_cards(
    spec: ServiceSpec, facts: ModelFacts, profiles: Sequence[GpuProfile], *, others: bool
) -> Chosen:
    """Plans for each kind of card, with one set of flags for all that fit.

    `others`: a card of no known kind will do too, if it has what the plan needs.
    """
    ordered = sorted(profiles, key=_order)
    planned = [plan_on(spec, facts, profile) for profile in ordered]
    fitting = [each for each in planned if each.fits]
    if not fitting:
        return _nearest(spec, facts, planned)
    try:
        settled, agreed = agree(spec, facts, fitting)
    except CardsDifferError as error:
        cheapest = fitting[0]
        changed = {"verdict": "cannot_run", "reasons": (error.reason,), "cost": None}
        refused = cheapest.plan.model_copy(update=changed)
        return Chosen(refused, cheapest.profile)
    first = agreed[0]
    least = {each.profile.name: _least_gib(settled, facts, each) for each in agreed}
    enough = max(least.values()) * _UNKNOWN
    taken = _capabilities(settled, facts, first, enough)
    options = [_option(each, least[each.profile.name], taken) for each in agreed]
    if others and taken:
        options.append(_other(enough, taken))
    options += [_refused(spec, facts, each) for each in planned if not each.fits]
    return Chosen(_together(agreed, fitting, options), first.profile)


def _order(profile: GpuProfile) -> tuple[bool, float, float, float, str]:
    """The cheapest first; those without a price behind, by memory and its bandwidth."""
    price = profile.price_per_hour_usd
    size = profile.memory_gib
    return (price is None, price or 0.0, size, profile.memory_bandwidth_gb_s, profile.name)


def _least_gib(spec: ServiceSpec, facts: ModelFacts, each: PlannedCard) -> float:
    """GiB, as torch tells it, of the smallest card of this kind on which this plan starts."""
    return _search(spec, facts, each, 0.0, each.profile.memory_gib)


def _search(
    spec: ServiceSpec, facts: ModelFacts, each: PlannedCard, low: float, high: float
) -> float:
    """The least memory between one that does not do and one that does, a sixteenth GiB off."""
    while high - low > 1 / 16:
        middle = (low + high) / 2
        if _starts(spec, facts, each, middle):
            high = middle
        else:
            low = middle
    return high


def _starts(spec: ServiceSpec, facts: ModelFacts, each: PlannedCard, gib: float) -> bool:
    """Whether the plan would start on a card of this kind with so much memory."""
    if facts.architecture is None:
        return True
    shape = shape_of(facts.architecture, text_alone=text_alone(spec), deaf=deaf(spec))
    profile = each.profile.model_copy(update={"memory_gib": max(gib, 0.01)})
    own = flags_of(each.plan).get("--kv-cache-dtype")
    given: dict[str, Any] = {"max_model_len": each.plan.max_model_len}
    if own:
        given["kv_cache_dtype"] = own[0]
    planner = Planner(fold(spec)[0], facts, profile, shape).given(**given)
    sharding = Sharding(each.plan.tensor_parallel_size, each.plan.pipeline_parallel_size)
    choice = ContextChoice(planner, planner.measure(sharding), ())
    return not any(fit.refusals(choice))


def _capabilities(
    spec: ServiceSpec, facts: ModelFacts, first: PlannedCard, gib: float
) -> tuple[str, ...]:
    """The compute capabilities on which the very same flags run, those next to the first card's.

    Each is tried on a card that has no more memory than a claim asks for.
    """
    flags = flags_of(first.plan)
    own = first.profile.compute_capability or ""
    known = sorted({*_CAPABILITIES, *filter(None, [own])}, key=float)
    run: list[str] = []
    for capability in known:
        update = {
            "name": OTHER_CARD,
            "title": f"a card of compute capability {capability}",
            "compute_capability": capability,
            "memory_gib": gib,
        }
        tried = plan_on(spec, facts, first.profile.model_copy(update=update))
        if capability == own or (tried.fits and flags_of(tried.plan) == flags):
            run.append(capability)
        elif own in run:
            break
        else:
            run = []
    return tuple(run)


def _option(each: PlannedCard, gib: float, taken: Sequence[str]) -> CardOption:
    """What a claim asks of a card of a known kind."""
    profile, total = each.profile, each.profile.memory_total_mib
    # What the driver keeps is in its figure and not in torch's.
    kept = max(0.0, total - profile.memory_gib * 1024) if total else 0.0
    memory = _rounded(gib * 1024 + kept)
    own = profile.compute_capability
    range_ = sorted({*taken, *filter(None, [own])}, key=float)
    return CardOption(
        gpu=profile.name,
        title=profile.title,
        verdict="fits",
        products=profile.matches,
        slice=profile.slice,
        memory_mib=min(memory, total or math.floor(profile.memory_gib * 1024)),
        least_capability=range_[0] if range_ else "",
        most_capability=range_[-1] if range_ else "",
        usd_per_hour=each.plan.cost.usd_per_hour if each.plan.cost else None,
    )


def _other(gib: float, taken: Sequence[str]) -> CardOption:
    """What a claim asks of a card that no profile describes: what suffices on all that one does."""
    return CardOption(
        gpu=OTHER_CARD,
        title="any other card",
        verdict="fits",
        memory_mib=_rounded((gib + KEPT_GIB) * 1024),
        least_capability=taken[0],
        most_capability=taken[-1],
    )


def _rounded(mib: float) -> int:
    return math.ceil(mib / _STEP_MIB) * _STEP_MIB


def _refused(spec: ServiceSpec, facts: ModelFacts, each: PlannedCard) -> CardOption:
    """Why a kind of card is none that will do."""
    plan, profile = each.plan, each.profile
    missing = 0.0
    if plan.verdict == "does_not_fit":
        high = profile.memory_gib
        while high < _LARGEST_GIB and not _starts(spec, facts, each, high):
            high *= 2
        missing = _search(spec, facts, each, profile.memory_gib, high) - profile.memory_gib
    return CardOption(
        gpu=profile.name,
        title=profile.title,
        verdict=plan.verdict,
        why=plan.reasons[0].message if plan.reasons else "",
        missing_gib=round(missing, 1),
        products=profile.matches,
        slice=profile.slice,
    )


def _nearest(spec: ServiceSpec, facts: ModelFacts, planned: Sequence[PlannedCard]) -> Chosen:
    """A refusal that says which card comes nearest: the plan is that card's."""
    options = [_refused(spec, facts, each) for each in planned]
    by_missing = sorted(
        zip(planned, options, strict=True), key=lambda p: (not p[1].missing_gib, p[1].missing_gib)
    )
    near, option = by_missing[0]
    of_it = spec.model_copy(update={"gpu": near.profile.name})
    plan = make_plan(of_it, facts, near.profile)
    if len(planned) == 1:
        return Chosen(plan.model_copy(update={"cards": (option,)}), near.profile)
    lacks = f", which lacks {option.missing_gib:.1f} GiB a card" if option.missing_gib else ""
    reason = Reason(
        "no_card_fits",
        f"none of {len(planned)} kinds of cards fits; nearest was {option.title}{lacks}: "
        f"{option.why}",
        plan.reasons[0].fix if plan.reasons else "ask for less",
    )
    told = {"reasons": (reason, *plan.reasons[1:]), "cards": tuple(o for _, o in by_missing)}
    return Chosen(plan.model_copy(update=told), near.profile)


def _together(
    agreed: Sequence[PlannedCard], alone: Sequence[PlannedCard], options: Sequence[CardOption]
) -> ServingPlan:
    """The cheapest card's plan, with what holds for the others too."""
    plan = agreed[0].plan
    environment: dict[str, str] = {}
    for each in agreed:
        environment |= each.plan.engine.env
    notes, warnings = list(plan.notes), list(plan.warnings)
    best = max(alone, key=lambda each: each.plan.max_model_len)
    shortest = min(alone, key=lambda each: each.plan.max_model_len)
    if best.plan.max_model_len > plan.max_model_len:
        notes.append(
            f"The context is what {shortest.profile.title} holds: {plan.max_model_len:,} tokens; "
            f"{best.profile.title} alone holds {best.plan.max_model_len:,}. --max-model-len, or "
            "--gpu with the cards that may be taken, decides otherwise."
        )
    for flag in SETTABLE:
        without = [each for each in alone if flag not in flags_of(each.plan)]
        if without and flag in flags_of(plan):
            value = " ".join((flag, *flags_of(plan)[flag]))
            notes.append(f"{value} is set for all; {_titles(without)} would do without.")
    for name, value in sorted(environment.items()):
        without = [each for each in agreed if name not in each.plan.engine.env]
        if without:
            message = f"{name}={value} is set for all; {_titles(without)} would be faster without"
            fix = "name the cards that may be taken, as in --gpu h100,h200"
            warnings.append(Reason("cards_differ", message, fix))
    update = {
        "engine": plan.engine.model_copy(update={"env": environment}),
        "startup_budget_s": max(each.plan.startup_budget_s for each in agreed),
        "notes": tuple(notes),
        "warnings": tuple(warnings),
        "cards": tuple(options),
    }
    return plan.model_copy(update=update)


def _titles(cards: Sequence[PlannedCard]) -> str:
    named = ", ".join(each.profile.title for each in cards[:_NAMED])
    return named if len(cards) <= _NAMED else f"{named} and {len(cards) - _NAMED} others"
