"""The claims of a service's cache: they outlive its pods, and go when they are asked to."""

from deployctl.events import Event, Tell
from deployctl.targets.kubernetes.cluster import Cluster
from deployctl.targets.kubernetes.survey import of_service


def remove(cluster: Cluster, service: str, tell: Tell) -> None:
    """Removes them; the cluster keeps one until the last pod that has it is gone.

    Raises:
        ClusterError: one may not be removed.
    """
    claims = cluster.path("v1", "persistentvolumeclaims")
    for cache in cluster.items(claims, labelSelector=of_service(service)):
        name = cache["metadata"]["name"]
        if cluster.delete(f"{claims}/{name}"):
            stays = cluster.get(f"{claims}/{name}") is not None
            what = f"claim {name} goes with the last pod that has it"
            tell(Event("note", what if stays else f"removed claim {name}"))


def remove_empty(cluster: Cluster, service: str, tell: Tell) -> None:
    """Removes those that never got a volume: nothing is on them, and no other class can be given to
    them.

    Raises:
        ClusterError: one may not be removed.
    """
    claims = cluster.path("v1", "persistentvolumeclaims")
    for found in cluster.items(claims, labelSelector=of_service(service)):
        if found.get("status", {}).get("phase") == "Pending":
            name = found["metadata"]["name"]
            cluster.delete(f"{claims}/{name}")
            tell(Event("note", f"removed claim {name}, which never got a volume"))
