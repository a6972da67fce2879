"""The gateway of a host, as Caddy's own JSON: what it serves, where, and how requests wait. Pure.

One Caddy stands before all services of a user (or of a host) that ask for it. What a service wants
of it is a small document of its bundle (`gateway.json`, an Entry); the gateway's configuration is
made of all the entries there are, and of nothing else.

- *Where a request goes.* A service answers below `/NAME/` on its port, so that an OpenAI client's
  base URL is `http://HOST:PORT/NAME/v1`. The one that came first at a port and a domain (`root`)
  has `/v1` too. Domains may share a port. Routing by model name would mean reading bodies.
- *Several engines.* A service with replicas is a pool: a request goes to the engine with the fewest
  under way. One that refuses a connection, or does not say within 2 s that it is well, gets none
  for a second; the others serve. Each has a file of its own below, `upstreams/NAME.0` and so on.
- *How it holds.* The address of each engine is a file (`upstreams/NAME`), which Caddy reads anew at
  each attempt to dial. Where it names HELD, on which nobody listens, the attempt fails and is made
  again until `hold_s` is over: a service is held, let go and led to another engine by writing a
  file, with no reload and for requests that wait already.
- *What is tried again.* Requests that no engine can have begun: those whose connection was refused,
  and those that a closed door turned away with REFUSED. Whatever else fails has failed, a GET too;
  between gateway and engine no connection is kept, so none is found dead by a request.
- *What a client is told.* 503 with `Retry-After` when it waited in vain, 502 when the engine ended
  with its request inside; both in the shape of OpenAI's errors.
- *What it adds.* `X-Forwarded-*` by its own knowledge alone: it trusts no proxy before it. It keeps
  `/metrics` to itself; all else is the door's to decide.

All paths are relative to the gateway's folder, in which Caddy runs. The administration's socket and
the monitor (`/health`, `/metrics` of Caddy) are for the owner and for loopback.
"""

import json
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from deployctl.errors import InputError, PlanRefusedError
from deployctl.planning.plan import ServingPlan
from deployctl.render.bundle import EVERYWHERE, GATEWAY_FILE, LOOPBACK, Bundle
from deployctl.spec import ServiceSpec
from deployctl.spec.domain import is_public

NO_GATEWAY = {"gateway": False, "domain": None, "tls": None}  # of a spec, for what is only tried
ADMIN = "admin.sock"
UPSTREAMS = "upstreams"
ACCESS_LOG = "access.log"
ROOT_CERTIFICATE = "data/pki/authorities/local/root.crt"  # of TLS `internal`
ENGINES = "/engines"  # of a monitor in a container: below it, each engine by its service's name
HELD = "unix/held.sock"  # an address that is none
NOBODY = "unix/nobody.sock"  # another: an update failed, and nothing is to come
REFUSED = "x-deployctl-refused"  # of a door's answer to a request that no engine has seen
TRY_S = 0.25  # between two attempts to reach an engine
SEEN_S = 2.0  # until a pool has seen that one of its engines is back: see _pool
LEAST_VERSION = (2, 11, 4)  # of Caddy: 2.11.3 sends what it has left of a body again
HTTP_PORT, HTTPS_PORT = 8080, 443
ENGINE_PORT = 8000  # inside its container
MONITOR_PORT = 20190  # of one in a container, where nobody else has it
GRACE_S = 70  # to end: requests under way have as long as a draining engine gives them
# Of a body that is kept to be sent again. A client holds no more of the gateway's memory than that,
# and there are no more clients than MOST_FILES: 1.6 GB of them at most.
_KEPT_DIGITS = 5
_BUFFER = 10**_KEPT_DIGITS
MOST_FILES = 16_384  # that the proxy may have open, connections among them
_ENGINE_PATHS = ("v1", "v2", "health", "metrics", "tokenize", "detokenize", "ping", "version")
_METRICS = ["/metrics", "/metrics/*"]
_TRANSPORT: dict[str, Any] = {
    "protocol": "http",
    "versions": ["1.1"],
    "dial_timeout": "2s",
    "keep_alive": {"enabled": False},
    "compression": False,
}
_WAITED = "{http.reverse_proxy.duration_ms}", "{http.reverse_proxy.upstream.duration_ms}"


