"""ServingPlan -> the bundle of target `helm`: the chart, and the values that say this plan.

The chart travels in the bundle, so that a folder in git is all that Argo CD, Flux or `helm`
needs, and a later deployctl does not change what an earlier one rendered.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from deployctl import assets
from deployctl.engines.vllm import routes
from deployctl.engines.vllm.versions import at_least
from deployctl.errors import InputError, PlanRefusedError, SpecError
from deployctl.hardware import GpuProfile
from deployctl.planning.plan import ServingPlan
from deployctl.promql import LabelMatcher
from deployctl.render import gatewayrefusals, yamltext
from deployctl.render.alerting import Objectives, Scope, host_groups, rule_groups
from deployctl.render.bundle import CARDS_VARIABLE, CHART_FOLDER, VALUES_FILE, Bundle
from deployctl.render.dashboards import FOLDER, dashboards
from deployctl.render.door import body_limits, traces
from deployctl.render.modelclaim import claim_name
from deployctl.render.podsize import SEVERAL_NODES, cache, nodes_of, resources
from deployctl.render.values import Values
from deployctl.render.values.refusals import refusals
from deployctl.spec import ServiceSpec
from deployctl.spec.collector import collector
from deployctl.spec.load import complaint

# Written even if it is the chart's default: a newer chart must not change what runs.
_SAID = {"engine.version", "engine.image", "engine.args", "model.id", "gpu.count"}


def render_helm(
    plan: ServingPlan,
    spec: ServiceSpec,
    profile: GpuProfile,
    overrides: Mapping[str, Any] | None = None,
    *,
    target: Literal["helm", "kubernetes"] = "helm",
) -> Bundle:
    """Renders the chart and its values. `overrides` are values of the user's own, and win.

    Raises:
        PlanRefusedError: a stage of a replica wants more cards than a node has, or the release
            does not serve over several nodes.
        InputError: the checkpoint is a folder of this machine, or the environment names cards.
        SpecError: an override is no value of the chart, or a wrong one; `where` says which.
    """
    gatewayrefusals.refuse(spec)
    document = helm_values(plan, spec, profile, overrides)
    comment = (
        f"Values of deployctl's chart for the service {plan.name}: what differs from its own.\n"
        "Change the service's spec and render again rather than editing this file."
    )
    folder = chart()
    files = {
        f"{CHART_FOLDER}/{path.relative_to(folder).as_posix()}": path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    boards = dashboards(plan.engine.version, _speculates(plan))
    files |= {f"{CHART_FOLDER}/files/{FOLDER}/{name}": text for name, text in boards.items()}
    return Bundle(
        target=target,
        service=plan.name,
        files={VALUES_FILE: yamltext.write(document, comment), **files},
    )


def chart() -> Path:
    """Where the chart is, in a wheel or in a checkout."""
    return assets.path("charts", "vllm")


def helm_values(
    plan: ServingPlan,
    spec: ServiceSpec,
    profile: GpuProfile,
    overrides: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The values of a plan that differ from the chart's own; raises as `render_helm` does."""
    if spec.watchdog:
        raise InputError(
            "on Kubernetes the kubelet looks after engines, and no watchdog of ours",
            where="watchdog",
            hint="leave it out; the value probes.stallSeconds says how long one may stand still",
        )
    _refuse_impossible_pod(plan, profile)
    merged = merge(_of_plan(plan, spec, profile), overrides or {})
    values = _validated(merged)
    if plan.model_local and not has_place(merged["model"]):
        if not values.model.digest:
            raise InputError(
                "the checkpoint is a folder of this machine, which no node of a cluster sees",
                where="model",
                hint="up --target kubernetes brings it onto a claim; or give a Hub id, or name "
                "what holds the folder's files with --values: model: {claim: NAME}, {image: OCI "
                "IMAGE}, or on a laptop's cluster {hostPath: FOLDER}",
            )
        merged = merge(merged, {"model": {"claim": claim_name(values)}})
        values = _validated(merged)
    _refuse_together(values)
    if values.monitoring.kind != "none" and not values.alerts.groups:
        values = _validated(merge(merged, {"alerts": {"groups": _alerts(plan, values)}}))
    full, default = (v.model_dump(mode="json", by_alias=True) for v in (values, Values()))
    return _difference(full, default)


