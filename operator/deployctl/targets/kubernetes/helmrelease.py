"""A service's Helm release: which one is installed, told by the labels of Helm's Secrets so that
none of them is read; and the chart of a bundle, as files for Helm and as the objects it makes.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deployctl.render import yamltext
from deployctl.render.bundle import CHART_FOLDER, VALUES_FILE, Bundle
from deployctl.targets import helm
from deployctl.targets.history import Release
from deployctl.targets.kubernetes.cluster import Cluster, Document
from deployctl.targets.kubernetes.shelf import REVISION

_MADE: dict[tuple[str, str], list[Document]] = {}  # what Helm made, by digest and namespace
DIGEST = "deployctl.io/digest"  # a label of a Helm release that is ours
_SERVED = ("deployed", "superseded")
_UNFINISHED = "pending-install,pending-upgrade,pending-rollback,uninstalling"


class Installed:
    """The Helm releases of one namespace."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def newest(self, service: str) -> Mapping[str, str] | None:
        """The labels of the Helm release of that name; None where there is none."""
        found = self._labels(f"name={service}")
        return max(found, key=lambda labels: int(labels["version"]), default=None)

    def of(self, release: Release) -> int | None:
        """Which revision is installed of a release: its own, or an earlier one where it is on
        record as deployed. We never install one again, but begin another from it: so somebody went
        back with Helm. None where it is not there."""
        found = (self.newest(release.service) or {}).get(REVISION)
        number = int(found) if found else None
        return number if is_of(number, release.status, release.revision) else None

    def revisions(self) -> dict[str, int]:
        """The revision of each service of ours."""
        found = sorted(self._labels("status!=superseded"), key=lambda each: int(each["version"]))
        return {each["name"]: int(each[REVISION]) for each in found if REVISION in each}

    def since_deployed(self, service: str) -> list[int]:
        """Revisions of the Helm releases whose objects there may be, where any of them was begun
        and not finished, or failed: the last that served, and those after it. Else none."""
        found = sorted(self._labels(f"name={service}"), key=lambda each: int(each["version"]))
        served = [n for n, each in enumerate(found) if each["status"] in _SERVED]
        last = found[served[-1] if served else 0 :]
        if last and last[-1]["status"] == "deployed":
            return []
        return [int(each[REVISION]) for each in last if REVISION in each]

    def forget_unfinished(self, service: str) -> None:
        """Removes what a killed helm left, behind which it lets nobody in."""
        path = self._cluster.path("v1", "secrets")
        for labels in self._labels(f"name={service},status in ({_UNFINISHED})"):
            self._cluster.delete(f"{path}/sh.helm.release.v1.{service}.v{labels['version']}")

    def _labels(self, selector: str) -> list[Mapping[str, str]]:
        path = self._cluster.path("v1", "secrets")
        found = self._cluster.metadata(path, labelSelector=f"owner=helm,{selector}")
        return [secret["metadata"]["labels"] for secret in found]


def is_of(installed: int | None, status: str, revision: int) -> bool:
    """Whether what is installed is a revision, or went back behind it by another's hand."""
    behind = installed is not None and status == "deployed" and installed < revision
    return installed == revision or behind


def went_back(installed: int | None, revision: int) -> tuple[str, ...]:
    """What is said where somebody went back behind a revision; else nothing."""
    if installed is None or installed == revision:
        return ()
    return (
        f"somebody went back to revision {installed} with Helm: deployctl diff shows what differs, "
        f"up brings revision {revision} back, rollback --to {installed} stays there",
    )


@contextmanager
def on_disk(bundle: Bundle) -> Iterator[Path]:
    """The folder of a bundle's chart, as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix="deployctl-") as folder:
        for path, text in bundle.files.items():
            if path.startswith(f"{CHART_FOLDER}/"):
                file = Path(folder) / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
        yield Path(folder) / CHART_FOLDER


def deployment_of(bundle: Bundle, namespace: str) -> Document:
    """The engine's Deployment among them; raises as `objects_of`."""
    made = objects_of(bundle, namespace)
    return next(
        each
        for each in made
        if each["kind"] == "Deployment" and each["metadata"]["name"] == bundle.service
    )


def objects_of(bundle: Bundle, namespace: str) -> list[Document]:
    """Every object that Helm makes of a bundle, but the pods of its tests.

    Raises:
        TargetError: there is no helm, or it failed.
        InputError: the chart refuses the values.
    """
    known = (bundle.digest, namespace)
    if known not in _MADE:  # helm takes a while, and one command may ask more than once
        with on_disk(bundle) as chart:
            values = bundle.files[VALUES_FILE]
            text = helm.template(chart, values, name=bundle.service, namespace=namespace)
        found = [document for document in yamltext.read_all(text) if document]
        _MADE[known] = found
    return _MADE[known]
