"""One set of flags for cards of several kinds: a plan for each, until all say the same. Pure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from deployctl.errors import Reason
from deployctl.hardware import GpuProfile
from deployctl.model import ModelFacts
from deployctl.planning.make import make_plan
from deployctl.planning.plan import ServingPlan
from deployctl.spec import ServiceSpec

# Flags that a plan chooses for a card, and that may be set for all: their settings.
SETTABLE = {"--kv-cache-dtype": "kv_cache_dtype", "--dtype": "dtype"}


class PlannedCard(NamedTuple):
    """A kind of card, and the plan for it."""

    profile: GpuProfile
    plan: ServingPlan

    @property
    def fits(self) -> bool:
        """Whether the plan runs."""
        return self.plan.verdict == "fits"


class CardsDifferError(Exception):
    """Flags that cannot be the same on every card; `reason` says which."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.message)
        self.reason = reason


def plan_on(
    spec: ServiceSpec, facts: ModelFacts, profile: GpuProfile, limit: int | None = None
) -> PlannedCard:
    """The plan for one kind of card, with a context of `limit` tokens at most."""
    of_it = spec.model_copy(update={"gpu": profile.name})
    return PlannedCard(profile, make_plan(of_it, facts, profile, limit=limit, advise=False))


def agree(
    spec: ServiceSpec, facts: ModelFacts, fitting: Sequence[PlannedCard]
) -> tuple[ServiceSpec, list[PlannedCard]]:
    """The same context and the same flags for all, and the spec that says so.

    Raises:
        CardsDifferError: there are none.
    """
    agreed = list(fitting)
    for _ in range(len(SETTABLE) + 1):
        common = min(each.plan.max_model_len for each in agreed)
        if any(each.plan.max_model_len != common for each in agreed):
            agreed = [plan_on(spec, facts, each.profile, common) for each in agreed]
        flag = _differing(agreed)
        if flag is None:
            return spec.model_copy(update={"max_model_len": common}), agreed
        spec = _set_for_all(spec, flag, agreed)
        before, agreed = agreed, [plan_on(spec, facts, each.profile) for each in agreed]
        lost = next((each for each in agreed if not each.fits), None)
        if lost is not None:
            raise CardsDifferError(_differ(flag, before, lost))
    raise CardsDifferError(_differ(_differing(agreed) or "", agreed, agreed[-1]))


def _differing(agreed: Sequence[PlannedCard]) -> str | None:
    """The first flag that is not the same on all."""
    flags = [flags_of(each.plan) for each in agreed]
    for name in dict.fromkeys(name for own in flags for name in own):
        if len({own.get(name) for own in flags}) > 1:
            return name
    return None


def flags_of(plan: ServingPlan) -> Mapping[str, tuple[str, ...]]:
    """The plan's flags, each with the words behind it."""
    found: dict[str, tuple[str, ...]] = {}
    name = ""
    for word in plan.engine.args:
        if word.startswith("--"):
            name = word
        found[name] = (*found.get(name, ()), *(() if word.startswith("--") else (word,)))
    return found


def _set_for_all(spec: ServiceSpec, flag: str, agreed: Sequence[PlannedCard]) -> ServiceSpec:
    values = {flags_of(each.plan).get(flag) for each in agreed} - {None}
    setting = SETTABLE.get(flag)
    if setting is None or len(values) != 1:
        raise CardsDifferError(_differ(flag, agreed, agreed[-1]))
    (value,) = values
    return spec.model_copy(update={setting: " ".join(value or ())})


def _differ(flag: str, agreed: Sequence[PlannedCard], lost: PlannedCard) -> Reason:
    """Why there is no one set of flags."""
    wants = next((e for e in agreed if flag in flags_of(e.plan)), agreed[0])
    value = " ".join((flag, *flags_of(wants.plan).get(flag, ())))
    why = lost.plan.reasons[0].message if lost.plan.reasons else "it is planned without"
    names = [each.profile.name for each in agreed if each is not wants]
    return Reason(
        "cards_differ",
        f"{wants.profile.title} is planned with {value}, which does not hold for "
        f"{lost.profile.title}: {why}",
        f"leave one of them out, as in --gpu {','.join(names[:4])}; or set {flag} yourself",
    )
