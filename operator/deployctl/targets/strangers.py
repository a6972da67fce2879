"""Whether a server refuses strangers: asks its routes without a credential, and with a wrong one.

Does no harm to a server that lets everybody in. A route that changes something is asked by
another method than its own: an engine that has it says 405, which tells that it was reached.
By its own method is asked what reads a body, with one that no engine takes.
"""

import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple

from deployctl.endpoint import Endpoint, Guard
from deployctl.engines.vllm import routes
from deployctl.render import door
from deployctl.targets.history import Release
from deployctl.targets.keys import KEYS

if TYPE_CHECKING:
    import httpx

REFUSALS = (401, 403, 404)
FEW = (  # enough to tell a door from none, and from the engine's own key, which guards /v1
    "GET /v1/models",
    "POST /v1/chat/completions",
    "POST /invocations",
    "POST /tokenize",
    "GET /metrics",
    "GET /version",
    "GET /openapi.json",
)
WITHIN_S = 60.0  # in all: a busy machine behind a port-forward takes seconds for each answer
_EACH_S = 10.0  # for one answer, and without any
_LATE_S = 0.2  # for who had no time left to say so
_AT_ONCE = 4  # connections: through a cluster each is a stream of its own, which is dear to make
_TRIES = 3
_SHOWN = 4  # routes that a line names
_LARGE = 65536  # bytes
_WORD = "deployctl-smoke"  # in the place of an id: there is no such thing
_NO_DOCUMENT = b"?"
# Besides what clients ask: routes that read a JSON body before they do anything.
_READ_A_BODY = {
    *("/invocations", "/pooling", "/tokenize", "/detokenize", "/inference/v1/generate"),
    *("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/v1/responses/render"),
    *("/v1/chat/completions/render", "/v1/completions/render", "/v1/messages/render"),
    *("/v1/chat/completions/derender", "/v1/completions/derender"),
}
_UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "ZGVwbG95Y3RsLXNtb2tlIQ==",
}
_A_CREDENTIAL = re.compile(r"key|token|auth|cookie|secret|session", re.IGNORECASE)


class Opened(NamedTuple):
    """A route that let a stranger in."""

    route: str  # "METHOD /path"
    method: str  # that it was asked by
    credential: str  # "none" or "wrong"
    status: int


class Answers(NamedTuple):
    """What strangers got."""

    refused: int  # routes
    open: tuple[Opened, ...]  # the first answer of each route that gave one
    untold: tuple[str, ...]  # routes that did not say: no answer, or a server that is too busy


class Reception(NamedTuple):
    """How strangers are received, in words."""

    ok: bool
    title: str  # what should hold
    detail: str
    hint: str | None = None
    open: tuple[Opened, ...] = ()


class _Ask(NamedTuple):
    route: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes | None = None


def guard(release: Release, folder: Path) -> Guard:
    """What stands before the engine of a release. `folder` is the service's."""
    engine, spec = release.plan.engine, release.spec
    keyed = spec.needs_api_key or (folder / KEYS).exists()
    return Guard(
        version=engine.version,
        door=door.stands_before(release.bundle),
        open=() if keyed else routes.access(engine.version, engine.tasks).user,
    )


def refused(endpoint: Endpoint) -> tuple[str, ...]:
    """The routes that a server is to refuse: those of its release, or of every release.

    What tells a load balancer that it is well is left out where the server is none of ours.
    """
    if endpoint.guard is None:
        return tuple(r for r in routes.every() if r not in routes.probes())
    return tuple(r for r in routes.served(endpoint.guard.version) if r not in endpoint.guard.open)


def judge(
    client: "httpx.Client", endpoint: Endpoint, *, few: bool = False, within_s: float = WITHIN_S
) -> Reception:
    """Whether strangers are refused by all routes of a server, or by a few that tell.

    Of a server that is none of ours, and of which no key is given, it is only said what is open
    to anyone: it may be meant to be.
    """
    guard = endpoint.guard
    if guard is None and endpoint.credential is None:
        found = ask(client, FEW, wrong_key=False, within_s=within_s)
        named = ", ".join(opened.route for opened in found.open) or "none of those asked"
        return Reception(True, "open to anyone (no key was given)", named)
    asked = refused(endpoint)
    if few:
        asked = tuple(route for route in FEW if route in asked)
    may = guard.open if guard else ()
    found = ask(client, asked, may=may, within_s=within_s)
    title = f"{len(asked)} routes refuse strangers"
    if not found.open and not found.untold:
        return Reception(True, title, f"{len(may)} more need no key here" if may else "")
    opened = _named([one.route for one in found.open], "open")
    untold = _named(found.untold, "without an answer")
    hint = _closing(endpoint) if opened else "it is busy: ask again when it is not"
    detail = "; ".join(filter(None, (opened, untold)))
    return Reception(False, title, detail, hint, found.open)


def _named(routes: Sequence[str], what: str) -> str:
    if not routes:
        return ""
    more = f" and {len(routes) - _SHOWN} more" if len(routes) > _SHOWN else ""
    return f"{', '.join(routes[:_SHOWN])}{more} {'are' if len(routes) > 1 else 'is'} {what}"


def _closing(endpoint: Endpoint) -> str:
    """How what is open is closed."""
    guard, service = endpoint.guard, endpoint.service
    if guard is None:
        return "do not expose it: put a gateway before it, or serve it with deployctl up"
    if not guard.door:
        return f"{service} was rendered before there was a door: run deployctl up for it again"
    return f"an older door, or another program: run deployctl up for {service} again"


