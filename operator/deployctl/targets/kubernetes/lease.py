"""The lock of a service in its cluster: a Lease, so that two people and a pipeline take turns.

A holder renews it while it works; of one that was killed it runs out by itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

from deployctl.errors import LockedError, TargetError
from deployctl.targets.holder import Check, beating, myself, shown, was_killed
from deployctl.targets.kubernetes.cluster import OURS, Cluster, ConflictError, Document

LASTS_S = 30  # after the last renewal
RENEW_S = 10.0
_GROUP, _KIND = "coordination.k8s.io/v1", "leases"
_PREFIX = "deployctl-"  # of a Lease's name, before the name of what is locked
_OURS = ",".join(f"{key}={value}" for key, value in OURS.items())
_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


@contextmanager
def held(cluster: Cluster, service: str, command: str) -> Iterator[Check]:
    """Holds the lock of a service. It can be lost where the API server is away for longer than it
    lasts: ask what is yielded before anything that two may not do at once.

    Raises:
        LockedError: somebody else holds it; says who, and since when.
        ClusterError: it cannot be made.
    """
    name = _PREFIX + service
    holder = myself(command)
    _take(cluster, name, service, holder)

    def check() -> None:
        spec = (cluster.get(cluster.path(_GROUP, _KIND, name)) or {}).get("spec") or {}
        if spec.get("holderIdentity") != holder:
            raise _locked(service, spec)

    def renew() -> None:
        _change(cluster, name, holder, renewTime=cluster.now().strftime(_FORMAT))

    try:
        with beating(renew, RENEW_S):
            yield check
    finally:
        with suppress(TargetError):  # what cannot be let go of runs out
            _change(cluster, name, holder, holderIdentity="")


def holders(cluster: Cluster) -> dict[str, str]:
    """Who holds which lock, and since when; by what is locked.

    Raises:
        ClusterError: they cannot be listed.
    """
    found = {}
    for document in cluster.items(cluster.path(_GROUP, _KIND), labelSelector=_OURS):
        spec = document.get("spec") or {}
        if spec.get("holderIdentity") and cluster.now() < _ends(spec):
            found[document["metadata"]["name"].removeprefix(_PREFIX)] = _told(spec)
    return found


def _take(cluster: Cluster, name: str, service: str, holder: str) -> None:
    path = cluster.path(_GROUP, _KIND, name)
    found = cluster.get(path)
    moment = cluster.now()  # what our own clock says may be another's yesterday
    try:
        if found is None:
            metadata = {"name": name, "labels": OURS}
            document = {"apiVersion": _GROUP, "kind": "Lease", "metadata": metadata}
            document["spec"] = _spec(holder, moment)
            cluster.create(cluster.path(_GROUP, _KIND), document)
            return
        spec = found.get("spec") or {}
        holds = str(spec.get("holderIdentity") or "")
        if holds and moment < _ends(spec) and not was_killed(holds):
            raise _locked(service, spec)
        cluster.replace(path, {**found, "spec": _spec(holder, moment)})
    except ConflictError as error:
        raise _locked(service, {}) from error


def _change(cluster: Cluster, name: str, holder: str, **changes: str) -> None:
    """Changes a Lease that is ours, and leaves another's."""
    path = cluster.path(_GROUP, _KIND, name)
    found = cluster.get(path)
    if found is not None and found["spec"].get("holderIdentity") == holder:
        cluster.replace(path, {**found, "spec": {**found["spec"], **changes}})


def _spec(holder: str, moment: datetime) -> Document:
    stamp = moment.strftime(_FORMAT)
    return {
        "holderIdentity": holder,
        "leaseDurationSeconds": LASTS_S,
        "acquireTime": stamp,
        "renewTime": stamp,
    }


def _ends(spec: Document) -> datetime:
    """When a lease runs out. One that cannot be read has run out."""
    try:
        renewed = datetime.strptime(str(spec["renewTime"]), _FORMAT).replace(tzinfo=UTC)
    except (KeyError, ValueError):
        return datetime.min.replace(tzinfo=UTC)
    return renewed + timedelta(seconds=float(spec.get("leaseDurationSeconds") or LASTS_S))


def _locked(service: str, spec: Document) -> LockedError:
    return LockedError(
        f"{service} is being changed by {_told(spec)}",
        where=f"lease {_PREFIX}{service}",
        hint=f"wait until it ends; of one that was killed the lock runs out after {LASTS_S} s",
    )


def _told(spec: Document) -> str:
    who = shown(str(spec.get("holderIdentity") or "another deployctl"))
    return who + (f", since {spec['acquireTime'][:19]}Z" if spec.get("acquireTime") else "")
