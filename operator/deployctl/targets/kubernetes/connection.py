"""The way to a cluster: by the kubeconfig, or from inside by what a pod is given."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from deployctl.errors import ClusterError
from deployctl.spec.settings import Settings

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

_IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_MALFORMED = (OSError, AttributeError, KeyError, TypeError, ValueError)  # what reading one raises
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
    from yaml import YAMLError

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
    except (config.ConfigException, YAMLError, *_MALFORMED) as error:
        raise ClusterError(
            f"the kubeconfig cannot be used: {error}",
            where=_kubeconfig(),
            hint="name another with KUBECONFIG, or a context of it with --context; `kubectl config "
            "view` shows it",
        ) from error
    return Connection(client.ApiClient(configuration), context, namespace)


def _load(settings: Settings, configuration: Any) -> tuple[str, str | None]:
    from kubernetes.config import kube_config

    merged = kube_config.KubeConfigMerger(_kubeconfig()).config
    if merged is None:
        raise ClusterError(
            "there is no kubeconfig, the file that names a cluster",
            where=_kubeconfig(),
            hint="name one with KUBECONFIG",
        )
    contexts = {context["name"]: context["context"] for context in merged.value["contexts"]}
    wanted = settings.context or merged.safe_get("current-context")
    if wanted not in contexts:
        raise ClusterError(
            f"there is no context {wanted!r}"
            if wanted
            else "the kubeconfig has no current context",
            where="--context" if settings.context else _kubeconfig(),
            hint=f"--context takes one of: {', '.join(contexts)}"
            if contexts
            else "it has none: name another with KUBECONFIG",
        )
    with _logged() as said:
        kube_config.load_kube_config(context=wanted, client_configuration=configuration)
    if said and not configuration.api_key and not configuration.cert_file:
        raise ClusterError(
            f"no credential for context {wanted}: {said[-1]}",
            where=_kubeconfig(),
            hint="log in to the cluster's provider again, or install the command that it names; "
            "`kubectl get --raw /readyz` asks the same way",
        )
    return wanted, contexts[wanted].value.get("namespace")


@contextmanager
def _logged() -> Iterator[list[str]]:
    """What is logged as an error meanwhile: so the client tells that a user's command failed."""
    said: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield said
    finally:
        root.removeHandler(handler)


def _kubeconfig() -> str:
    """The kubeconfig's path; several with colons between."""
    from kubernetes.config import kube_config

    return str(kube_config.KUBE_CONFIG_DEFAULT_LOCATION)


def _has_kubeconfig() -> bool:
    return any(Path(part).expanduser().is_file() for part in _kubeconfig().split(":"))
