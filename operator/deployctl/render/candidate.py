"""A revision under a name and a port of its own, to be tried beside the one that serves. Pure."""

import hashlib
from typing import NamedTuple

from deployctl.planning.plan import ServingPlan
from deployctl.render.bundle import Bundle, TargetKind
from deployctl.render.caches import with_caches_of
from deployctl.render.compose import CARDS_VARIABLE, render_compose
from deployctl.render.process import render_process
from deployctl.spec import ServiceSpec

_LONGEST = 40  # of a service's name
_ENDING = "-candidate"


class Candidate(NamedTuple):
    """What would run as the service, told to run elsewhere."""

    spec: ServiceSpec
    plan: ServingPlan
    bundle: Bundle


def candidate_name(service: str) -> str:
    """The name that a service's candidate runs under; other services, other names."""
    if len(service) + len(_ENDING) <= _LONGEST:
        return service + _ENDING
    digest = hashlib.sha256(service.encode()).hexdigest()[:6]
    kept = service[: _LONGEST - len(_ENDING) - len(digest) - 1].rstrip("-")
    return f"{kept}-{digest}{_ENDING}"


def candidate(
    spec: ServiceSpec, plan: ServingPlan, kind: TargetKind, *, port: int, cards: str | None
) -> Candidate:
    """The same engine with the same flags, on loopback, at `port`, on the GPUs `cards` (None:
    whichever it gets).

    An API key that the service wants is wanted here too.

    Raises:
        PlanRefusedError: what the target refuses to render.
    """
    name = candidate_name(spec.service)
    tried = spec.model_copy(update={"name": name, "port": port, "expose": False})
    engine = plan.engine
    if cards is not None:
        engine = engine.model_copy(update={"env": {**engine.env, CARDS_VARIABLE: cards}})
    planned = plan.model_copy(update={"name": name, "engine": engine})
    if kind == "docker":
        bundle = with_caches_of(spec.service, render_compose(planned, tried))
    else:
        bundle = render_process(planned, tried)
    return Candidate(tried, planned, bundle)
