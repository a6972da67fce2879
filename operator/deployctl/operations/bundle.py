"""From a plan to its files, rendered for a target."""

import re
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, get_args

from deployctl.errors import DeployctlError, InputError, PlanRefusedError, of_service
from deployctl.events import Event, Tell, silent
from deployctl.operations.prepare import Prepared, refuse_unfit
from deployctl.operations.rendered import write
from deployctl.planning.plan import ServingPlan
from deployctl.render import Bundle, render_for
from deployctl.render.bundle import VALUES_FILE, BundleKind
from deployctl.spec import ServiceSpec
from deployctl.spec.service import HOSTS, NAMESPACE_PATTERN, NAMESPACE_RULE

__all__ = [
    "ChartOptions",
    "chart_options",
    "readme",
    "render",
    "render_all",
    "render_alone",
    "write",
]

# Of these, what the target kubernetes installs is that of helm.
KINDS: tuple[BundleKind, ...] = tuple(k for k in get_args(BundleKind) if k != "kubernetes")
# What was downloaded outlives `down`, as on the other targets; `down --volumes` removes it.
_KEPT_CLAIM: dict[str, Any] = {"cache": {"annotations": {"helm.sh/resource-policy": "keep"}}}


class ChartOptions(NamedTuple):
    """What Helm values and manifests are made from besides the plan."""

    namespace: str = "vllm"  # of plain manifests
    overrides: Mapping[str, Any] = {}  # the user's values for the chart, over the plan's


def chart_options(
    kinds: Collection[str], namespace: str = "vllm", files: Sequence[Path] = ()
) -> ChartOptions:
    """Checks a namespace, and reads the user's values for the chart; a later file wins.

    Raises:
        InputError: values are given and no kind has any, or the namespace is no name.
    """
    if files and not {"helm", "kubernetes", "manifests"}.intersection(kinds):
        raise InputError(
            "only the chart has values",
            where="--values",
            hint="add --target helm, kubernetes or manifests",
        )
    if not re.fullmatch(NAMESPACE_PATTERN, namespace):
        raise InputError(
            f"{namespace!r} is no namespace",
            where="--namespace",
            hint=NAMESPACE_RULE,
        )
    merged: dict[str, Any] = {}
    if files:
        from deployctl.render.helm import merge
        from deployctl.spec.load import read_documents

        for file in files:
            for document in read_documents(file):
                merged = merge(merged, document)
    return ChartOptions(namespace, merged)


NO_VALUES = ChartOptions()
# Of an engine that is tried by itself: nobody is led to it, and nobody is waited for.
_ALONE: dict[str, Any] = {
    "replicas": 1,
    "autoscaling": {"kind": "none"},
    "router": {"enabled": False},
    "service": {"type": "ClusterIP"},
    "ingress": {"enabled": False},
    "httpRoute": {"enabled": False},
    "monitoring": {"kind": "none"},
    "alerts": {"groups": []},
    "dashboards": {"include": [], "files": {}},
    "disruptionBudget": {"enabled": False},
    "tests": {"enabled": False},
    "drain": {"preStopSeconds": 1, "gracePeriodSeconds": 30},
}


def render_alone(
    prepared: Prepared,
    options: ChartOptions,
    plan: ServingPlan,
    spec: ServiceSpec,
    *,
    cached: bool = False,
) -> Bundle:
    """Renders an engine that is tried on a cluster, by itself: a plan of the same service under
    another name. It has its service's cache where several nodes may write that (a volume of one
    node cannot be mounted twice); else none, or with `cached` one of its own.

    Raises:
        As `render`.
    """
    from deployctl.render.helm import merge

    own = options.overrides.get("cache") or {}
    shared = own.get("enabled", True) and own.get("accessMode") == "ReadWriteMany"
    claim = own.get("existingClaim") or f"{prepared.plan.name}-shared-cache"
    alone = dict(_ALONE)
    if shared:
        alone["cache"] = {"existingClaim": claim}
    elif not cached:
        alone |= {"cache": {"enabled": False}, "download": {"enabled": False}}
    overrides = merge(options.overrides, alone)
    tried = prepared._replace(plan=plan, spec=spec)
    return render("kubernetes", tried, ChartOptions(options.namespace, overrides))


