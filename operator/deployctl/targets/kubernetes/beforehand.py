"""What would keep a rollout from ending, or takes a service down for a while, told before anything
is changed: claims that one node has, and whether there is room for a pod more.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deployctl.errors import ClusterError, TargetError
from deployctl.events import Event
from deployctl.targets import helm
from deployctl.targets.kubernetes import nodes
from deployctl.targets.kubernetes.cluster import Cluster, Document
from deployctl.targets.kubernetes.nodes import NodeRoom

_MANY = {"ReadWriteMany", "ReadOnlyMany"}
_KIND = "persistentvolumeclaims"


def refuse_claims(cluster: Cluster, made: Sequence[Document], deployment: Document) -> None:
    """Refuses a claim of the user's own that is not there, or that one node has while no node has
    room for all pods. `made`: all objects of the release. Says nothing where we may not look.

    Raises:
        ClusterError: says which claim, and why.
    """
    count, pod = _replicas(deployment), deployment["spec"]["template"]["spec"]
    for name in _named(made, pod):
        try:
            claim = cluster.get(cluster.path("v1", _KIND, name))
        except TargetError:
            continue
        if claim is None:
            raise ClusterError(
                f"there is no claim {name}",
                where=f"namespace {cluster.namespace}",
                hint="make it first, or name another in --values",
            )
        mode = _one_node(claim)
        if mode is None or count == 1:
            continue
        fits = 1 if mode == "ReadWriteOncePod" else _fits_one_node(cluster, deployment)
        if fits is not None and fits < count:
            raise ClusterError(
                f"claim {name} is {mode}, and {count} replicas are not on one node: none has room "
                f"for more than {fits}",
                where="values: replicas",
                hint="a claim that many nodes have (ReadWriteMany, ReadOnlyMany), fewer replicas, "
                "or for a model an image (model: {image: IMAGE})",
            )


def _fits_one_node(cluster: Cluster, deployment: Document) -> int | None:
    """How many of its pods the roomiest node takes once the former ones are gone; None where we may
    not look."""
    count, pod = _replicas(deployment), deployment["spec"]["template"]["spec"]
    try:
        there = _rooms(cluster, without=deployment["spec"]["selector"]["matchLabels"])
    except TargetError:
        return None
    return max((_fit(node, pod, count) for node in there), default=0)


def changes(
    cluster: Cluster, made: Sequence[Document], wanted: Document, former: Document
) -> Iterator[Event]:
    """What a change of a Deployment will be like, where that is worth a word; `former` as the
    cluster has it."""
    count, pod = _replicas(wanted), wanted["spec"]["template"]["spec"]
    try:
        if count > 1:
            yield from _shared(cluster, _named(made, pod), count)
        if _within(wanted["spec"]["template"], former["spec"]["template"]):
            return
        room = nodes.room(pod, _rooms(cluster))
    except TargetError:  # where we may not look, the rollout itself will tell
        return
    surge, fewer = (_share(wanted, key, count) for key in ("maxSurge", "maxUnavailable"))
    if surge and not fewer and not room.free:
        text = f"rollout.maxSurge is {surge}, and {room.why}: a new pod waits until there is"
        hint = "rollout: {maxSurge: 0, maxUnavailable: 1} in --values takes the old one's cards"
        yield Event("warning", f"{text}; {hint}")
    elif count == 1 and not surge:
        hint = "; rollout: {maxSurge: 1, maxUnavailable: 0} in --values would start that first"
        why = f"{hint}, for {room.why}" if room.free else f": {room.why}"
        yield Event("warning", f"the only pod ends before the new one serves{why}")


def _shared(cluster: Cluster, claims: Sequence[str], count: int) -> Iterator[Event]:
    for name in claims:
        claim = cluster.get(cluster.path("v1", _KIND, name))
        if claim is not None and (mode := _one_node(claim)):
            text = f"claim {name} is {mode}: all {count} replicas must run on its node"
            yield Event("warning", f"{text}; for several nodes ReadWriteMany or ReadOnlyMany")


def _replicas(deployment: Document) -> int:
    """Those to begin with: an autoscaler has others later."""
    return int(deployment["spec"].get("replicas", 1))


def _share(deployment: Document, key: str, count: int) -> int:
    given: Any = (deployment["spec"].get("strategy") or {}).get("rollingUpdate", {}).get(key, 0)
    if not isinstance(given, str):
        return int(given)
    part = int(given.rstrip("%")) * count / 100
    return math.ceil(part) if key == "maxSurge" else math.floor(part)


def _named(made: Sequence[Document], pod: Document) -> list[str]:
    """The claims that pods mount and that the release does not make."""
    own = {d["metadata"]["name"] for d in made if d["kind"] == "PersistentVolumeClaim"}
    mounts = (v.get("persistentVolumeClaim") or {} for v in pod.get("volumes") or ())
    return [m["claimName"] for m in mounts if m and m["claimName"] not in own]


def _one_node(claim: Document) -> str | None:
    """The access mode of a claim that only one node, or one pod, can have."""
    modes = claim["spec"]["accessModes"]
    return None if _MANY & set(modes) else str(modes[-1])


def _rooms(cluster: Cluster, without: Mapping[str, str] | None = None) -> list[NodeRoom]:
    """What is free on the nodes; with `without`, as if pods with these labels were gone."""
    pods = cluster.items("/api/v1/pods")
    if without:
        pods = [pod for pod in pods if not _is_of(pod, cluster.namespace, without)]
    return nodes.rooms(cluster.items("/api/v1/nodes"), pods)


def _is_of(pod: Document, namespace: str, labels: Mapping[str, str]) -> bool:
    metadata = pod["metadata"]
    own = metadata.get("labels") or {}
    return bool(metadata.get("namespace") == namespace and labels.items() <= own.items())


def _fit(node: NodeRoom, pod: Document, most: int) -> int:
    """How many pods a node takes."""
    count = 0
    while count < most and node.refusal(pod) is None:
        node.take(pod)
        count += 1
    return count


def _within(wanted: Any, there: Any) -> bool:
    """Whether what is wanted is there: the API server adds what it takes for granted."""
    if isinstance(wanted, dict):
        return isinstance(there, dict) and all(_within(v, there.get(k)) for k, v in wanted.items())
    if isinstance(wanted, list):
        same = isinstance(there, list) and len(wanted) == len(there)
        return same and all(map(_within, wanted, there))
    return bool(wanted == there)


def keep_replicas(cluster: Cluster, wanted: Document) -> None:
    """Where an autoscaler is to set from now on what Helm set until now, keeps as many replicas as
    there are: of a field that nobody owns any more the API server makes the default, one."""
    there = _handed_over(cluster, wanted)
    if there is None:
        return
    kept = {key: wanted[key] for key in ("apiVersion", "kind")}
    metadata = {key: wanted["metadata"][key] for key in ("name", "namespace")}
    kept |= {"metadata": metadata, "spec": {"replicas": there["spec"]["replicas"]}}
    path = cluster.path("apps/v1", "deployments", metadata["name"])
    cluster.apply(path, kept, manager="deployctl-replicas")


def refuse_to_lose_replicas(cluster: Cluster, wanted: Document) -> None:
    """Refuses that where it is Helm 3 that would do it, which removes the field whoever owns it.

    Raises:
        ClusterError: the service has more than one replica.
        TargetError: there is no helm.
    """
    there = _handed_over(cluster, wanted)
    count = there["spec"]["replicas"] if there else 0
    if count > 1 and helm.is_third():
        raise ClusterError(
            f"Helm 3 would end all but one of {count} replicas as it hands them to an autoscaler",
            where="values: autoscaling",
            hint="Helm 4 keeps them; or do it when one is enough: --replicas 1 first",
        )


def _handed_over(cluster: Cluster, wanted: Document) -> Document | None:
    """A Deployment as it is, where Helm is to set its replicas no more."""
    path = cluster.path("apps/v1", "deployments", wanted["metadata"]["name"])
    there = None if "replicas" in wanted["spec"] else cluster.get(path)
    return there if there is not None and _of_helm(there) else None


def _of_helm(deployment: Document) -> bool:
    """Whether the number of replicas is Helm's."""
    fields = deployment["metadata"].get("managedFields") or ()
    own = (each for each in fields if each.get("manager") == "helm")
    return any("f:replicas" in each.get("fieldsV1", {}).get("f:spec", {}) for each in own)
