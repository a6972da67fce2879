"""What of a service Helm does not know any more, for a helm that was begun was killed or failed: it
goes by the last release that it finished, or by the last that it began, and not by all.
"""

from contextlib import suppress

from deployctl.errors import DeployctlError
from deployctl.render.bundle import Bundle
from deployctl.targets.kubernetes.cluster import Cluster, Document
from deployctl.targets.kubernetes.held import path_of
from deployctl.targets.kubernetes.helmrelease import Installed, objects_of
from deployctl.targets.kubernetes.shelf import ClusterShelf


def find(
    cluster: Cluster, shelf: ClusterShelf, service: str, wanted: Bundle | None
) -> list[Document]:
    """The objects that unfinished releases of a service may have made and that `wanted` has not:
    none, where there was no such release. To be asked before Helm is."""
    bundles = [shelf.bundle(service, n) for n in Installed(cluster).since_deployed(service)]
    if not any(bundles):
        return []
    namespace = cluster.namespace
    kept = {path_of(cluster, each) for each in objects_of(wanted, namespace)} if wanted else set()
    found: dict[str, Document] = {}
    for bundle in filter(None, bundles):
        with suppress(DeployctlError):  # a chart that cannot be filled in made nothing
            found |= {path_of(cluster, each): each for each in objects_of(bundle, namespace)}
    return [document for path, document in found.items() if path not in kept]
