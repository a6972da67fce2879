"""Bundle: the rendered files of one service for one target; and what every target tells the engine
besides the plan's own flags.
"""

import hashlib
import json
from typing import Literal

from pydantic import BaseModel, ConfigDict

from deployctl.errors import InputError, PlanRefusedError
from deployctl.hardware import mig_slice
from deployctl.planning.plan import ServingPlan
from deployctl.spec import ServiceSpec, TargetKind
from deployctl.spec.fleet import CARDS_VARIABLE as CARDS_VARIABLE
from deployctl.spec.fleet import named_in

BundleKind = Literal[TargetKind, "helm", "manifests"]  # of these, a driver runs a TargetKind
VALUES_FILE, CHART_FOLDER = "values.yaml", "chart"  # of a bundle of target helm
GATEWAY_FILE = "gateway.json"  # what the service wants of the gateway; no engine reads it
NOT_COMMITTED = "*\n!.gitignore\n"  # the .gitignore of a folder for secrets
EVERYWHERE, LOOPBACK = "0.0.0.0", "127.0.0.1"  # noqa: S104  only with `expose`, and then keyed


class Bundle(BaseModel):
    """Rendered files, by path inside the bundle. The same plan gives the same bytes."""

    model_config = ConfigDict(frozen=True)

    target: BundleKind
    service: str
    files: dict[str, str]

    @property
    def digest(self) -> str:
        """Names what an engine runs: with equal digests one serves on, whatever is wanted of the
        gateway before it."""
        files = {path: text for path, text in self.files.items() if path != GATEWAY_FILE}
        text = json.dumps([self.target, self.service, files], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def behind_gateway(plan: ServingPlan, spec: ServiceSpec) -> bool:
    """Whether requests come by the host's gateway: several engines have one address by it alone."""
    return spec.wants_gateway or plan.replicas > 1


def listens_on(plan: ServingPlan, spec: ServiceSpec) -> str:
    """The host's address on which an engine is reached: behind the gateway by that alone."""
    return EVERYWHERE if spec.expose and not behind_gateway(plan, spec) else LOOPBACK


def engine_arguments(plan: ServingPlan, *, model: str, host: str, port: int) -> list[str]:
    """The engine's arguments: where its model, address and port are, and the plan's flags."""
    revision = ["--revision", plan.hub_revision] if plan.hub_revision else []
    return ["--model", model, "--host", host, "--port", str(port), *revision, *plan.engine.args]


def refuse_unnamed_slice(plan: ServingPlan) -> None:
    """Raises InputError where a host's MIG slice is meant and none is named: a number of cards
    would be whole ones."""
    if mig_slice(plan.gpu) and not plan.engine.env.get(CARDS_VARIABLE):
        raise InputError(
            f"the plan is for a MIG slice ({plan.gpu}), and which one of the host is not said",
            where=f"env/{CARDS_VARIABLE}",
            hint=f"nvidia-smi -L lists them: --env {CARDS_VARIABLE}=MIG-…",
        )


def refuse_named_cards(plan: ServingPlan, target: TargetKind) -> None:
    """Refuses named cards that are not as many as a host's engines take; for processes, fewer.

    Raises:
        PlanRefusedError: says how many.
    """
    named, count = len(named_in(plan.engine.env)), plan.world_size * plan.replicas
    if plan.accelerator == "cpu" or target == "kubernetes" or named in (0, count):
        return
    if named < count or target == "docker":  # a container is given all that are named
        of = f"{plan.replicas} replicas take" if plan.replicas > 1 else "the plan uses"
        raise PlanRefusedError(
            f"{CARDS_VARIABLE} names {named} cards, and {of} {count}",
            where=f"env/{CARDS_VARIABLE}",
            hint=f"name {count}, or leave it out",
        )


def engine_environment(plan: ServingPlan) -> dict[str, str]:
    """No call home about usage, and none to the Hub for a folder on this disk, unless a flag names
    another repository."""
    offline = {} if plan.asks_the_hub else {"HF_HUB_OFFLINE": "1"}
    return {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", **offline}
