"""What Helm has installed in a namespace: told by the labels of the Secrets in which it keeps its
releases, so that none of them is read.
"""

from collections.abc import Mapping

from deployctl.targets.history import Release
from deployctl.targets.kubernetes.cluster import Cluster
from deployctl.targets.kubernetes.shelf import REVISION

DIGEST = "deployctl.io/digest"  # a label of a Helm release that is ours
_UNFINISHED = "pending-install,pending-upgrade,pending-rollback,uninstalling"


class Installed:
    """The Helm releases of one namespace."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def newest(self, service: str) -> Mapping[str, str] | None:
        """The labels of the Helm release of that name; None where there is none."""
        found = self._labels(f"name={service}")
        return max(found, key=lambda labels: int(labels["version"]), default=None)

    def has(self, release: Release) -> bool:
        """Whether it is this very release that is installed."""
        found = self.newest(release.service)
        return found is not None and found.get(REVISION) == str(getattr(release, "revision", 0))

    def revisions(self) -> dict[str, int]:
        """The revision of each service of ours."""
        found = sorted(self._labels("status!=superseded"), key=lambda each: int(each["version"]))
        return {each["name"]: int(each[REVISION]) for each in found if REVISION in each}

    def forget_unfinished(self, service: str) -> None:
        """Removes what a killed helm left, behind which it lets nobody in."""
        path = self._cluster.path("v1", "secrets")
        for labels in self._labels(f"name={service},status in ({_UNFINISHED})"):
            self._cluster.delete(f"{path}/sh.helm.release.v1.{service}.v{labels['version']}")

    def _labels(self, selector: str) -> list[Mapping[str, str]]:
        path = self._cluster.path("v1", "secrets")
        found = self._cluster.metadata(path, labelSelector=f"owner=helm,{selector}")
        return [secret["metadata"]["labels"] for secret in found]