def has_place(model: Mapping[str, Any]) -> bool:
    """Whether the values of a model say where a cluster has it, beside the Hub."""
    return any(model.get(place) for place in ("claim", "image", "hostPath"))


def _refuse_together(values: Values) -> None:
    """Raises SpecError for values that do not fit together: all of them, as the chart would."""
    refused = refusals(values)
    if len(refused) == 1:
        [only] = refused
        where = "values: " + only.path.replace(".", "/")
        raise SpecError(only.message, where=where, hint=only.hint or None)
    if refused:
        raise SpecError(
            f"the values are refused for {len(refused)} reasons:"
            + "".join(f"\n  {refusal}" for refusal in refused),
            where="values",
        )


def _refuse_impossible_pod(plan: ServingPlan, profile: GpuProfile) -> None:
    world = plan.world_size
    if plan.accelerator == "cuda" and plan.tensor_parallel_size > profile.max_per_host:
        raise PlanRefusedError(
            f"one replica uses {world} cards, and a node holds {profile.max_per_host} of "
            f"{profile.title}",
            where="gpus",
            hint="a node has a whole number of stages: use --tensor-parallel-size "
            f"{profile.max_per_host} or less, with --pipeline-parallel-size for more nodes",
        )
    if nodes_of(plan, profile) > 1 and not at_least(plan.engine.version, SEVERAL_NODES):
        raise PlanRefusedError(
            f"vLLM {plan.engine.version} serves over several nodes with Ray alone, which this "
            "chart does not start",
            where="engine_version",
            hint=f"use --engine-version {SEVERAL_NODES} or newer",
        )
    if CARDS_VARIABLE in plan.engine.env:
        raise InputError(
            f"{CARDS_VARIABLE} names GPUs of one host, and Kubernetes assigns its own",
            where=f"env/{CARDS_VARIABLE}",
            hint="leave it out; scheduling.nodeSelector chooses nodes",
        )