class GatewayEntry(BaseModel):
    """What one service wants of the gateway."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    service: str
    port: int  # of the gateway
    exposed: bool  # on every interface, or on loopback
    domain: str | None
    tls: Literal["acme", "internal"] | None
    hold_s: int
    replicas: int = 1  # engines
    root: bool = False  # it has the paths that begin with no service's name

    @property
    def host(self) -> str:
        """The address on which the gateway listens."""
        return EVERYWHERE if self.exposed else LOOPBACK

    @property
    def upstreams(self) -> list[str]:
        """The files with the addresses of its engines, below UPSTREAMS."""
        if self.replicas == 1:
            return [self.service]
        return [f"{self.service}.{number}" for number in range(self.replicas)]

    @property
    def url(self) -> str:
        """Where clients find it: no trailing slash, no `/v1`."""
        scheme, usual = ("https", HTTPS_PORT) if self.domain else ("http", 80)
        port = "" if self.port == usual else f":{self.port}"
        path = "" if self.root else f"/{self.service}"
        return f"{scheme}://{self.domain or LOOPBACK}{port}{path}"


def entry(plan: ServingPlan, spec: ServiceSpec) -> GatewayEntry | None:
    """What a service wants of the gateway; None where it wants none.

    Raises:
        InputError: its name or its port is the engine's; a public authority cannot reach it.
    """
    if not spec.behind_gateway:
        return None
    if plan.name in _ENGINE_PATHS:
        raise InputError(
            f"a service behind the gateway cannot be called {plan.name}: engines have that route",
            where="name",
            hint="give it another with --name",
        )
    tls = (spec.tls or "acme") if spec.domain else None
    port = spec.gateway_port or (HTTPS_PORT if tls else HTTP_PORT)
    if port == spec.port:
        raise InputError(
            f"port {port} cannot be the gateway's and the engine's",
            where="gateway_port",
            hint="give the engine another with --port, or the gateway with --gateway-port",
        )
    if tls == "acme" and not (spec.expose and is_public(str(spec.domain))):
        raise InputError(
            f"a public authority signs for {spec.domain} only where it reaches it",
            where="domain",
            hint="give a public name and --expose, or --tls internal for one of the gateway's own",
        )
    return GatewayEntry(
        service=plan.name,
        port=port,
        exposed=spec.expose,
        domain=spec.domain,
        tls=tls,
        hold_s=spec.hold,
    )


def upstream(service: str) -> str:
    """The address of a service's engine on the network of a gateway in a container."""
    return f"{alias(service)}:{ENGINE_PORT}"


def alias(service: str) -> str:
    """The name that it has there."""
    return f"deployctl-{service}"


def refuse(spec: ServiceSpec, hint: str) -> None:
    """Refuses a gateway on a target that has none.

    Raises:
        PlanRefusedError: the service wants one.
    """
    if spec.behind_gateway:
        where = "domain" if spec.domain else "gateway"
        raise PlanRefusedError(
            "a gateway stands before the services of a host alone", where=where, hint=hint
        )


def entry_files(plan: ServingPlan, spec: ServiceSpec) -> dict[str, str]:
    """The entry as a file of a bundle; none where the service wants none."""
    wanted = entry(plan, spec)
    return {} if wanted is None else {GATEWAY_FILE: wanted.model_dump_json(indent=2) + "\n"}


def entry_of(bundle: Bundle) -> GatewayEntry | None:
    """The entry that a bundle was rendered with."""
    text = bundle.files.get(GATEWAY_FILE)
    return GatewayEntry.model_validate_json(text) if text is not None else None


def admitted(wanted: GatewayEntry, others: Sequence[GatewayEntry]) -> GatewayEntry:
    """The entry beside others: it has the root where no other at its address has.

    Raises:
        InputError: another service has that port otherwise, with TLS or without, exposed or not;
            or that domain with another certificate.
    """
    for other in others:
        if other.service == wanted.service:
            continue
        if other.domain and other.domain == wanted.domain and other.tls != wanted.tls:
            raise InputError(
                f"the certificate of {other.domain} is {other.tls} for {other.service}",
                where="tls",
                hint=f"say --tls {other.tls} here too",
            )
        if other.port != wanted.port:
            continue
        for one, what in ((bool(other.domain), "TLS"), (other.exposed, "--expose")):
            if one != (bool(wanted.domain) if what == "TLS" else wanted.exposed):
                raise InputError(
                    f"the gateway serves {other.service} on port {other.port} "
                    f"{'with' if one else 'without'} {what}, and {wanted.service} is to be served "
                    f"{'without' if one else 'with'}",
                    where="gateway_port",
                    hint="give it a port of its own with --gateway-port",
                )
    there = [each for each in others if each.service != wanted.service]
    place = (wanted.port, wanted.domain)
    taken = any(each.root and (each.port, each.domain) == place for each in there)
    return wanted.model_copy(update={"root": not taken})


