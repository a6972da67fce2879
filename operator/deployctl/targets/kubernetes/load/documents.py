"""The objects of a load: a Job for Locust's master, one for its workers, what lets them in. Pure.

The master's Job owns all the others, so that they go with it: it ends by itself where nobody asks
for its samples any more, at its deadline, and when it is removed.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from deployctl.engines.vllm import BUILT_HERE
from deployctl.targets.kubernetes import jobs, nodes
from deployctl.targets.kubernetes.cluster import OURS, Document
from deployctl.targets.loads import LoadOrder
from deployctl_loadtest.pod import FILES, LOCUST_PORT

LOAD, PART = "deployctl.io/load", "deployctl.io/load-part"  # labels: which, and what of it
MASTER, WORKERS = "master", "workers"
START_S = 600.0  # for the master to run, and again for the workers
GONE_S = 30  # from its end until the cluster removes a Job
_AFTER_S = 600  # for samples to come home
_NAME = 30  # characters of a service's name in those of its load
_USER = 10001  # of the image; any other does too
_SERVING = ("engine", "router")  # components of a service that take requests
_COMPONENT = "app.kubernetes.io/component"
# One process of Locust keeps a core busy at most. The limit is above that: throttled, it were late.
_WORKER = {
    "requests": {"cpu": "500m", "memory": "256Mi"},
    "limits": {"cpu": "2", "memory": "3Gi"},
}
_MASTER = {
    "requests": {"cpu": "100m", "memory": "128Mi"},
    "limits": {"cpu": "2", "memory": "2Gi"},
}


class ServedPods(NamedTuple):
    """A service that is to be asked, as its pods are."""

    closed: tuple[str, ...] = ()  # components that let in those alone whom a policy names
    logins: tuple[str, ...] = ()  # Secrets by which its images are pulled


def served(pods: Iterable[Document], policies: Sequence[Document]) -> ServedPods:
    """What its pods and the namespace's NetworkPolicies say; those of loads say nothing."""
    closed: set[str] = set()
    logins: dict[str, None] = {}  # in their order
    others = [each for each in policies if LOAD not in (each["metadata"].get("labels") or {})]
    for pod in pods:
        labels = pod["metadata"].get("labels") or {}
        if any(_closes(policy["spec"], labels) for policy in others):
            closed.add(labels.get(_COMPONENT, ""))
        for secret in pod.get("spec", {}).get("imagePullSecrets") or ():
            logins[secret["name"]] = None
    return ServedPods(tuple(each for each in _SERVING if each in closed), tuple(logins))


def _closes(policy: Document, labels: dict[str, str]) -> bool:
    """Whether a policy has a pod let in only whom policies name."""
    selector = policy.get("podSelector") or {}
    named = (selector.get("matchLabels") or {}).items() <= labels.items()
    rest = selector.get("matchExpressions") or ()
    incoming = "Ingress" in (policy.get("policyTypes") or ["Ingress"])
    return incoming and named and all(nodes.holds(labels, each) for each in rest)


def pods_of(service: str) -> str:
    """What selects all pods of a service."""
    return ",".join(f"{key}={value}" for key, value in _engines(service).items())


def name_of(order: LoadOrder, suffix: str) -> str:
    """The name of a load: that of its Job, Secret and policy."""
    return f"load-{order.name[:_NAME].rstrip('-.')}-{suffix}"


def selector(name: str, part: str) -> str:
    """What selects a load's pods."""
    return f"{LOAD}={name},{PART}={part}"


def master(name: str, order: LoadOrder, service: ServedPods) -> Document:
    """The Job of Locust's master, which owns all the others."""
    job = _job(name, MASTER, order, ["master"], _MASTER)
    job["spec"] |= {"backoffLimit": 0}
    return _pulled_by(job, service)


