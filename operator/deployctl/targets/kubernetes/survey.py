"""All services of a namespace at once: a list a kind, however many there are. What is whole in a
list are Deployments alone, and pods where one of those is not as it should be.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

from deployctl.errors import ClusterError, TargetError
from deployctl.planning.plan import ServingPlan
from deployctl.render.bundle import Bundle
from deployctl.spec.settings import Settings
from deployctl.targets.driver import EngineState, Holding, Room, Surveyed
from deployctl.targets.kubernetes import cards, devices, held, jobs, nodes, progress, waits
from deployctl.targets.kubernetes.checkpoint import being_sent, claim
from deployctl.targets.kubernetes.cluster import (
    Cluster,
    Document,
    ForbiddenError,
    cluster_of,
)
from deployctl.targets.kubernetes.helmrelease import (
    Installed,
    deployment_of,
    is_of,
    objects_of,
    went_back,
)
from deployctl.targets.kubernetes.shelf import ClusterShelf, Headline

_OURS = "app.kubernetes.io/name=vllm"
ENGINES = f"{_OURS},app.kubernetes.io/component=engine"
_INSTANCE = "app.kubernetes.io/instance"


def of_service(service: str) -> str:
    """What selects the objects of one service's engines."""
    return f"{ENGINES},{_INSTANCE}={service}"


def all_of(service: str) -> str:
    """The same of all that is one service's, its routers among it; but for pods that pull an
    image, which end by themselves."""
    return f"{_OURS},{_INSTANCE}={service},app.kubernetes.io/component!=pull"


def look(
    cluster: Cluster,
    shelf: ClusterShelf,
    installed: Installed,
) -> list[Surveyed]:
    """Every service that has a record, by name.

    Raises:
        ClusterError: what is there cannot be listed.
    """
    path = cluster.path("apps/v1", "deployments")
    with ThreadPoolExecutor() as pool:  # the API server makes each list by itself
        listed = pool.submit(lambda: cluster.items(path, labelSelector=ENGINES))
        known = pool.submit(installed.revisions)
        headlines = shelf.headlines()
    revisions = known.result()
    deployments = {found["metadata"]["name"]: found for found in listed.result()}
    waiting = {r.service for r in headlines if _waits(r, revisions.get(r.service))}
    coming = being_sent(cluster) if waiting else {}
    states = {
        name: state_of(found, progress.Seen(True))
        for name, found in deployments.items()
        if progress.settled(found)
    }
    others = [found for name, found in deployments.items() if name not in states]
    if others:
        states |= _unsettled(cluster, others)
    return [
        _surveyed(
            list(records),
            revisions.get(service),
            states.get(service),
            ready=bool((deployments.get(service) or {}).get("status", {}).get("readyReplicas")),
            namespace=cluster.namespace,
        )._replace(coming=coming.get(service, "") if service in waiting else "")
        for service, records in groupby(headlines, key=lambda each: each.service)
    ]


def _waits(record: Headline, installed: int | None) -> bool:
    """Whether a revision was begun, and not started yet."""
    return record.status == "pending" and record.revision != installed


def _unsettled(cluster: Cluster, deployments: Iterable[Document]) -> dict[str, EngineState]:
    sets = _by_service(cluster.items(cluster.path("apps/v1", "replicasets"), labelSelector=ENGINES))
    pods = _by_service(cluster.items(cluster.path("v1", "pods"), labelSelector=ENGINES))
    every = [pod for each in pods.values() for pod in each]
    events, now = events_about(cluster, every), cluster.now()
    states = {}
    for found in deployments:
        name = found["metadata"]["name"]
        states[name] = state_of(found, progress.look(found, sets[name], pods[name], events, now))
    return states


def _by_service(documents: Iterable[Document]) -> dict[str, list[Document]]:
    found: dict[str, list[Document]] = defaultdict(list)
    for document in documents:
        found[document["metadata"]["labels"][_INSTANCE]].append(document)
    return found


def state_of(deployment: Document, seen: progress.Seen) -> EngineState:
    """A look at a Deployment, as the state of its release."""
    started = deployment["metadata"].get("creationTimestamp")
    if seen.problem is not None:
        return EngineState("dead", seen.problem.message, started=started, hint=seen.problem.hint)
    return EngineState("running", "; ".join(seen.waits), started=started, waits_for=seen.waits)


def events_about(cluster: Cluster, pods: Iterable[Document]) -> list[Document]:
    """Events of pods; and of claims, where one of these waits for a claim."""
    found = jobs.events_of(cluster, "Pod")
    if any(waits.waits_for_a_claim(pod) for pod in pods):
        found += _events_of_claims(cluster)
    return found


def _events_of_claims(cluster: Cluster) -> list[Document]:
    found = jobs.events_of(cluster, "PersistentVolumeClaim")
    try:
        claims = cluster.metadata(cluster.path("v1", "persistentvolumeclaims"))
    except TargetError:
        return found
    return waits.of_these_claims(claims, found)


