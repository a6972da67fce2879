"""Finds the server that is measured: a service by name, the only one that runs, or any address.

Also what is sent to it besides prompts, and which of the models that it serves is asked for.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from deployctl import given
from deployctl.endpoint import Chats, Endpoint, without_credentials
from deployctl.errors import InputError, NotFoundError, TargetError
from deployctl.spec import TargetKind
from deployctl.spec.settings import Settings
from deployctl.targets import history, open_driver, open_store, strangers
from deployctl.targets.store import ServiceRef
from deployctl_loadtest import foreign

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token, RFC 9110 section 5.6.2
_FEW = 10  # names that a line has room for
MAX_HEADER_BYTES = 64 * 1024  # of a file that holds the value of a header
_OURS = {"authorization", "content-type", "accept-encoding", "content-length", "host", "accept"}


def resolve(
    service: str | None,
    url: str | None,
    model: str | None,
    key_file: Path | None,
    target: TargetKind | None = None,
    token_file: Path | None = None,
) -> Endpoint:
    """Finds the endpoint.

    Raises:
        InputError: flags that do not go together, or an address that is none.
        NotFoundError: no such service, or none is running.
        TargetError: the service is not running.
    """
    if url is None:
        given = {
            "--model": model,
            "--api-key-file": key_file,
            "--operator-token-file": token_file,
        }
        flag = next((name for name, value in given.items() if value is not None), None)
        if flag is not None:
            raise InputError(
                f"{flag} goes with --url: a service's own is known", hint=f"leave {flag} out"
            )
        return _from_store(service, target)
    if service is not None:
        raise InputError(
            f"both a service ({service}) and --url are given", hint="leave one of them out"
        )
    return Endpoint(
        base_url(url),
        model,
        _secret(key_file, "API key", "DEPLOYCTL_API_KEY"),
        operator_token=_secret(token_file, "operator's token", "DEPLOYCTL_OPERATOR_TOKEN"),
    )


def base_url(text: str) -> str:
    """Checks and trims an address: no trailing slash, no /v1.

    Raises:
        InputError: it is no http(s) address, or carries a password.
    """
    try:
        parts = urlsplit(text.strip())
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        parts, port_is_fine = urlsplit(""), False
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine:
        raise InputError(
            f"{without_credentials(text)!r} is not an address",
            where="--url",
            hint="write http://HOST:PORT",
        )
    if parts.username or parts.password:
        raise InputError(
            "an address must not hold a password",
            where="--url",
            hint="put the API key in a file and give --api-key-file",
        )
    if parts.query or parts.fragment:
        raise InputError(
            "an address with ? or # cannot be a base", where="--url", hint="write http://HOST:PORT"
        )
    path = parts.path.rstrip("/").removesuffix("/v1")
    return f"{parts.scheme}://{parts.netloc}{path}"


def _secret(file: Path | None, what: str, variable: str) -> str | None:
    if file is None:
        return os.environ.get(variable) or None
    hint = "give a file that holds it and nothing else"
    return given.read_word(file, what=what, where=str(file), hint=hint)


def _from_store(service: str | None, target: TargetKind | None) -> Endpoint:
    settings = Settings()
    store = open_store(settings)
    refs = store.meant(target) if service is None else [store.find(service, target)]
    seen: list[tuple[ServiceRef, str, Endpoint | None]] = []
    trouble: TargetError | None = None  # with one of several, of which another may run
    for ref in refs:
        try:
            releases = store.releases(ref)
        except TargetError as error:
            if service is not None:
                raise
            trouble = trouble or error
            continue
        release = history.deployed(releases)
        if release is None:
            if service is not None:
                seen.append((ref, "not deployed", None))
            continue
        driver = open_driver(ref.target, settings)
        state = driver.state(release)
        endpoint = None
        if state.condition == "running":
            at = driver.endpoint(release)
            guard = strangers.guard(release, store.folder(ref))
            serving = release.plan.serving
            endpoint = at._replace(
                url=base_url(at.url),
                service=ref.service,
                guard=guard,
                chats=Chats(serving.tool_calls, serving.reasoning_parser),
            )
        detail = f"{state.condition} ({state.detail})" if state.detail else state.condition
        seen.append((ref, detail, endpoint))
    running = [endpoint for _, _, endpoint in seen if endpoint is not None]
    if len(running) == 1:
        return running[0]
    if running:
        names = ", ".join(str(endpoint.service) for endpoint in running)
        raise InputError(
            f"{len(running)} services are running: {names}",
            hint=f"say which one, for example {running[0].service}",
        )
    if trouble is not None:
        raise trouble
    if not seen:
        raise store.unknown("whether a service is running") or NotFoundError(
            "no service is running",
            where=str(store.root),
            hint="start one with deployctl up, or give --url",
        )
    ref, detail, _ = seen[0]
    raise TargetError(
        f"{ref.service} is not running: {detail}",
        hint=f"deployctl logs {ref.service} shows why; deployctl up starts it",
    )


def with_wire(endpoint: Endpoint, headers: Sequence[str] | None, ca_file: Path | None) -> Endpoint:
    """The endpoint with the headers and the CA that were given.

    Raises:
        InputError: a header or file that is none.
    """
    sent = dict(_header(text) for text in headers or [])
    if ca_file is not None:
        with given.opened(ca_file):  # OpenSSL would wait for a pipe, and read a device for ever
            pass
    wired = endpoint._replace(ca_file=ca_file.absolute() if ca_file else None, headers=sent)
    wired.trust()
    if wired.ca_file and not endpoint.url.startswith("https:"):
        raise InputError("--ca-file goes with an https address", where=endpoint.url)
    return wired


def _header(text: str) -> tuple[str, str]:
    name, colon, value = (part.strip() for part in text.partition(":"))
    if not colon or not _NAME.fullmatch(name):
        # What was given may be a secret: it is not repeated.
        raise InputError("this is not a header", where="--header", hint="write 'Name: value'")
    where = f"--header {name}"
    if name.lower() in _OURS:
        hint = "give --api-key-file" if name.lower() == "authorization" else "leave it out"
        raise InputError(f"{name} is set by deployctl", where="--header", hint=hint)
    if value.startswith("@"):
        where = value[1:]
        value = given.read_text(Path(where), MAX_HEADER_BYTES).strip()
    if not value.isprintable() or not value.isascii():
        raise InputError("a header's value is one line of ASCII", where=where)
    return name, value


class Served(NamedTuple):
    """A model that a server lists."""

    id: str
    owner: str  # "vllm" for vLLM

    @property
    def is_vllm(self) -> bool:
        """Whether vLLM's own request fields can be sent."""
        return self.owner == "vllm"


