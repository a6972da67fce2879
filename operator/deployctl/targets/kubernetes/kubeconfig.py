"""A kubeconfig: the files that KUBECONFIG names, as one, and what of it leads to an API server."""

import base64
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from deployctl import boundedyaml, given
from deployctl.errors import ClusterError, InputError

Document = dict[str, Any]
_LARGEST = 4 * 1024 * 1024  # bytes of a file that is read here
_KINDS = ("contexts", "clusters", "users")
# What gives a credential when it is asked; Kubernetes' own client knows how.
_ASKED_FOR = ("exec", "auth-provider", "username")
_NOT_ACTED_BY = ("as-uid", "as-user-extra")


class ServerAccess(NamedTuple):
    """Where an API server is, what it proves itself by, and what proves who asks it."""

    host: str  # https://10.0.0.1:6443
    ca: bytes | None = None  # PEM; None: those that the machine trusts
    certificate: bytes | None = None  # PEM, of whoever asks
    key: bytes | None = None
    verified: bool = True
    server_name: str | None = None  # in its certificate, where it is not the host
    proxy: str | None = None
    credential: Callable[[], str | None] = lambda: None  # the header Authorization, as of now
    user: str | None = None  # whom the kubeconfig has us act as, and of which groups
    groups: tuple[str, ...] = ()


class Entry(NamedTuple):
    """A context, cluster or user, and the folder that its paths start from."""

    value: Document
    folder: Path

    def content(self, name: str) -> bytes | None:
        """What is there under a name, or in the file that is; None where neither is said."""
        data, path = self.value.get(f"{name}-data"), self.value.get(name)
        if data:
            return base64.b64decode(data)
        return _read(self.folder / str(path)) if path else None


class Kubeconfig(NamedTuple):
    """All files as one: what the first of them says of a name holds."""

    contexts: dict[str, Entry]
    clusters: dict[str, Entry]
    users: dict[str, Entry]
    current: str


def location() -> str:
    """The path of the kubeconfig; several with colons between."""
    return os.environ.get("KUBECONFIG") or "~/.kube/config"


def files(where: str) -> list[Path]:
    """Those of them that are there."""
    named = (given.expanded(Path(part)) for part in where.split(os.pathsep) if part)
    return [file for file in named if file.is_file()]


def read(found: list[Path]) -> Kubeconfig:
    """Reads files as one.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: one is none.
    """
    merged: dict[str, dict[str, Entry]] = {kind: {} for kind in _KINDS}
    current = ""
    for file in found:
        documents, troubles = boundedyaml.parse(_read(file).decode())
        if troubles:
            raise ValueError(f"{file}, line {troubles[0].line}: {troubles[0].message}")
        document = documents[0].data if documents else None
        if not isinstance(document, dict):
            raise ValueError(f"{file} is none")
        current = current or document.get("current-context") or ""
        for kind in _KINDS:
            for item in document.get(kind) or []:
                entry = Entry(item[kind.removesuffix("s")] or {}, file.absolute().parent)
                merged[kind].setdefault(item["name"], entry)
    return Kubeconfig(**merged, current=current)


def access_of(config: Kubeconfig, context: str) -> ServerAccess:
    """The way that a context leads, by the credential that is written there.

    Raises:
        ValueError: it names a cluster or a file that is not there, or acts as somebody by what we
            lack.
    """
    names = config.contexts[context].value
    cluster = config.clusters.get(names["cluster"])
    if cluster is None:
        raise ValueError(f"context {context} is of cluster {names['cluster']!r}, which it lacks")
    user = _user(config, context)
    told = cluster.value
    for key in _NOT_ACTED_BY:
        if user.value.get(key):
            raise ValueError(
                f"context {context} acts as another user by {key}: only by as and "
                "as-groups is it known here"
            )
    return ServerAccess(
        str(told["server"]).rstrip("/"),
        ca=cluster.content("certificate-authority"),
        certificate=user.content("client-certificate"),
        key=user.content("client-key"),
        verified=not told.get("insecure-skip-tls-verify"),
        server_name=told.get("tls-server-name"),
        proxy=told.get("proxy-url"),
        credential=_token(user),
        user=user.value.get("as"),
        groups=tuple(user.value.get("as-groups") or ()),
    )


def must_be_asked_for(config: Kubeconfig, context: str) -> bool:
    """Whether the credential is not written there, but what gives one."""
    return any(key in _user(config, context).value for key in _ASKED_FOR)


def _user(config: Kubeconfig, context: str) -> Entry:
    return config.users.get(config.contexts[context].value.get("user", ""), Entry({}, Path()))


def _token(user: Entry) -> Callable[[], str | None]:
    token, path = user.value.get("token"), user.value.get("tokenFile")
    if path:
        return token_in(user.folder / path, token)
    return lambda: f"Bearer {token}" if token else None


def token_in(file: Path, otherwise: str | None = None) -> Callable[[], str]:
    """The token in a file, which is replaced before it expires: it is read each time. `otherwise`
    is the one where there is no file, as for kubectl.

    Raises, when it is called:
        ClusterError: there is none.
    """

    def read_token() -> str:
        try:
            return f"Bearer {_read(file).decode().strip()}"
        except ValueError as error:
            if otherwise:
                return f"Bearer {otherwise}"
            raise ClusterError(
                f"there is no token for the cluster: {error}", where=str(file)
            ) from error

    return read_token


def _read(file: Path) -> bytes:
    try:
        return given.read_bytes(file, _LARGEST)
    except InputError as error:
        raise ValueError(f"{file}: {error.message}") from error
