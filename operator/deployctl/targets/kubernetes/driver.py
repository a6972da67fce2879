"""KubernetesDriver: a release as a release of Helm. What runs is asked of the cluster."""

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Literal

from deployctl.endpoint import Endpoint
from deployctl.errors import ClusterError, TargetError
from deployctl.events import Event, Tell
from deployctl.planning.plan import ServingPlan
from deployctl.render.bundle import VALUES_FILE
from deployctl.spec import TargetKind
from deployctl.spec.settings import Settings
from deployctl.targets import helm, keys
from deployctl.targets.driver import Downloader, EngineState, Uploader
from deployctl.targets.history import Release
from deployctl.targets.holder import Check
from deployctl.targets.kubernetes import (
    beforehand,
    caches,
    devices,
    ending,
    held,
    identity,
    lease,
    leftovers,
    progress,
    pull,
    secret,
    survey,
    waits,
)
from deployctl.targets.kubernetes.checkpoint import being_sent, claim, uploader_of
from deployctl.targets.kubernetes.cluster import PATIENCE_S, Cluster, Document, cluster_of
from deployctl.targets.kubernetes.forward import Forwarder
from deployctl.targets.kubernetes.front import front_of, port_of
from deployctl.targets.kubernetes.helmrelease import (
    DIGEST,
    Installed,
    deployment_of,
    objects_of,
    on_disk,
    went_back,
)
from deployctl.targets.kubernetes.logs import lines_of
from deployctl.targets.kubernetes.shelf import REVISION, SERVICE, ClusterShelf

_RETRY_S = 2.0
_NODES_S = 10.0  # what all nodes have, and all pods, is asked for no more often


