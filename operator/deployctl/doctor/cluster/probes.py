"""Asks a cluster's API server everything at once, so that the slowest answer is the whole wait.

What the user may not see, or the API server does not answer, is left untold, with the reason.
"""

import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from deployctl.doctor.cluster.access import all_rights, review
from deployctl.doctor.cluster.facts import ClusterFacts, ClusterQuestion, Document, Right
from deployctl.doctor.cluster.needs import PodNeed, named_secrets
from deployctl.doctor.shell import Run, run
from deployctl.errors import TargetError
from deployctl.targets.kubernetes.cluster import Cluster, ForbiddenError

_CANNOT = re.compile(r'cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)"')
_AT_ONCE = 16  # of questions; the API server's own limit for a user is higher
_LIVE = "status.phase!=Succeeded,status.phase!=Failed"


def gather(cluster: Cluster, question: ClusterQuestion, *, run: Run = run) -> ClusterFacts:
    """Fills ClusterFacts; of a cluster that cannot be asked, why."""
    helm, namespace = _helm(run), ""
    try:
        namespace = cluster.namespace  # known without a cluster, if it was named
        context = cluster.context
        version = str((cluster.get("/version") or {}).get("gitVersion", ""))
    except TargetError as error:
        hint = error.hint or ""
        why = f"{error.message} ({error.where})"
        return ClusterFacts(namespace, error=why, hint=hint, helm=helm)
    jobs = _jobs(cluster, question)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        rights = {right: pool.submit(_may, cluster, right) for right in all_rights()}
        running = {name: pool.submit(_asked, job) for name, job in jobs.items()}
        answers: dict[str, Any] = {name: future.result() for name, future in running.items()}
        allowed = {right: future.result() for right, future in rights.items()}
    untold = {name: answer.why for name, answer in answers.items() if isinstance(answer, _Untold)}
    told = {name: answer for name, answer in answers.items() if name not in untold}
    reasons = [answer.why for answer in allowed.values() if isinstance(answer, _Untold)]
    if reasons:
        untold["rights"] = reasons[0]
    user, groups = told.pop("user", (None, ()))
    return ClusterFacts(
        cluster.namespace,
        context=context,
        version=version or None,
        helm=helm,
        user=user,
        groups=groups,
        rights={right: may for right, may in allowed.items() if isinstance(may, bool)},
        untold=untold,
        **told,
    )


class _Untold:
    """In place of an answer."""

    def __init__(self, why: str) -> None:
        self.why = why


def _asked(job: Callable[[], Any]) -> Any:
    try:
        return job()
    except ForbiddenError as error:
        return _Untold(_short(error.message))
    except TargetError as error:
        return _Untold(error.message)


def _short(message: str) -> str:
    """`this user may not list nodes`, of the API server's long sentence."""
    said = _CANNOT.search(message)
    return f"this user may not {said['verb']} {said['resource']}" if said else message


def _jobs(cluster: Cluster, question: ClusterQuestion) -> dict[str, Callable[[], Any]]:
    here = cluster.path
    jobs: dict[str, Callable[[], Any]] = {
        "user": partial(_user, cluster),
        "clock_skew_s": cluster.clock_skew_s,
        "namespace_object": lambda: cluster.get(f"/api/v1/namespaces/{cluster.namespace}"),
        "namespace_there": partial(_there, cluster),
        "apis": partial(_apis, cluster),
        "definitions": lambda: cluster.metadata(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        ),
        "nodes": lambda: cluster.items("/api/v1/nodes"),
        "pods": lambda: cluster.items("/api/v1/pods", fieldSelector=_LIVE),
        "storage_classes": lambda: cluster.items("/apis/storage.k8s.io/v1/storageclasses"),
        "volumes": lambda: cluster.items("/api/v1/persistentvolumes"),
        "claims": lambda: cluster.items(here("v1", "persistentvolumeclaims")),
        "quotas": lambda: cluster.items(here("v1", "resourcequotas")),
        "limit_ranges": lambda: cluster.items(here("v1", "limitranges")),
        "events": lambda: cluster.items(here("v1", "events")),
        "runtime_classes": lambda: cluster.items("/apis/node.k8s.io/v1/runtimeclasses"),
        "daemon_sets": lambda: cluster.items("/apis/apps/v1/daemonsets"),
        "slices": lambda: cluster.items("/apis/resource.k8s.io/v1/resourceslices"),
        "device_classes": lambda: cluster.items("/apis/resource.k8s.io/v1/deviceclasses"),
        "device_claims": lambda: cluster.items("/apis/resource.k8s.io/v1/resourceclaims"),
    }
    if named_secrets(question.needs):
        jobs["secrets"] = lambda: frozenset(
            found["metadata"]["name"] for found in cluster.metadata(here("v1", "secrets"))
        )
    if question.needs.planned:
        jobs["admission"] = partial(_admission, cluster, question.needs.pods)
    return jobs


def _may(cluster: Cluster, right: Right) -> bool | _Untold:
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    answer = _asked(lambda: cluster.create(path, review(right, cluster.namespace)))
    if isinstance(answer, _Untold):
        return answer
    return bool(answer["status"].get("allowed"))


def _user(cluster: Cluster) -> tuple[str | None, tuple[str, ...]]:
    document = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    info = (cluster.create(path, document).get("status") or {}).get("userInfo") or {}
    return info.get("username"), tuple(info.get("groups") or ())


def _there(cluster: Cluster) -> bool | None:
    """Whether the namespace exists, for those who may not look at it: in each there is this map."""
    try:
        return cluster.get(f"/api/v1/namespaces/{cluster.namespace}") is not None
    except ForbiddenError:
        known = cluster.get(cluster.path("v1", "configmaps", "kube-root-ca.crt"))
        return True if known is not None else None


def _apis(cluster: Cluster) -> Mapping[str, tuple[str, ...]]:
    groups = (cluster.get("/apis") or {}).get("groups") or ()
    return {g["name"]: tuple(v["version"] for v in g.get("versions") or ()) for g in groups}


def _admission(cluster: Cluster, pods: tuple[PodNeed, ...]) -> dict[str, str]:
    """What admission says of a pod of each service, by asking for it on trial.

    Where the user may not make pods themselves, nothing is said.
    """
    refused: dict[str, str] = {}
    path = cluster.path("v1", "pods")
    for pod in pods:
        spec: Document = {k: v for k, v in pod.spec.items() if k != "serviceAccountName"}
        metadata = {"name": f"deployctl-doctor-{pod.name}"[:63], "namespace": cluster.namespace}
        document = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        try:
            cluster.create(path, document, dryRun="All")
        except TargetError as error:
            # We may not make pods, or a webhook takes no trial: that says nothing.
            if not any(words in error.message for words in ("cannot create resource", "dry run")):
                refused[pod.name] = error.message.partition("): ")[2] or error.message
    return refused


def _helm(run: Run) -> str | None:
    """The version of the helm command; "" where there is one that does not say."""
    answer = run(["helm", "version", "--short"], 10)
    if answer.code is None:
        return None
    return answer.out.strip().lstrip("v").partition("+")[0] if answer.code == 0 else ""
