"""How clients reach a service that runs, and what they paste."""

import shlex
import socket
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from deployctl.errors import TargetError
from deployctl.operations.deploy.services import find, open_store
from deployctl.render import chat, yamltext
from deployctl.render.bundle import VALUES_FILE
from deployctl.render.snippets import Snippet, Way, snippets
from deployctl.spec import TargetKind
from deployctl.spec.settings import Settings
from deployctl.targets import history, keyfile, keys, open_driver
from deployctl.targets.history import Release
from deployctl_loadtest import foreign

NEW_KEY = "my.key"  # where snippets read a key from that is still to be made


class ForClients(NamedTuple):
    """Where a service answers, what lets clients in, and what they paste."""

    service: str
    target: TargetKind
    way: Way
    snippets: tuple[Snippet, ...]
    before: str | None  # a command that has to run meanwhile: a port-forward or a tunnel
    inside: str | None  # the base URL inside its cluster
    elsewhere: str | None  # the base URL from other machines
    wants_key: bool
    key: str | None  # never printed, unless it is asked for
    chat_url: str | None  # the page to chat on, where the gateway serves one

    def document(self, *, with_key: bool = False) -> dict[str, Any]:
        """What JSON answers say of it."""
        return {
            "service": self.service,
            "target": self.target,
            "base_url": self.way.base_url,
            "inside_url": self.inside,
            "elsewhere_url": self.elsewhere,
            "before": self.before,
            "model": self.way.model,
            "wants_key": self.wants_key,
            "api_key_file": self.way.key_file,
            "ca_file": self.way.ca_file,
            "chat_url": self.chat_url,
            **({"api_key": self.key} if with_key else {}),
            "snippets": [snippet._asdict() for snippet in self.snippets],
        }


def connect(name: str | None = None, target: TargetKind | None = None) -> ForClients:
    """How clients reach a service; the only one there is, where none is named.

    Raises:
        InputError, NotFoundError: as `find`.
        TargetError: it does not run, or its target does not answer.
    """
    settings, store = open_store()
    ref = find(store, name, target)
    release = history.deployed(store.releases(ref))
    driver = open_driver(ref.target, settings)
    state = driver.state(release) if release is not None else None
    if release is None or state is None or state.condition != "running":
        detail = state.detail if state is not None else "it was taken down, or never came up"
        raise TargetError(
            f"{ref.service} does not run" + (f": {detail}" if detail else ""),
            hint=f"deployctl status {ref.service} says more; deployctl up starts it",
        )
    endpoint = driver.endpoint(release)
    folder = store.folder(ref)
    named = keyfile.read(folder / keys.KEYS)
    wants_key = release.spec.needs_api_key or bool(named and named.keys)
    key = None if named and keyfile.DEFAULT in named.revoked else endpoint.api_key
    plan = release.plan
    way = Way(
        f"{endpoint.gateway or endpoint.published or endpoint.url}/v1",
        endpoint.model or plan.served_model_name,
        _key_file(folder, key, wants_key),
        plan.engine.tasks,
        str(driver.gateway.ca_file(ref.service) or "") or None if driver.gateway else None,
    )
    before = elsewhere = None
    if endpoint.tunnel is not None:
        before, way = endpoint.tunnel, way._replace(base_url=f"{endpoint.inside}/v1")
    elif endpoint.inside is not None:
        front = urlsplit(endpoint.inside)
        before = _port_forward(front, release, settings)
        way = way._replace(base_url=f"http://127.0.0.1:{front.port}/v1")
        elsewhere = _ingress(release)
    elif release.spec.expose and _is_here(way.base_url):
        elsewhere = way.base_url.replace("127.0.0.1", socket.gethostname(), 1)
    return ForClients(
        ref.service,
        ref.target,
        way,
        tuple(snippets(way)),
        before,
        f"{endpoint.inside}/v1" if endpoint.inside and not endpoint.tunnel else None,
        elsewhere,
        wants_key,
        key,
        chat.address(release.spec, endpoint.gateway),
    )


def _key_file(folder: Path, key: str | None, wants_key: bool) -> str | None:
    """Where the key is: in a file to be made, where the key `default` is revoked, or there are
    named keys alone, of which only hashes are kept."""
    if key is not None:
        return str(folder / keys.API_KEY)
    return NEW_KEY if wants_key else None


def _is_here(url: str) -> bool:
    return urlsplit(url).hostname == "127.0.0.1"


def _port_forward(front: Any, release: Release, settings: Settings) -> str:
    """The command that has a port of this machine lead to the Service before the engines."""
    service, namespace, *_ = str(front.hostname).split(".")
    context = settings.context or release.spec.context
    where = ["--context", context] if context else []
    port = f"{front.port}:{front.port}"
    words = ["kubectl", *where, "--namespace", namespace, "port-forward", f"service/{service}"]
    return shlex.join([*words, port])


def _ingress(release: Release) -> str | None:
    """The base URL by the chart's Ingress, which has TLS."""
    values = yamltext.read(release.bundle.files.get(VALUES_FILE, "")) or {}
    ingress = values.get("ingress") or {}
    host = foreign.message(str(ingress.get("host") or ""))
    return f"https://{host}/v1" if ingress.get("enabled") and host else None