def ask(
    client: "httpx.Client",
    asked: Iterable[str],
    *,
    may: Iterable[str] = (),
    wrong_key: bool = True,
    within_s: float = WITHIN_S,
    clock: Callable[[], float] = time.monotonic,
) -> Answers:
    """Asks every route that is to be refused. `client` has no credential (`stranger` makes one).

    `may` are the routes that are open by design: no other route is asked in a way that is
    one of theirs. However many are slow, each has its time; it ends once nothing has answered for
    that long, and after `within_s` seconds at all costs.
    """
    wanted, patterns = list(asked), [_pattern(route) for route in may]
    asks = [one for route in wanted for one in _asks(route) if not _fits(one, patterns)]
    credentials = {"none": {}, "wrong": {"Authorization": f"Bearer {secrets.token_urlsafe(32)}"}}
    tries = [
        (one, name, headers)
        for name, headers in list(credentials.items())[: 2 if wrong_key else 1]
        for one in asks
    ]
    jobs = [partial(_status, client, one, headers) for one, _, headers in tries]
    statuses = _answered(jobs, within_s, clock)
    found: dict[str, Opened] = {}
    untold: dict[str, None] = {}
    for (one, name, _), code in zip(tries, statuses, strict=True):
        if code in (None, 429):
            untold[one.route] = None
        elif code not in REFUSALS:
            found.setdefault(one.route, Opened(one.route, one.method, name, code or 0))
    unsure = tuple(route for route in untold if route not in found)
    rank = {route: number for number, route in enumerate(FEW)}  # the best known are named first
    opened = tuple(sorted(found.values(), key=lambda one: rank.get(one.route, len(rank))))
    return Answers(len(wanted) - len(found) - len(unsure), opened, unsure)


def _answered(
    jobs: Sequence[Callable[[float], int | None]], within_s: float, clock: Callable[[], float]
) -> list[int | None]:
    """What a few workers are told, each on a connection that it keeps; None of what is not.

    They are left behind where a server holds them: one that sends a header a byte at a time.
    """
    until = last = clock()
    until += within_s
    statuses: list[int | None] = [None] * len(jobs)
    numbers = iter(range(len(jobs)))  # a range's next() is one step, so that workers may share it

    def work() -> None:
        nonlocal last
        for number in numbers:
            now = clock()
            if now >= min(until, last + _EACH_S):
                return
            statuses[number] = jobs[number](min(until - now, _EACH_S))
            if statuses[number] is not None:
                last = clock()

    workers = [Thread(target=work, daemon=True) for _ in range(min(_AT_ONCE, len(jobs)))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(max(until + _LATE_S - clock(), 0.0))
    return list(statuses)


def stranger(endpoint: Endpoint) -> "httpx.Client":
    """A client that has nothing which would let it in: no key, no token, no such header.

    Raises:
        InputError: the certificates to trust cannot be read.
    """
    from deployctl import web

    shown = {n: v for n, v in endpoint.headers.items() if not _A_CREDENTIAL.search(n)}
    return web.client(endpoint, _EACH_S, headers=shown, at_once=_AT_ONCE)


def _asks(route: str) -> Iterator[_Ask]:
    method, pattern = route.split(" ", 1)
    path = re.sub(r"\{\w+\}", _WORD, pattern)
    if method == "WEBSOCKET":
        yield _Ask(route, "GET", path, _UPGRADE)
        return
    if method == "POST" and (pattern in _READ_A_BODY or route in routes.clients()):
        # By its own alone: of what an engine has switched off, another method tells nothing.
        yield _Ask(route, "POST", path, {"Content-Type": "application/json"}, _NO_DOCUMENT)
        return
    yield _Ask(route, "GET", path, {})
    if method == "GET" and path != pattern:
        yield _Ask(route, "PUT", path, {})  # by its own, an engine says 404 too: no such id


def _status(
    client: "httpx.Client", one: _Ask, headers: dict[str, str], timeout_s: float
) -> int | None:
    """The answer's status; None where there is none."""
    import httpx

    for _ in range(_TRIES):
        try:
            return _asked(client, one, headers, timeout_s)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            continue  # the server had closed the connection, as one does after an error
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            return None
    return None


def _asked(client: "httpx.Client", one: _Ask, headers: dict[str, str], timeout_s: float) -> int:
    """The answer's status; 404 where it sends a stranger elsewhere, such as to log in."""
    import httpx

    with client.stream(
        one.method,
        one.path,
        headers={**one.headers, **headers},
        content=one.body,
        timeout=timeout_s,
    ) as answer:
        if answer.has_redirect_location:
            target = httpx.URL(answer.headers["location"]).path
            elsewhere = target.rstrip("/") != answer.request.url.path.rstrip("/")
            return 404 if elsewhere else answer.status_code
        if one.route in routes.probes() and answer.status_code in (200, 503):
            told = any(answer.iter_bytes())
            return answer.status_code if told else 404
        if int(answer.headers.get("content-length", _LARGE)) < _LARGE:
            answer.read()  # so that the connection can be used again
        return answer.status_code


def _pattern(route: str) -> tuple[str, re.Pattern[str]]:
    method, path = route.split(" ", 1)
    parts = re.split(r"\{\w+\}", path)
    return method, re.compile("[^/]+".join(re.escape(part) for part in parts))


def _fits(one: _Ask, opened: Iterable[tuple[str, re.Pattern[str]]]) -> bool:
    return any(one.method == method and path.fullmatch(one.path) for method, path in opened)
