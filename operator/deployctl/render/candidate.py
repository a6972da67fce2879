"""The canary of a service: a revision under a name and a port of its own. Pure.

As a Compose project it uses the caches of the one that serves: models and compiled code.
"""

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import yaml

from deployctl.planning.plan import ServingPlan
from deployctl.render import Bundle, render_for, yamltext
from deployctl.render.bundle import CARDS_VARIABLE
from deployctl.render.compose import COMPOSE_FILE, HUB_CACHE, project_name
from deployctl.render.gateway import NO_GATEWAY
from deployctl.spec import ServiceSpec, TargetKind

_LONGEST = 40  # of a service's name
_ENDING = "-candidate"


Render = Callable[[TargetKind, ServingPlan, ServiceSpec], Bundle]


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
    spec: ServiceSpec,
    plan: ServingPlan,
    target: TargetKind,
    *,
    port: int,
    cards: str | None,
    render: Render = render_for,
) -> Candidate:
    """The same engine with the same flags, on loopback, at `port`, on the GPUs `cards` (None:
    whichever it gets); one replica of it. `render` makes the bundle of a plan.

    An API key that the service wants is wanted here too.

    Raises:
        PlanRefusedError: what the target refuses to render.
    """
    name = candidate_name(spec.service)
    tried = spec.model_copy(update={"name": name, "port": port, "expose": False, **NO_GATEWAY})
    engine = plan.engine
    if plan.accelerator == "cpu":  # beside the one that serves, whose cores it would take
        env = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", **engine.env}
        engine = engine.model_copy(update={"env": env})
    if cards is not None:
        engine = engine.model_copy(update={"env": {**engine.env, CARDS_VARIABLE: cards}})
    planned = plan.model_copy(update={"name": name, "engine": engine, "replicas": 1})
    bundle = render(target, planned, tried)
    if target == "docker":
        bundle = with_caches_of(spec.service, bundle)
    return Candidate(tried, planned, bundle)


def with_caches_of(service: str, bundle: Bundle) -> Bundle:
    """The same project on the volumes of a service: what that has downloaded is there, and what
    is downloaded now will be there for it."""
    document: dict[str, Any] = yamltext.read(bundle.files[COMPOSE_FILE])
    owner = project_name(service)
    document["volumes"] = {
        name: volume if volume.get("external") else {"name": f"{owner}_{name}", "external": True}
        for name, volume in document["volumes"].items()
    }
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    return bundle.model_copy(update={"files": {**bundle.files, COMPOSE_FILE: text}})


def borrowed(bundle: Bundle) -> list[tuple[str, str]]:
    """The project and the short name of each volume that another project owns."""
    volumes: dict[str, Any] = yamltext.read(bundle.files[COMPOSE_FILE])["volumes"]
    return [
        (str(volume["name"]).removesuffix(f"_{name}"), name)
        for name, volume in volumes.items()
        if volume.get("external")
    ]


def owner_of_caches(bundle: Bundle) -> str:
    """The project whose volumes the engine has for its caches: its own, or its service's."""
    owners = (owner for owner, name in borrowed(bundle) if name == HUB_CACHE.name)
    return next(owners, project_name(bundle.service))