def _of_plan(plan: ServingPlan, spec: ServiceSpec, profile: GpuProfile) -> dict[str, Any]:
    cuda, nodes = plan.accelerator == "cuda", nodes_of(plan, profile)
    values: dict[str, Any] = {
        "name": plan.name,
        "replicas": plan.replicas,
        "engine": {
            "version": plan.engine.version,
            "image": plan.engine.image,
            "args": list(plan.engine.args),
            "env": dict(sorted(plan.engine.env.items())),
        },
        "model": {
            "id": plan.name if plan.model_local else plan.model,
            "revision": plan.hub_revision or "",
        },
        "door": _door(plan, spec),
        "gpu": {"count": plan.world_size // nodes if cuda else 0},
        "group": {"size": nodes},
        "resources": resources(plan, nodes),
        "cache": cache(plan),
        "probes": {"startupSeconds": max(30, spec.startup_timeout or plan.startup_budget_s)},
        "service": {"port": spec.port},
    }
    if spec.routing == "prefix":
        values["router"] = {"enabled": True}  # whose own policy that is
    if (to := collector(spec.otlp_traces_endpoint)) is not None:
        values["networkPolicy"] = {"egress": {"tracesPort": to.port}}
    if plan.cards:
        values["gpu"] |= _claim(plan)
    elif profile.slice:  # as NVIDIA's device plugin names it, with its strategy `mixed`
        values["gpu"]["resource"] = f"nvidia.com/mig-{profile.slice}"
    if cuda:
        values["scheduling"] = _scheduling(profile, by_label=not plan.cards)
    else:
        values["scheduling"] = {"tolerations": []}
        values["security"] = {"readOnlyRootFilesystem": True}
    return values


def _door(plan: ServingPlan, spec: ServiceSpec) -> dict[str, Any]:
    """What the door before the engine lets in: the routes of the model's task, and how much."""
    access = routes.access(plan.engine.version, plan.engine.tasks)
    # The values have another name for n, which YAML 1.1 reads as false.
    limits = {"choices" if n == "n" else n: most for n, most in body_limits(spec).items()}
    return {
        "routes": {"user": list(access.user), "operator": list(access.operator)},
        "requestLog": spec.request_log,
        "tellRequestId": traces(plan),
        "limits": limits,
    }


def _speculates(plan: ServingPlan) -> bool:
    return "--speculative-config" in plan.engine.args


def _alerts(plan: ServingPlan, values: Values) -> list[dict[str, Any]]:
    """Rules of the service for a cluster that has a Prometheus; the chart knows the namespace."""
    ours = (LabelMatcher("", "=", "$service_series"),)
    scope = Scope(
        plan.name,
        plan.engine.version,
        ours,
        namespace="$service_namespace",
        replicas=values.replicas,
        interval_s=values.monitoring.interval_seconds,
        speculates=_speculates(plan),
        startup_s=values.probes.startup_seconds,
        runbooks=values.alerts.runbooks.rstrip("/") or "docs/runbooks",
    )
    said = values.alerts.objectives
    wanted = Objectives(
        said.availability or None,
        said.share,
        said.ttft_seconds or None,
        said.itl_seconds or None,
        said.e2e_seconds or None,
    )
    groups = rule_groups(scope, wanted)
    if values.alerts.machines:
        groups += host_groups(replace(scope, service="", matchers=(), namespace=""))
    return groups


def card_values(profile: GpuProfile | None, count: int) -> dict[str, Any]:
    """The values that say cards alone, of a service of which nothing else is known."""
    if profile is not None and profile.kind == "cpu":
        return {"gpu": {"count": 0}, "scheduling": {"tolerations": []}}
    values: dict[str, Any] = {"gpu": {"count": count}}
    if profile is not None:
        values["scheduling"] = _scheduling(profile, by_label=True)
        if profile.slice:
            values["gpu"]["resource"] = f"nvidia.com/mig-{profile.slice}"
    return values


def _claim(plan: ServingPlan) -> dict[str, Any]:
    """What the pods' claims ask for."""
    cards = [
        {
            "name": card.gpu.replace(".", "-").replace(":", "-"),
            "products": list(card.products),
            "memory": f"{card.memory_mib}Mi",
            "leastCapability": card.least_capability,
            "mostCapability": card.most_capability,
            "slice": card.slice or "",
        }
        for card in plan.alternatives
    ]
    kind = "mig" if plan.alternatives[0].slice else "gpu"
    return {"allocation": "claim", "deviceClass": f"{kind}.nvidia.com", "cards": cards}


def _scheduling(profile: GpuProfile, *, by_label: bool) -> dict[str, Any]:
    """Nodes with the card, where labels say which, and what it takes to be put on them."""
    nodes = [profile.node_selector, profile.node_selector_gke] if by_label else []
    own = [
        {
            "key": toleration.key,
            "operator": "Exists" if toleration.value is None else "Equal",
            "value": toleration.value or "",
            "effect": toleration.effect,
        }
        for toleration in profile.tolerations
    ]
    usual = Values().model_dump(mode="json", by_alias=True)["scheduling"]["tolerations"]
    return {
        "gpuNodes": [dict(labels) for labels in nodes if labels],
        "tolerations": usual + own,
        "runtimeClassName": (profile.runtime_class if by_label else "") or "",
    }


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """As Helm merges: maps by key, everything else whole."""
    out = dict(base)
    for key, value in over.items():
        old = out.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        out[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return out


def _validated(document: dict[str, Any]) -> Values:
    try:
        return Values.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        raise SpecError(
            complaint(first, "value"),
            where="values: " + "/".join(str(part) for part in first["loc"]),
            hint="docs/reference/values.md, and chart/values.yaml in a rendered folder, say what "
            "each value takes",
        ) from error


def _difference(
    value: Mapping[str, Any], default: Mapping[str, Any], path: str = ""
) -> dict[str, Any]:
    """What must be said over the defaults; null takes a key of theirs away, as Helm reads it."""
    out: dict[str, Any] = {}
    for key, item in value.items():
        old = default.get(key)
        if isinstance(item, Mapping) and isinstance(old, Mapping):
            inner = _difference(item, old, f"{path}{key}.")
            if inner:
                out[key] = inner
        elif key not in default or item != old or path + key in _SAID:
            out[key] = item
    out.update({key: None for key in default if key not in value})
    return out
