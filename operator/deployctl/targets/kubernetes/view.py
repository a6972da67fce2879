"""KubernetesView: what a cluster tells of all that deployctl has in a namespace of it."""

from deployctl.spec.settings import Settings
from deployctl.targets.driver import Surveyed
from deployctl.targets.kubernetes import survey
from deployctl.targets.kubernetes.cluster import Cluster, cluster_of
from deployctl.targets.kubernetes.installed import Installed
from deployctl.targets.kubernetes.shelf import ClusterShelf


class KubernetesView:
    """Looks, and changes nothing."""

    def __init__(self, settings: Settings, *, cluster: Cluster | None = None) -> None:
        self._cluster = cluster or cluster_of(settings)
        self._shelf = ClusterShelf(self._cluster, settings.state_dir)

    def survey(self) -> list[Surveyed]:
        """Every service that has a record, by a list a kind of object."""
        return survey.look(self._cluster, self._shelf, Installed(self._cluster))