def _surveyed(
    records: list[Headline],
    installed: int | None,
    state: EngineState | None,
    *,
    ready: bool,
    namespace: str,
) -> Surveyed:
    """What speaks for a service: the revision that is being brought up once it is there, else the
    one that should run, else the newest."""
    there = next((r for r in records if r.revision == installed), None) if state else None
    deployed = [r for r in records if r.status == "deployed"]
    shown = deployed[-1] if deployed else records[-1]
    if there is not None and there.status == "pending":
        shown = there
    own = state is not None and is_of(installed, shown.status, shown.revision)
    if state is not None and own and (behind := went_back(installed, shown.revision)):
        state = state._replace(detail="; ".join(filter(None, [*behind, state.detail])))
    return Surveyed(
        shown.service,
        shown.revision,
        shown.status,
        state if state is not None and own else EngineState("absent"),
        ready and own,
        message=shown.message,
        url=f"http://{shown.front}.{namespace}.svc:{shown.port}/v1",
        model=shown.model,
        gpu=shown.gpu,
    )


def reach(cluster: Cluster) -> None:
    """Asks for nothing but the namespace, before anything that takes long.

    Raises:
        ClusterError: the API server does not answer, or there is no such namespace.
    """
    name = cluster.namespace
    try:
        found = cluster.get(f"/api/v1/namespaces/{name}")
    except ForbiddenError:
        return  # whoever may work in a namespace need not be allowed to look at it
    if found is None:
        hint = f"kubectl create namespace {name}"
        raise ClusterError(f"there is no namespace {name!r}", where="--namespace", hint=hint)


def cards_told(cluster: Cluster, *, claimed: bool) -> str:
    """Which cards there are and who has them, for a person: of those by claim, or by device plugin.

    Raises:
        ClusterError: we may not look.
    """
    if claimed:
        return devices.listed(devices.offered(cluster))
    return cards.told(cluster.items("/api/v1/nodes"), cluster.items("/api/v1/pods"))


def nodes_told(cluster: Cluster, plan: ServingPlan, pods: Sequence[Document]) -> str:
    """What is to be said of nodes to pods that have none, for a person: by which taints they are
    kept away, and of cards, which there are.

    Raises:
        ClusterError: we may not look.
    """
    found = []
    tainted = next((pod for pod in pods if waits.kept_away(pod)), None)
    if tainted is not None:
        there = nodes.rooms(cluster.items("/api/v1/nodes"), ())
        found.append(nodes.kept_away(tainted["spec"], there))
    if plan.accelerator == "cuda":
        unmet = devices.unmet(cluster, plan, pods) if plan.cards else ""
        found.append(unmet or cards_told(cluster, claimed=bool(plan.cards)))
    return "; ".join(filter(None, found))


class KubernetesView:
    """Looks, and changes nothing."""

    def __init__(self, settings: Settings, *, cluster: Cluster | None = None) -> None:
        self._cluster = cluster or cluster_of(settings)
        self._shelf = ClusterShelf(self._cluster, settings.state_dir)

    def reach(self) -> None:
        """By asking for its namespace."""
        reach(self._cluster)

    def survey(self) -> list[Surveyed]:
        """Every service that has a record, by a list a kind of object."""
        return look(self._cluster, self._shelf, Installed(self._cluster))

    def kept(self, service: str) -> list[str]:
        """Its claims: of its cache, and of the checkpoints that it uses; none where we may not look
        at them."""
        cluster = self._cluster
        path = cluster.path("v1", "persistentvolumeclaims")
        try:
            caches = cluster.metadata(path, labelSelector=of_service(service))
            names = [f"claim {cache['metadata']['name']}" for cache in caches]
            return names + [claim.title(each) for each in claim.used_by(cluster, service)]
        except TargetError:
            return []

    def cards(self, *, claimed: bool = False) -> str:
        """By what the nodes offer and pods asked for, or by what is offered to claims.

        Raises:
            ClusterError: we may not look at them.
        """
        return cards_told(self._cluster, claimed=claimed)

    def room(self, plan: ServingPlan, bundle: Bundle) -> Room:
        """By what the nodes have, and pods asked for and were given; none where we may not look."""
        cluster = self._cluster
        try:
            there = nodes.rooms(cluster.items("/api/v1/nodes"), cluster.items("/api/v1/pods"))
            offer = devices.offered(cluster) if plan.cards else None
        except TargetError as error:
            return Room(False, f"the nodes cannot be looked at: {error}")
        if offer is not None:
            asked = plan.alternatives, plan.world_size
            why = devices.told(*asked, offer)
            if why is not None:
                return Room(False, why)
            givers = devices.givers(*asked, offer)
            there = [node for node in there if node.name in givers]
        wanted = deployment_of(bundle, cluster.namespace)
        return nodes.room(wanted["spec"]["template"]["spec"], there)

    def held(self, bundle: Bundle, former: Bundle | None) -> Holding:
        """The objects of the cluster, against what Helm would make of them: by the API server's own
        dry run.

        Raises:
            TargetError: there is no helm, or the API server refuses.
            InputError: the chart refuses its values.
        """
        namespace = self._cluster.namespace
        with ThreadPoolExecutor() as pool:  # helm is slow
            made = pool.submit(objects_of, former or bundle, namespace)
            wanted = (
                objects_of(bundle, namespace) if former not in (None, bundle) else made.result()
            )
            before = made.result()
        found = held.look(self._cluster, bundle.service, wanted, before)
        return Holding(
            _documents(each.now for each in found),
            _documents(each.then for each in found),
            {each.title: ", ".join(each.others) for each in found if each.others},
            {each.title: each.refused for each in found if each.refused},
        )


def _documents(documents: Iterable[Document | None]) -> str:
    return "".join(f"---\n{json.dumps(each)}\n" for each in documents if each is not None)
