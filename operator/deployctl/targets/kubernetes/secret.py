"""The Secret of a service: its keys, the operator's token and the Hub's, as the chart mounts them.

The cluster's are the ones that count: whoever changes them brings them here first.
"""

import base64
from collections.abc import Callable, Mapping
from pathlib import Path

from deployctl.files import make_folder, write_private
from deployctl.targets import keys
from deployctl.targets.history import Release
from deployctl.targets.kubernetes.cluster import Cluster

_ENTRIES = (keys.API_KEY, keys.OPERATOR_TOKEN, keys.KEYS)
_TAKEN_AWAY = "taken_away"  # in the folder: since which revision its files are none of before


def name(service: str) -> str:
    """The name that the chart expects (vllm.apiKeyMade.name)."""
    return f"{service}-api-key"


def learn(
    cluster: Cluster, service: str, folder: Path, keyless_since: Callable[[str], int | None]
) -> None:
    """Writes the Secret's entries to files of the service's folder. Where there is no Secret, it
    leaves them; removes them where the keys were taken away, which `keyless_since` says of a
    service: one that was revoked before is not to open anything again. Once: what is put there
    later was made since.

    Raises:
        StateError: they cannot be written, or removed.
        ClusterError: the Secret, or that, cannot be read.
    """
    found = cluster.get(cluster.path("v1", "secrets", name(service)))
    if found is None:
        since = keyless_since(service)
        if since is not None and keys.read_key(folder / _TAKEN_AWAY) != str(since):
            make_folder(folder)
            keys.forget(folder)
            write_private(folder / _TAKEN_AWAY, str(since).encode())
        return
    data = found.get("data") or {}
    make_folder(folder)
    with keys.locked(folder):
        for entry in _ENTRIES:
            path = folder / entry
            if entry in data:
                content = base64.b64decode(data[entry])
                if not path.is_file() or path.read_bytes() != content:
                    write_private(path, content)


def publish(
    cluster: Cluster, release: Release, folder: Path, environment: Mapping[str, str]
) -> None:
    """Makes the Secret of a release's service what the files in the service's folder are.

    Raises:
        StateError, TargetError: they, or the Hub's token, cannot be read.
        ClusterError: it cannot be written.
    """
    with keys.locked(folder):
        files = dict(keys.of_the_door(folder, release.spec))
        token = keys.hub_token(release.spec, environment)
        if token and not release.plan.model_local:
            files["hf_token"] = token.encode()
        cluster.put_secret(name(release.service), {**keys.gone(files), **files})
