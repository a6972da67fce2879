"""Is a cluster fit for services: their plans laid beside what its API server tells."""

from collections.abc import Sequence
from typing import NamedTuple

from deployctl.doctor.cluster.examine import examine
from deployctl.doctor.cluster.facts import ClaimedCards, ClusterFacts, ClusterQuestion
from deployctl.doctor.cluster.needs import Document, Needs, needs_of
from deployctl.doctor.cluster.pod_probe import probe
from deployctl.doctor.cluster.probes import gather
from deployctl.doctor.cluster.storage_checks import UNNAMED
from deployctl.doctor.facts import Check, Topic
from deployctl.engines import vllm
from deployctl.errors import DeployctlError, InputError, TargetError
from deployctl.events import Tell, silent
from deployctl.hardware import GpuProfile, load_profile
from deployctl.operations import bundle
from deployctl.operations.bundle import ChartOptions
from deployctl.operations.kinds import in_cluster, only_card
from deployctl.operations.prepare import Prepared, prepare
from deployctl.render import modelclaim
from deployctl.render.bundle import VALUES_FILE, Bundle
from deployctl.render.helm import card_values, chart, has_place, merge
from deployctl.render.yamltext import read_all, write
from deployctl.spec import ServiceSpec
from deployctl.spec.settings import Settings
from deployctl.targets import helm
from deployctl.targets.kubernetes.cluster import Cluster

_USUAL, _CLAIM = "a-usual-service", "PersistentVolumeClaim"


class ClusterRequest(NamedTuple):
    """What to examine: services, or a usual one on cards of a kind."""

    specs: Sequence[ServiceSpec] = ()
    gpu: str = "auto"
    gpus: int = 1
    chart: ChartOptions = ChartOptions()
    probe: str | None = None  # start a pod of this image; "": of the engine's


class Examined(NamedTuple):
    """What was found."""

    facts: ClusterFacts
    checks: list[Check]
    profile: GpuProfile | None


def examine_cluster(request: ClusterRequest, tell: Tell = silent) -> Examined:
    """Plans the services, asks the cluster, and judges. A plan that fails is a check that does.

    Raises:
        InputError: the profile that `gpu` names is none, the values are wrong, or the services are
            for several places.
    """
    settings = _settings(request, Settings())
    cluster = Cluster(settings, patience_s=0.0)
    failed: list[Check] = []
    prepared = [
        each for spec in request.specs if (each := _prepared(cluster, spec, settings, failed))
    ]
    if prepared:  # cards, if any service has some
        profiles = sorted((p.profile for p in prepared), key=lambda p: p.kind == "cpu")
        profile: GpuProfile | None = profiles[0]
    else:
        profile = None if request.gpu == "auto" else load_profile(request.gpu)
    needs = _needs(prepared, profile, request, cluster, failed)
    version = prepared[0].plan.engine.version if prepared else vllm.DEFAULT_VERSION
    question = ClusterQuestion(
        needs,
        profile,
        version,
        weights={each.plan.name: float(each.facts.weight_bytes or 0) for each in prepared},
        claimed=tuple(
            ClaimedCards(each.plan.name, each.plan.alternatives, each.plan.world_size)
            for each in prepared
            if each.plan.cards
        ),
        upload=any(c["metadata"]["name"].startswith(UNNAMED) for c in needs.of_kind(_CLAIM)),
        probe=request.probe is not None,
    )
    facts = gather(cluster, question)
    told = {check.title for check in failed}
    planned = [check for each in prepared if (check := _fits(each)).title not in told]
    checks = [*examine(facts, question), *planned, *failed]
    if request.probe is not None and facts.error is None:
        checks.append(probe(cluster, needs, request.probe or None, tell))
    return Examined(facts, checks, profile)


def _settings(request: ClusterRequest, settings: Settings) -> Settings:
    """With the cluster and namespace that the specs name.

    Raises:
        InputError: they name several.
    """
    if not request.specs:
        return settings
    places = {(spec.context, spec.namespace) for spec in request.specs}
    if len(places) > 1:
        raise InputError(
            "the services are for several clusters or namespaces",
            where="services",
            hint="look at those of one at a time",
        )
    said = dict(zip(("context", "namespace"), places.pop(), strict=True))
    return settings.model_copy(update={k: v for k, v in said.items() if v is not None})


