"""A namespace with many services of ours, as `up` would have left them, in a minute instead of an
hour: one is installed by Helm on hollow nodes, and all that is then there is copied by name.

A copy differs by its name alone, wherever it stands: in an object, in Helm's release, in a record.
"""

import base64
import gzip
import json
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deployctl.events import silent
from deployctl.operations.bundle import ChartOptions, render
from deployctl.operations.prepare import prepare
from deployctl.spec import ServiceSpec
from deployctl.spec.settings import Settings
from deployctl.targets import open_store
from deployctl.targets.history import Content, following
from deployctl.targets.kubernetes.cluster import Cluster, Document, cluster_of
from deployctl.targets.kubernetes.driver import KubernetesDriver
from deployctl.targets.store import ServiceRef

FIRST = "scale-000"
HOLLOW = {
    "resources": {"cpu": "100m", "memory": "128Mi", "memoryLimit": "256Mi", "sharedMemory": "16Mi"},
    "cache": {"enabled": False},
    "drain": {"preStopSeconds": 1, "gracePeriodSeconds": 30},
    "scheduling": {
        "nodeSelector": {"type": "kwok"},
        "tolerations": [{"key": "kwok.x-k8s.io/node"}],
    },
}
# What is copied, by the path of its kind.
KINDS = (
    ("v1", "serviceaccounts"),
    ("v1", "configmaps"),
    ("v1", "secrets"),
    ("v1", "services"),
    ("policy/v1", "poddisruptionbudgets"),
    ("networking.k8s.io/v1", "networkpolicies"),
    ("apps/v1", "deployments"),
)
_PATIENCE_S = 120
_AT_ONCE = 8


def fill(settings: Settings, model: Path, services: int, revisions: int) -> ServiceSpec:
    """Makes the services, each with so many revisions; returns the spec of the first."""
    subprocess.run(
        ["kubectl", "create", "namespace", str(settings.namespace)], check=True, capture_output=True
    )
    cluster = cluster_of(settings)
    spec = _first(settings, cluster, model, revisions)
    documents = list(_documents(cluster))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        names = [f"scale-{number:03d}" for number in range(1, services)]
        for _ in pool.map(lambda name: _copy(cluster, documents, name), names):
            pass
    until(lambda: _settled(cluster) >= services, "all Deployments are ready")
    return spec


def _first(settings: Settings, cluster: Cluster, model: Path, revisions: int) -> ServiceSpec:
    driver, store = KubernetesDriver(settings), open_store(settings)
    ref = ServiceRef("kubernetes", FIRST)
    spec = ServiceSpec(model=str(model), gpu="cpu", name=FIRST, target="kubernetes")
    options = ChartOptions(overrides={**HOLLOW, "model": {"hostPath": str(model)}})
    for number in range(1, revisions + 1):
        last = number == revisions
        changed = spec.model_copy(update={} if last else {"max_num_seqs": number})
        prepared = prepare(changed)
        bundle = render("kubernetes", prepared, options)
        content = Content("up", prepared.spec, prepared.plan, bundle)
        release = following(store.releases(ref), FIRST, datetime.now(UTC), content)
        store.save(ref, release)
        driver.start(release, silent)
        status = "deployed" if last else "superseded"
        store.save(ref, release.model_copy(update={"status": status}))
    until(lambda: _settled(cluster) == 1, "the first Deployment is ready")
    return spec


def _documents(cluster: Cluster) -> Iterator[tuple[str, Document]]:
    for group, kind in KINDS:
        path = cluster.path(group, kind)
        for document in cluster.items(path):
            if FIRST in document["metadata"]["name"]:
                yield path, {"apiVersion": group, "kind": _kind(kind), **_bare(document)}


def _kind(plural: str) -> str:
    known = {"serviceaccounts": "ServiceAccount", "configmaps": "ConfigMap", "secrets": "Secret"}
    known |= {"services": "Service", "deployments": "Deployment"}
    known |= {"poddisruptionbudgets": "PodDisruptionBudget", "networkpolicies": "NetworkPolicy"}
    return known[plural]


def _bare(document: Document) -> Document:
    kept = ("name", "labels", "annotations")
    metadata = {key: document["metadata"][key] for key in kept if key in document["metadata"]}
    rest = {key: value for key, value in document.items() if key not in ("metadata", "status")}
    for key in ("clusterIP", "clusterIPs"):
        if isinstance(rest.get("spec"), dict):
            rest["spec"].pop(key, None)
    return {**rest, "metadata": metadata}


def _copy(cluster: Cluster, documents: list[tuple[str, Document]], name: str) -> None:
    for path, document in documents:
        packed = document.get("data", {}).get("release")
        text = json.dumps(document).replace(FIRST, name)
        copied: dict[str, Any] = json.loads(text)
        if packed is not None:  # a record of ours, or a release of Helm
            copied["data"]["release"] = _renamed(packed, name)
        cluster.create(path, copied)


def _renamed(packed: str, name: str) -> str:
    """What is in a Secret's `release`: ours is packed, Helm's packed and written in base64."""
    content = base64.b64decode(packed)
    helm = not content.startswith(b"\x1f\x8b")
    unpacked = gzip.decompress(base64.b64decode(content) if helm else content)
    again = gzip.compress(unpacked.replace(FIRST.encode(), name.encode()))
    return base64.b64encode(base64.b64encode(again) if helm else again).decode()


def _settled(cluster: Cluster) -> int:
    from deployctl.targets.kubernetes.progress import settled

    return sum(settled(each) for each in cluster.items(cluster.path("apps/v1", "deployments")))


def until(ready: Any, what: str) -> None:
    """Waits.

    Raises:
        TimeoutError: it takes too long.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {_PATIENCE_S} s: {what}")
        time.sleep(1)