def render(kind: BundleKind, prepared: Prepared, options: ChartOptions = NO_VALUES) -> Bundle:
    """Renders a plan for one kind of target.

    Raises:
        PlanRefusedError: the plan refuses, or the target cannot run it.
        InputError: what the spec wants of the target cannot be.
    """
    with of_service(prepared.spec.service):
        return _render(kind, prepared, options)


def _render(kind: BundleKind, prepared: Prepared, options: ChartOptions) -> Bundle:
    plan, spec = prepared.plan, prepared.spec
    refuse_unfit(plan)
    if kind in HOSTS and plan.cards:
        raise PlanRefusedError(
            "a claim is for cards of a cluster, and a host has the cards that it has",
            where="--gpu",
            hint="name one --gpu and no --cards, or use --target helm, kubernetes or manifests",
        )
    if kind == "docker" or kind == "process":
        return render_for(kind, plan, spec)
    from deployctl.render.helm import chart, merge, render_helm
    from deployctl.render.manifests import render_manifests

    if kind == "kubernetes":
        from deployctl.render.podsize import nodes_of

        if nodes_of(plan, prepared.profile) > 1:
            raise PlanRefusedError(
                "up does not watch a replica over several nodes",
                where="--target kubernetes",
                hint="render --target helm writes it: a LeaderWorkerSet, for helm to install",
            )
        if plan.name == "vllm":
            raise InputError(
                "a Service of that name gives pods a VLLM_PORT, which the engine cannot read",
                where="--name vllm",
                hint="choose another name",
            )
        over = merge(_of_the_target(plan, options.overrides), options.overrides)
        return render_helm(plan, spec, prepared.profile, over, target=kind)
    if kind == "helm":
        return render_helm(plan, spec, prepared.profile, options.overrides)
    from deployctl.targets import helm

    own = {"managedBy": "deployctl", **options.overrides}
    bundle = render_helm(plan, spec, prepared.profile, own)
    values = bundle.files[VALUES_FILE]
    templated = helm.template(chart(), values, name=plan.name, namespace=options.namespace)
    return render_manifests(plan, templated)


def _of_the_target(plan: ServingPlan, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Values of what the target keeps, and of the Secret that it makes: the Hub's token is beside
    the keys, if there is one."""
    if plan.model_local or (overrides.get("hubToken") or {}).get("value"):
        return _KEPT_CLAIM
    return {**_KEPT_CLAIM, "hubToken": {"existingSecret": f"{plan.name}-api-key"}}


def render_all(prepared: Prepared, options: ChartOptions, tell: Tell = silent) -> list[Bundle]:
    """Renders a plan for every kind of target; one that cannot run it is left out, and told.

    Raises:
        PlanRefusedError: the plan refuses.
    """
    refuse_unfit(prepared.plan)
    bundles = []
    with ThreadPoolExecutor(1) as aside:  # helm is another process: it runs meanwhile
        manifests = aside.submit(render, "manifests", prepared, options)
        for kind in KINDS:
            try:
                last = kind == "manifests"
                bundles.append(manifests.result() if last else render(kind, prepared, options))
            except DeployctlError as error:
                left_out = f"left out target {kind} of {prepared.plan.name}"
                tell(Event("heading", f"{left_out}: {error.message}"))
    return bundles


def readme(prepared: Prepared, bundle: Bundle) -> dict[str, str]:
    """Files that the target does not need: how to run the others, and for Prometheus."""
    if bundle.target == "docker":
        from deployctl.render.gateway import entry_of
        from deployctl.render.gatewayproject import by_hand
        from deployctl.render.monitoring import monitoring_files
        from deployctl.render.readme import compose_readme

        plan, spec = prepared.plan, prepared.spec
        wanted = entry_of(bundle)
        return {
            "README.md": compose_readme(plan, spec),
            **(by_hand(wanted) if wanted else {}),
            **monitoring_files(plan, spec),
        }
    if bundle.target in ("helm", "manifests"):
        from deployctl.render.readme import kubernetes_readme

        return {"README.md": kubernetes_readme(prepared.plan, bundle)}
    return {}