def models(endpoint: Endpoint, *, timeout: float = 10.0) -> list[Served]:
    """Lists what the server serves; nothing if it has no such list. `timeout` is in seconds.

    Raises:
        TargetError: no answer, or not the list that was asked for.
    """
    import httpx

    from deployctl import web

    where = f"{endpoint.url}/v1/models"
    try:
        with web.client(endpoint, timeout) as client:
            response = client.get("/v1/models")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise TargetError(
            f"the server does not answer: {web.problem(error, timeout)}",
            where=where,
            hint=_unreachable(endpoint),
        ) from error
    if response.status_code in (401, 403):
        raise TargetError(
            f"the server refuses the {_credential(endpoint)} (HTTP {response.status_code})"
            if endpoint.credential
            else f"the server wants an API key (HTTP {response.status_code})",
            where=where,
            hint=_admission(endpoint),
        )
    if response.status_code == 404 and endpoint.model is not None:
        return []  # a gateway may leave the list out; the name is known anyway
    try:
        document = foreign.document(response.content)
        listed = [Served(str(m["id"]), str(m.get("owned_by"))) for m in document["data"]]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise TargetError(
            f"the answer is not a list of models (HTTP {response.status_code})",
            where=where,
            hint="is this the address of an OpenAI-compatible server?",
        ) from error
    return listed


def _credential(endpoint: Endpoint) -> str:
    return "operator's token" if endpoint.operator_token else "API key"


def choose(endpoint: Endpoint, listed: list[Served]) -> Served:
    """The model to ask for: the endpoint's own, or the only one served.

    Raises:
        InputError: the server does not serve it, or serves several, or its name is none.
    """
    names = shown([model.id for model in listed])
    if endpoint.model is not None:
        if not listed:
            return Served(endpoint.model, "unknown")
        for model in listed:
            if model.id == endpoint.model:
                return model
        raise InputError(
            f"the server does not serve {endpoint.model!r}",
            where=endpoint.url,
            hint=f"it serves {names}",
        )
    # An adapter or alias is listed beside its base, which comes first; do not guess among them.
    if len(listed) != 1:
        raise InputError(
            f"the server serves {len(listed)} models", where=endpoint.url, hint=f"--model: {names}"
        )
    if not listed[0].id.isprintable() or len(listed[0].id) > foreign.MAX_MESSAGE:
        raise InputError(
            "the server's model has a name that nobody can ask for",
            where=f"{endpoint.url}/v1/models",
            hint="--model says which one is meant",
        )
    return listed[0]


def shown(names: Sequence[str]) -> str:
    """The first few of the names that a server lists, and how many more there are."""
    few = ", ".join(foreign.message(name) for name in names[:_FEW])
    more = len(names) - _FEW
    return f"{few} and {more:,} more" if more > 0 else few or "nothing"


def _admission(endpoint: Endpoint) -> str:
    if endpoint.service:
        return f"deployctl keys add {endpoint.service} default makes a key for loads and clients"
    return "give --api-key-file, or set DEPLOYCTL_API_KEY"


def _unreachable(endpoint: Endpoint) -> str:
    if endpoint.service:
        return f"deployctl status says whether {endpoint.service} runs"
    return "check the address, and that the server runs"
