"""The way to a cluster: by the kubeconfig, or from inside by what a pod is given."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from deployctl.errors import ClusterError
from deployctl.spec.settings import Settings

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

_IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_KEPT = 32  # connections: several services may be brought up at once


class Connection(NamedTuple):
    """A client, the name of its context ("" inside a cluster) and that one's own namespace."""

    api: "ApiClient"
    context: str
    namespace: str | None


def connect(settings: Settings) -> Connection:
    """The cluster that the settings or the kubeconfig name; the API server is not asked yet.

    Raises:
        ClusterError: there is no way to one.
    """
    from kubernetes import client, config

    configuration = client.Configuration()
    configuration.retries = False
    configuration.connection_pool_maxsize = _KEPT
    context, namespace = "", None
    try:
        if settings.context is None and _IN_CLUSTER.is_file() and not _has_kubeconfig():
            config.load_incluster_config(client_configuration=configuration)
            namespace = _IN_CLUSTER.read_text(encoding="utf-8").strip()
        else:
            context, namespace = _load(settings, configuration)
    except (config.ConfigException, OSError, TypeError, ValueError) as error:
        raise ClusterError(
            f"there is no way to a cluster: {error}",
            where="kubeconfig",
            hint="name one with KUBECONFIG, and its context with --context; `kubectl config "
            "get-contexts` lists them",
        ) from error
    return Connection(client.ApiClient(configuration), context, namespace)


def _load(settings: Settings, configuration: Any) -> tuple[str, str | None]:
    from kubernetes import config

    known, current = config.list_kube_config_contexts()
    names = [context["name"] for context in known]
    wanted = settings.context
    if wanted is not None and wanted not in names:
        raise ClusterError(
            f"there is no context {wanted!r}",
            where="--context",
            hint=f"the kubeconfig has {', '.join(names) or 'none'}",
        )
    chosen = next((c for c in known if c["name"] == wanted), current)
    config.load_kube_config(context=chosen["name"], client_configuration=configuration)
    return chosen["name"], chosen["context"].get("namespace")


def _has_kubeconfig() -> bool:
    from kubernetes.config import kube_config

    named = str(kube_config.KUBE_CONFIG_DEFAULT_LOCATION)
    return any(Path(part).expanduser().is_file() for part in named.split(":"))
