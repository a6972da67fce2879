"""The way to a cluster: by the kubeconfig, or from inside by what a pod is given."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from yaml import YAMLError

from deployctl.errors import ClusterError
from deployctl.spec.settings import Settings
from deployctl.targets.kubernetes import identity, kubeconfig
from deployctl.targets.kubernetes.api import Api
from deployctl.targets.kubernetes.kubeconfig import ServerAccess

_IN_A_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_MALFORMED = (OSError, AttributeError, KeyError, TypeError, ValueError)  # what reading one raises


class Connection(NamedTuple):
    """The API server, the context's name ("" inside a cluster) and that one's own namespace."""

    api: Api
    context: str
    namespace: str | None


def connect(settings: Settings) -> Connection:
    """The cluster that the settings or the kubeconfig name; the API server is not asked yet.

    Raises:
        ClusterError: there is no way to one.
    """
    where = kubeconfig.location()
    context, namespace = "", None
    try:
        files = kubeconfig.files(where)
        own = _IN_A_POD / "namespace"
        if settings.context is None and not files and own.is_file():
            access, namespace = _in_a_pod(), own.read_text(encoding="utf-8").strip()
        else:
            access, context, namespace = _by_kubeconfig(settings.context, where, files)
        # As Helm lays flags over a kubeconfig, each by itself: both are to act as one user.
        as_whom = identity.pairs(
            settings.impersonate or access.user, settings.impersonate_groups or access.groups
        )
        return Connection(Api(access, as_whom), context, namespace)
    except (YAMLError, *_MALFORMED) as error:
        raise ClusterError(
            f"the kubeconfig cannot be used: {error}",
            where=where,
            hint="name another with KUBECONFIG, or a context of it with --context; `kubectl config "
            "view` shows it",
        ) from error


def _in_a_pod() -> ServerAccess:
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    return ServerAccess(
        f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        ca=(_IN_A_POD / "ca.crt").read_bytes(),
        credential=kubeconfig.token_in(_IN_A_POD / "token"),
    )


def _by_kubeconfig(
    asked: str | None, where: str, files: list[Path]
) -> tuple[ServerAccess, str, str | None]:
    if not files:
        raise ClusterError(
            "there is no kubeconfig, the file that names a cluster",
            where=where,
            hint="name one with KUBECONFIG",
        )
    config = kubeconfig.read(files)
    wanted = asked or config.current
    if wanted not in config.contexts:
        raise ClusterError(
            f"there is no context {wanted!r}"
            if wanted
            else "the kubeconfig has no current context",
            where="--context" if asked else where,
            hint=f"--context takes one of: {', '.join(config.contexts)}"
            if config.contexts
            else "it has none: name another with KUBECONFIG",
        )
    access = kubeconfig.access_of(config, wanted)
    if kubeconfig.must_be_asked_for(config, wanted):
        access = _asked_for(access, where, wanted)
    return access, wanted, config.contexts[wanted].value.get("namespace")


def _asked_for(access: ServerAccess, where: str, context: str) -> ServerAccess:
    """With the credential that Kubernetes' own client is given by what the kubeconfig names; again
    when it expires. Slow to import.

    Raises:
        ClusterError: there is no credential.
        ValueError: a kubeconfig cannot be used.
    """
    from kubernetes import client, config

    found = client.Configuration()
    try:
        with _logged() as said:
            config.load_kube_config(where, context, found)
    except config.ConfigException as error:
        raise ValueError(str(error)) from error
    if said and not found.api_key and not found.cert_file:
        raise ClusterError(
            f"no credential for context {context}: {said[-1]}",
            where=where,
            hint="log in to the cluster's provider again, or install the command that it names; "
            "`kubectl get --raw /readyz` asks the same way",
        )
    return access._replace(
        certificate=_content(found.cert_file),
        key=_content(found.key_file),
        credential=lambda: found.get_api_key_with_prefix("BearerToken"),
    )


def _content(path: str | None) -> bytes | None:
    return Path(path).read_bytes() if path else None


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
