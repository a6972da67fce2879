"""KubernetesView: what a cluster tells of all that deployctl has in a namespace of it."""

import json
from collections.abc import Iterable

from deployctl.render.bundle import Bundle
from deployctl.spec.settings import Settings
from deployctl.targets.driver import Holding, Surveyed
from deployctl.targets.kubernetes import held, survey
from deployctl.targets.kubernetes.chart import objects_of
from deployctl.targets.kubernetes.cluster import Cluster, Document, cluster_of
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

    def held(self, bundle: Bundle, former: Bundle | None) -> Holding:
        """The objects of the cluster, against what Helm would make of them: by the API server's own
        dry run.

        Raises:
            TargetError: there is no helm, or the API server refuses.
            InputError: the chart refuses its values.
        """
        namespace = self._cluster.namespace
        wanted = objects_of(bundle, namespace)
        before = wanted if former in (None, bundle) else objects_of(former, namespace)
        found = held.look(self._cluster, bundle.service, wanted, before)
        return Holding(
            _documents(each.now for each in found),
            _documents(each.then for each in found),
            {each.title: ", ".join(each.others) for each in found if each.others},
            {each.title: each.refused for each in found if each.refused},
        )


def _documents(documents: Iterable[Document | None]) -> str:
    return "".join(f"---\n{json.dumps(each)}\n" for each in documents if each is not None)