def workers(
    name: str, order: LoadOrder, owner: Document, address: str, service: ServedPods
) -> Document:
    """The Job of the workers; `address` is the master's. One that ends is not replaced: another
    could not take over what it had still to send."""
    job = _job(f"{name}-{WORKERS}", WORKERS, order, ["worker", address], _WORKER, load=name)
    job["metadata"]["ownerReferences"] = [_owned_by(owner)]
    count = order.workers
    job["spec"] |= {"completionMode": "Indexed", "completions": count, "parallelism": count}
    job["spec"]["backoffLimitPerIndex"] = 0
    pod = job["spec"]["template"]["spec"]
    pod["containers"][0]["envFrom"] = [{"secretRef": {"name": name}}]
    pod["topologySpreadConstraints"] = [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {LOAD: name, PART: WORKERS}},
        }
    ]
    if order.service:
        pod["affinity"] = {"podAntiAffinity": _not_beside(order.service)}
    return _pulled_by(job, service)


def secret(name: str, order: LoadOrder, owner: Document) -> Document:
    """The keys that the workers show."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(name, name, owner),
        "type": "Opaque",
        "stringData": dict(order.secrets),
    }


def policies(name: str, order: LoadOrder, owner: Document, service: ServedPods) -> list[Document]:
    """What lets workers reach their master and the service, whatever the namespace denies, as long
    as the load is there. Of the service only what is closed is opened: a policy closes whatever
    was open to all."""
    pods = {"podSelector": {"matchLabels": {LOAD: name}}}
    own = {
        **pods,
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [pods], "ports": [{"port": LOCUST_PORT, "protocol": "TCP"}]}],
        "egress": [{}],
    }
    found = [_policy(name, name, owner, own)]
    if order.service and service.closed:
        parts = {"key": _COMPONENT, "operator": "In", "values": list(service.closed)}
        them = {
            "podSelector": {"matchLabels": _engines(order.service), "matchExpressions": [parts]}
        }
        let_in = {**them, "policyTypes": ["Ingress"], "ingress": [{"from": [pods]}]}
        found.append(_policy(f"{name}-in", name, owner, let_in))
    return found


def _engines(service: str) -> dict[str, str]:
    """Labels of all pods of a service."""
    return {"app.kubernetes.io/name": "vllm", "app.kubernetes.io/instance": service}


def _not_beside(service: str) -> Document:
    """Rather not on a node where an engine of the service computes."""
    term = {
        "labelSelector": {"matchLabels": _engines(service)},
        "topologyKey": "kubernetes.io/hostname",
    }
    preferred = [{"weight": 100, "podAffinityTerm": term}]
    return {"preferredDuringSchedulingIgnoredDuringExecution": preferred}


def _pulled_by(job: Document, service: ServedPods) -> Document:
    """With the logins of the service: the image may be beside the engine's."""
    if service.logins:
        pod = job["spec"]["template"]["spec"]
        pod["imagePullSecrets"] = [{"name": name} for name in service.logins]
    return job


def _policy(name: str, load: str, owner: Document, spec: Document) -> Document:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(name, load, owner),
        "spec": spec,
    }


def _metadata(name: str, load: str, owner: Document) -> Document:
    return {"name": name, "labels": {**OURS, LOAD: load}, "ownerReferences": [_owned_by(owner)]}


def _owned_by(job: Document) -> Document:
    metadata = job["metadata"]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": metadata["name"],
        "uid": metadata["uid"],
    }


def _job(
    name: str,
    part: str,
    order: LoadOrder,
    words: list[str],
    resources: Document,
    *,
    load: str | None = None,
) -> Document:
    labels = {**OURS, LOAD: load or name, PART: part}
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 10,
        "securityContext": jobs.pod_security(_USER, _USER),
        "containers": [_container(part, order.image, words, resources)],
        "volumes": [{"name": "load", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "activeDeadlineSeconds": int(2 * START_S + order.lasts_s) + _AFTER_S,
            "ttlSecondsAfterFinished": GONE_S,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _container(part: str, image: str, words: list[str], resources: Document) -> Document:
    return {
        "name": part,
        "image": image,
        "imagePullPolicy": "Never" if image.startswith(BUILT_HERE) else "IfNotPresent",
        "command": ["python3", "-m", "deployctl_loadtest.pod", *words],
        "resources": resources,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": jobs.container_security(),
        "volumeMounts": [
            {"name": "load", "mountPath": FILES.rpartition("/")[0]},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  the pod's own
        ],
    }