def configuration(
    entries: Sequence[GatewayEntry], *, monitor_port: int, contained: bool = False
) -> str:
    """Caddy's configuration for these services: the same entries, the same bytes. Where it is
    `contained`, in a container, it listens on all that this has: what of it is published, and on
    which address of the host, is the container's to say.
    """
    entries = sorted(entries, key=lambda each: each.service)
    servers = {"monitor": _monitor(monitor_port, contained=contained)}
    for port in sorted({each.port for each in entries}):
        here = [each for each in entries if each.port == port]
        servers[f"port-{port}"] = _server(here, contained=contained)
    apps: dict[str, Any] = {"http": {"servers": servers, "metrics": {}}}
    if domains := {each.domain: each.tls for each in entries if each.domain}:
        apps["tls"] = _certificates(domains)
        apps["pki"] = {"certificate_authorities": {"local": {"install_trust": False}}}
    document = {
        "admin": {"listen": f"unix/{ADMIN}|0600", "config": {"persist": False}},
        "storage": {"module": "file_system", "root": "data"},
        "logging": _logging(),
        "apps": apps,
    }
    return json.dumps(document, indent=1) + "\n"


def _certificates(domains: dict[str, Any]) -> dict[str, Any]:
    policies = [
        {"subjects": [domain], "issuers": [{"module": tls}]}
        for domain, tls in sorted(domains.items())
    ]
    return {"certificates": {"automate": sorted(domains)}, "automation": {"policies": policies}}


def _monitor(port: int, *, contained: bool) -> dict[str, Any]:
    """For whoever looks after it, and for Prometheus. In a container it leads its host to engines
    too, which publish no port."""
    direct = [_direct()] if contained else []
    return {
        "listen": [f"{EVERYWHERE if contained else LOOPBACK}:{port}"],
        "protocols": ["h1"],
        "automatic_https": {"disable": True},
        "routes": [
            _route([{"path": ["/health"]}], {"handler": "static_response", "status_code": 200}),
            _route([{"path": ["/metrics"]}], {"handler": "metrics"}),
            *direct,
        ],
    }


def _direct() -> dict[str, Any]:
    """To the engine of any service on the gateway's network, whatever is held."""
    name = "{http.regexp.engine.1}"
    match = {"path_regexp": {"name": "engine", "pattern": f"^{ENGINES}/([a-z0-9-]+)/"}}
    handlers = [
        {"handler": "rewrite", "strip_path_prefix": f"{ENGINES}/{name}"},
        {
            "handler": "reverse_proxy",
            "upstreams": [{"dial": upstream(name)}],
            "flush_interval": -1,
            "transport": _TRANSPORT,
        },
    ]
    return {"match": [match], "handle": handlers, "terminal": True}


def _server(entries: Sequence[GatewayEntry], *, contained: bool) -> dict[str, Any]:
    first = entries[0]
    host = EVERYWHERE if contained else first.host
    routes = [_route(_below(each), _subroute(each, strip=True)) for each in entries]
    routes += [_route(_at(each), _subroute(each)) for each in entries if each.root]
    nothing = "the gateway serves nothing here: the base URL is /NAME/v1 with a service's name"
    server: dict[str, Any] = {
        "listen": [f"{host}:{first.port}"],
        "protocols": ["h1", "h2"] if first.domain else ["h1"],
        "read_header_timeout": "30s",
        "idle_timeout": "5m",
        "automatic_https": {"disable": True},
        "routes": [*routes, _route(None, _error(404, nothing, "not_found_error"))],
        "errors": {"routes": _failures()},
        "logs": {"default_logger_name": "access"},
    }
    if first.domain:
        server["tls_connection_policies"] = [{}]
    return server


def _at(each: GatewayEntry) -> list[dict[str, Any]] | None:
    return [{"host": [each.domain]}] if each.domain else None


def _below(each: GatewayEntry) -> list[dict[str, Any]]:
    host = {"host": [each.domain]} if each.domain else {}
    return [{**host, "path": [f"/{each.service}/*"]}]


def _subroute(each: GatewayEntry, *, strip: bool = False) -> dict[str, Any]:
    prefix = {"handler": "rewrite", "strip_path_prefix": f"/{each.service}"}
    total, engine = _WAITED
    told = [
        {"handler": "log_append", "key": "service", "value": each.service},
        {"handler": "log_append", "key": "total_ms", "value": total},
        {"handler": "log_append", "key": "engine_ms", "value": engine},
    ]
    # How far a request came that failed on its way nobody knows, whatever was answered before.
    # Only a body that is whole in its buffer, and so has a length, is sent again: of another Caddy
    # 2.11.7 gives the buffer to two other requests, of which one is sent with the other's body.
    turned_away = (
        f'{{http.reverse_proxy.header.{_canonical(REFUSED)}}} == "not-begun"'
        " && {http.reverse_proxy.is_transport_error} != true"
    )
    routes = [
        *([{"handle": [prefix]}] if strip else []),
        _route([{"path": _METRICS}], _error(404, "there is no such route", "not_found_error")),
        _route([{"path": ["/health"]}], _proxy(each)),  # whoever asks wants to know it now
        {"handle": told},
        _route(_keeps(each), _proxy(each, again=turned_away, request_buffers=_BUFFER)),
        _route(None, _proxy(each, again="false")),
    ]
    return {"handler": "subroute", "routes": routes}