def _prepared(
    cluster: Cluster, spec: ServiceSpec, settings: Settings, failed: list[Check]
) -> Prepared | None:
    it = Topic("plan", f"Plan of {spec.name or spec.model}")
    try:
        if spec.gpu == "auto":
            found = only_card(cluster, claimed=spec.claims_cards)
            spec = spec.model_copy(update={"gpu": found.name})
        return prepare(spec, among=in_cluster(spec, settings, silent))
    except DeployctlError as error:
        failed.append(it.fail(error.message, error.hint or "deployctl plan says more"))
        return None


def _fits(prepared: Prepared) -> Check:
    plan = prepared.plan
    it = Topic("plan", f"Plan of {plan.name}")
    if plan.verdict == "fits":
        cards = (
            f"{plan.world_size} × {prepared.profile.name}, " if plan.accelerator != "cpu" else ""
        )
        replicas = f"{plan.replicas} replicas" if plan.replicas > 1 else "1 replica"
        return it.good(f"{cards}{replicas}, vLLM {plan.engine.version}")
    reasons = "; ".join(reason.message for reason in plan.reasons)
    return it.fail(
        reasons or plan.verdict, plan.reasons[0].fix if plan.reasons else "deployctl plan"
    )


def _needs(
    prepared: Sequence[Prepared],
    profile: GpuProfile | None,
    request: ClusterRequest,
    cluster: Cluster,
    failed: list[Check],
) -> Needs:
    """What the services ask for; without any, what a usual one would. Helm makes the objects."""
    try:
        namespace = cluster.namespace
    except TargetError:
        namespace = "default"  # no cluster: that is told by itself
    objects: list[tuple[str, Document]] = []
    for each in prepared:
        if each.plan.verdict != "fits":
            continue
        try:
            rendered = bundle.render("kubernetes", each, _with_folder(each, request.chart))
            objects += _objects(each.plan.name, rendered.files[VALUES_FILE], namespace)
            objects += _folders_claim(each, rendered)
        except DeployctlError as error:
            it = Topic("plan", f"Plan of {each.plan.name}")
            failed.append(it.fail(error.message, error.hint or "deployctl render says more"))
    if prepared:
        return needs_of(objects, planned=True)
    usual = card_values(profile, request.gpus)
    if profile is not None and profile.kind == "cpu":
        usual["engine"] = {"image": vllm.image(vllm.DEFAULT_VERSION, "cpu")}
    text = write(merge(usual, request.chart.overrides), "")
    try:
        objects += _objects(_USUAL, text, namespace)
    except TargetError:
        return Needs()  # no helm, which is told by itself
    return needs_of(objects, planned=False)


def _with_folder(prepared: Prepared, options: ChartOptions) -> ChartOptions:
    """The options as `up` has them for a folder of this machine, but for its digest, which would
    take reading all of it.
    """
    if not prepared.plan.model_local or has_place(options.overrides.get("model") or {}):
        return options
    own = {"model": {"digest": 64 * "0"}}
    return options._replace(overrides=merge(options.overrides, own))


def _folders_claim(prepared: Prepared, rendered: Bundle) -> list[tuple[str, Document]]:
    """The claim that `up` makes for a folder."""
    values = modelclaim.brought(rendered)
    if values is None:
        return []
    size = modelclaim.claim_size(values, prepared.facts.weight_bytes or 0)
    spec: Document = {
        "accessModes": [modelclaim.access_mode(values)],
        "resources": {"requests": {"storage": size}},
    }
    if values.model.upload.storage_class:
        spec["storageClassName"] = values.model.upload.storage_class
    metadata = {"name": modelclaim.claim_name(values)}
    return [(prepared.plan.name, {"kind": _CLAIM, "metadata": metadata, "spec": spec})]


def _objects(service: str, values: str, namespace: str) -> list[tuple[str, Document]]:
    text = helm.template(chart(), values, name=service, namespace=namespace)
    return [(service, document) for document in read_all(text) if document]