class KubernetesDriver:
    """The target `kubernetes`. Keeps nothing but the connection and the ports it forwards."""

    target: TargetKind = "kubernetes"
    gateway = None
    replaces = True
    keys_count: Literal["now", "soon"] = "soon"  # nodes bring them to pods

    def __init__(
        self,
        settings: Settings,
        *,
        cluster: Cluster | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._settings = settings
        self._cluster = cluster or cluster_of(settings)
        self._shelf = ClusterShelf(self._cluster, settings.state_dir)
        self._installed = Installed(self._cluster)
        self._environment = environment
        self._forwarders: dict[tuple[str, int], Forwarder] = {}  # by service or pod, and port
        self._still_ours: Check = lambda: None
        self._nodes_told = (-math.inf, "")  # when they were asked, and what is said

    @contextmanager
    def changing(self, service: str, command: str, tell: Tell) -> Iterator[None]:
        """Holds the service's Lease, brings the keys here as they are in the cluster, and ends the
        pulling of an image that a killed deployctl began.

        Raises:
            LockedError: somebody else changes it.
        """
        survey.reach(self._cluster)
        with lease.held(self._cluster, service, command) as self._still_ours:
            self.learn_keys(service)
            with suppress(TargetError):  # its pods end by themselves too
                pull.Puller(self._cluster).clear(service)
            yield

    def take_over(self, service: str, command: str, tell: Tell) -> None:
        """Nothing: a service is the namespace's, and so whoever's works in it."""

    def preflight(self, release: Release, replacing: Release | None) -> None:
        """Refuses a name that is another's, claims that do not do, and replicas that would go.

        Raises:
            ClusterError: a Helm release of that name is not ours, a claim is not there or not for
                so many replicas, or Helm 3 is to hand replicas to an autoscaler.
        """
        found = self._installed.newest(release.service)
        if found is not None and DIGEST not in found:
            raise ClusterError(
                f"there is a Helm release {release.service!r} that deployctl did not install",
                where=f"namespace {self._cluster.namespace}",
                hint="choose another name with --name, or `helm uninstall` it first",
            )
        made, wanted = self._made(release)
        beforehand.refuse_to_lose_replicas(self._cluster, wanted)
        if uploader_of(self._cluster, release) is None:  # which makes the claim itself
            beforehand.refuse_claims(self._cluster, made, wanted)

    def fetch(self, release: Release, tell: Tell) -> None:
        """Says what the change will be like, and has the nodes of the former pods pull another
        image, where those end before the new ones begin.

        Raises:
            ClusterError: it cannot be pulled; what serves was not touched.
        """
        cluster, service = self._cluster, release.service
        cluster.tell = tell
        former = cluster.get(cluster.path("apps/v1", "deployments", service))
        if former is None:
            return
        made, wanted = self._made(release)
        for event in beforehand.changes(cluster, made, wanted, former):
            tell(event)
        nodes = pull.nodes_for(wanted, former, self._pods(service))
        if nodes:
            pull.Puller(cluster).pull(wanted, nodes, tell)

    def downloader(self, release: Release) -> Downloader | None:
        """None: the engine, or the chart's Job, downloads onto the claim."""
        return None

    def uploader(self, release: Release) -> Uploader | None:
        """What sends the checkpoint to the claim that the release's values name after it."""
        return uploader_of(self._cluster, release)

    def start(self, release: Release, tell: Tell, *, serves: Release | None = None) -> None:
        """Has Helm install it, or take the former to it; the cluster replaces the pods. What a
        release left that was begun meanwhile goes with the former.

        Raises:
            LockedError: the lock was lost meanwhile, and somebody else changes the service.
            TargetError: there is no helm, or it or the cluster refuses.
        """
        cluster, service = self._cluster, release.service
        cluster.tell = tell
        self._still_ours()
        self._publish(release)
        uploader = uploader_of(cluster, release)
        if uploader is not None:
            uploader.begin_use(tell)
        left = leftovers.find(cluster, self._shelf, service, release.bundle)
        labels = {SERVICE: service, REVISION: str(release.revision), DIGEST: release.bundle.digest}
        beforehand.keep_replicas(cluster, self._made(release)[1])
        tell(Event("note", f"helm upgrade in namespace {cluster.namespace}"))
        values = release.bundle.files[VALUES_FILE]

        def upgrade() -> None:
            self._installed.forget_unfinished(service)
            helm.upgrade(folder, values, name=service, where=self._where(), labels=labels)

        with on_disk(release.bundle) as folder:
            self._ride(upgrade, tell)
        held.remove(cluster, service, left)
        claim.release_of_old(cluster, service, self._shelf.numbers(service), tell)

    def stop(self, release: Release, tell: Tell) -> None:
        """Uninstalls it and waits until its pods are gone, or will not go by themselves; a later
        release is left alone."""
        cluster, service = self._cluster, release.service
        if self._installed.of(release) is not None:
            left = leftovers.find(cluster, self._shelf, service, None)
            tell(Event("note", f"helm uninstall in namespace {cluster.namespace}"))
            self._ride(lambda: helm.uninstall(service, self._where()), tell)
            held.remove(cluster, service, left)
            ending.wait(cluster, survey.all_of(service), tell)
            caches.remove_empty(cluster, service, tell)
        pull.Puller(cluster).clear(service)

    def changing_keys(self, service: str) -> AbstractContextManager[None]:
        """Nothing: of two that change the Secret at once, the later counts."""
        return nullcontext()

    def publish_keys(self, release: Release) -> None:
        """Writes the Secret; the nodes bring it to the pods within a minute or so."""
        self._publish(release)

    def learn_keys(self, service: str) -> None:
        """Brings the keys here as they are in the cluster, where others change them too.

        Raises:
            StateError: they cannot be written here.
        """
        folder = self._shelf.folder(service)
        secret.learn(self._cluster, service, folder, self._shelf.keyless_since)

    def close_door(self, release: Release) -> bool:
        """False: a pod that ends closes its own."""
        return False

    def state(self, release: Release) -> EngineState:
        """Asks the cluster how far the rollout of this release is."""
        installed = self._installed.of(release)
        if installed is None:
            return EngineState("absent", waits_for=self._before_it_starts(release))
        cluster, service = self._cluster, release.service
        deployment = cluster.get(cluster.path("apps/v1", "deployments", service))
        if deployment is None:
            return EngineState("absent")
        behind = went_back(installed, release.revision)
        settled = progress.settled(deployment)
        if settled and not release.plan.cards:
            return survey.state_of(deployment, progress.Seen(True, behind))
        pods = cluster.items(cluster.path("v1", "pods"), labelSelector=survey.of_service(service))
        seen = progress.Seen(True) if settled else self._seen(release, deployment, pods)
        seen = seen._replace(waits=(*behind, *seen.waits))
        given = devices.given_to(cluster, release.plan, pods)
        return survey.state_of(deployment, seen)._replace(cards=given)

    def logs(self, release: Release, *, tail: int | None, follow: bool) -> Iterator[str]:
        """The logs of the release's pods; of several, each line behind its pod's name."""
        yield from lines_of(self._cluster, self._pods(release.service), tail=tail, follow=follow)

    def endpoint(self, release: Release) -> Endpoint:
        """A port of this machine that leads to the ready pods in turn.

        Raises:
            ForbiddenError: nobody may open one there as we are.
        """
        service, port = release.service, port_of(release.bundle, "engine")
        self.learn_keys(service)
        forwarder = self._forwarder(service, lambda: self._ready(service), port)
        if forwarder.refused is not None:
            raise forwarder.refused
        outer = port_of(release.bundle, "service")
        folder = self._shelf.folder(service)
        return Endpoint(
            f"http://127.0.0.1:{forwarder.port}",
            release.plan.served_model_name,
            keys.read_key(folder / keys.API_KEY),
            operator_token=keys.read_key(folder / keys.OPERATOR_TOKEN),
            inside=f"http://{front_of(release.bundle)}.{self._cluster.namespace}.svc:{outer}",
        )

    def engines(self, release: Release) -> list[Endpoint]:
        """A port of this machine for each ready pod."""
        whole, port = self.endpoint(release), port_of(release.bundle, "engine")
        pods = self._ready(release.service)
        ways = [self._forwarder(pod, lambda pod=pod: [pod], port) for pod in pods]  # type: ignore[misc]
        return [whole._replace(url=f"http://127.0.0.1:{way.port}") for way in ways]

    def purge(self, service: str, tell: Tell, *, heir: str | None = None) -> None:
        """Removes the claims and the Secret of the service; a checkpoint's with its last user."""
        cluster = self._cluster
        if heir is None:
            self._shelf.mark_keyless(service)
            claim.release(cluster, service, tell)
        else:
            newest = max(self._shelf.numbers(heir), default=0)
            claim.hand_over(cluster, service, heir, newest, tell)
        caches.remove(cluster, service, tell)
        cluster.delete(cluster.path("v1", "secrets", secret.name(service)))

    def log_path(self, release: Release) -> Path | None:
        """None: logs are in the cluster."""
        return None

    # The parts.

    def _ride(self, work: Callable[[], None], tell: Tell) -> None:
        """Has Helm work, and again where the API server was away meanwhile: for longer than a lock
        lasts, so that it may be another's by now."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            self._still_ours()
            try:
                return work()
            except helm.AwayError as error:
                if time.monotonic() > deadline:
                    raise
                tell(Event("phase", f"waiting: {error.message}"))
                time.sleep(_RETRY_S)
                self._installed.newest("")  # answers once the API server does

    def _made(self, release: Release) -> tuple[list[Document], Document]:
        """The objects of a release, and among them its engine's Deployment."""
        made = objects_of(release.bundle, self._cluster.namespace)
        return made, deployment_of(release.bundle, self._cluster.namespace)

    def _forwarder(self, name: str, pods: Callable[[], list[str]], port: int) -> Forwarder:
        if (name, port) not in self._forwarders:
            self._forwarders[name, port] = Forwarder(self._cluster, pods, port)
        return self._forwarders[name, port]

    def _before_it_starts(self, release: Release) -> tuple[str, ...]:
        if release.status != "pending" or uploader_of(self._cluster, release) is None:
            return ()
        sent = being_sent(self._cluster).get(release.service)
        return (sent,) if sent else ()

    def _where(self) -> list[str]:
        words = ["--namespace", self._cluster.namespace]
        if self._cluster.context:
            words += ["--kube-context", self._cluster.context]
        settings = self._settings
        return words + identity.flags(settings.impersonate, settings.impersonate_groups)

    def _publish(self, release: Release) -> None:
        folder = self._shelf.folder(release.service)
        secret.publish(self._cluster, release, folder, self._environment)

    def _pods(self, service: str) -> list[Document]:
        """The pods of the newest revision, oldest first; all, where it has none."""
        cluster = self._cluster
        pods = cluster.items(cluster.path("v1", "pods"), labelSelector=survey.of_service(service))
        newest = progress.newest_hash(pods)
        own = [p for p in pods if p["metadata"]["labels"].get(progress.HASH) == newest]
        return [p for p in own if "deletionTimestamp" not in p["metadata"]] or own

    def _ready(self, service: str) -> list[str]:
        return [p["metadata"]["name"] for p in self._pods(service) if progress.ready(p)]

    def _seen(self, release: Release, deployment: Document, pods: list[Document]) -> progress.Seen:
        cluster, selector = self._cluster, survey.of_service(release.service)
        return progress.look(
            deployment,
            cluster.items(cluster.path("apps/v1", "replicasets"), labelSelector=selector),
            pods,
            survey.events_about(cluster, pods),
            cluster.now(),
            cards=self._nodes_for(release.plan, pods),
        )

    def _nodes_for(self, plan: ServingPlan, pods: list[Document]) -> str:
        """What is to be said of nodes to pods that have none; "" where we may not look at nodes."""
        if not any(map(waits.unscheduled, pods)):
            return ""
        asked, told = self._nodes_told
        if time.monotonic() - asked > _NODES_S:
            with suppress(TargetError):
                told = survey.nodes_told(self._cluster, plan, pods)
            self._nodes_told = time.monotonic(), told
        return told