def _keeps(each: GatewayEntry) -> list[dict[str, Any]]:
    """Of which requests the body is kept. While a service is held, of none: anybody may send them,
    and no door asks for a key before they go on; and of HTTP/2 a connection has hundreds."""
    short = {"Content-Length": {"pattern": f"^[0-9]{{1,{_KEPT_DIGITS}}}$"}}
    held = [{"vars": {address: [HELD, NOBODY]}} for address in _addresses(each)]
    return [{"header_regexp": short, "not": [{"protocol": "http/2+"}, one]} for one in held]


def _addresses(each: GatewayEntry) -> list[str]:
    return [f"{{file.{UPSTREAMS}/{name}}}" for name in each.upstreams]


def _proxy(each: GatewayEntry, *, again: str | None = None, **more: Any) -> dict[str, Any]:
    """What leads a request to the engine, and has it wait where none takes it. `again` says which
    answer sends it once more; None: nothing does, and nothing waits."""
    selected, checked = _pool(each)
    waiting = {
        "try_duration": f"{each.hold_s}s",
        "try_interval": f"{int(TRY_S * 1000)}ms",
        "retry_match": [{"expression": again}],
    }
    return {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": address} for address in _addresses(each)],
        "flush_interval": -1,
        **checked,
        "load_balancing": {**selected, **({} if again is None else waiting)},
        **more,
        "transport": _TRANSPORT,
    }


def _pool(each: GatewayEntry) -> tuple[dict[str, Any], dict[str, Any]]:
    """How one of several engines is chosen, and how one that is away is left out."""
    if each.replicas == 1:
        return {}, {}
    looks = {"uri": "/health", "interval": "500ms", "timeout": "2s"}
    fails = {"fail_duration": "1s", "max_fails": 1}
    checked = {"health_checks": {"active": looks, "passive": fails}}
    return {"selection_policy": {"policy": "least_conn"}}, checked


def _canonical(header: str) -> str:
    return "-".join(word.capitalize() for word in header.split("-"))


def _failures() -> list[dict[str, Any]]:
    """What clients are told where no engine answered: it never began, or it ended meanwhile."""
    late = "no engine took the request in time; try again"
    waited = _error(503, late, "service_unavailable", retry_after=10)
    cut = _error(
        "{http.error.status_code}", "the engine ended before it had answered", "server_error"
    )
    never = '{http.error.message}.startsWith("dial ") || {http.error.status_code} == 503'
    return [_route([{"expression": never}], waited), _route(None, cut)]


def _error(
    status: int | str, message: str, kind: str, *, retry_after: int | None = None
) -> dict[str, Any]:
    error = {"message": message, "type": kind, "param": None, "code": None}
    headers = {"Content-Type": ["application/json"]}
    if retry_after is not None:
        headers["Retry-After"] = [str(retry_after)]
    return {
        "handler": "static_response",
        "status_code": status,
        "headers": headers,
        "body": json.dumps({"error": error}),
    }


def _route(match: list[dict[str, Any]] | None, handler: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"match": match} if match else {}
    return {**found, "handle": [handler], "terminal": True}


def _logging() -> dict[str, Any]:
    """A line a request, without what clients sent: it tells how long each waited."""
    file = {"output": "file", "filename": ACCESS_LOG, "mode": "0600"}
    return {
        "logs": {
            # Caddy blots out some headers with keys, and not all that clients have.
            "default": {"exclude": ["http.log.access"], "encoder": _without("request>headers")},
            "access": {
                "include": ["http.log.access.access"],
                "writer": {**file, "roll_size_mb": 16, "roll_keep": 1, "roll_gzip": False},
                "encoder": _without("request>headers", "resp_headers", "request>tls", "user_id"),
            },
        }
    }


def _without(*fields: str) -> dict[str, Any]:
    """An encoder that leaves these out."""
    return {
        "format": "filter",
        "wrap": {"format": "json"},
        "fields": {name: {"filter": "delete"} for name in fields},
    }
