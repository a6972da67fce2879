"""The gateway of a host, as Caddy's own JSON: what it serves, where, and how requests wait. Pure.

One Caddy stands before all services of a user (or of a host) that ask for it. What a service wants
of it is a small document of its bundle (`gateway.json`, an Entry); the gateway's configuration is
made of all the entries there are, and of nothing else.

- *Where a request goes.* A service answers below `/NAME/` on its port, so that an OpenAI client's
  base URL is `http://HOST:PORT/NAME/v1`. The one that came first at a port and a domain (`root`)
  has `/v1` too. Domains may share a port. Routing by model name would mean reading bodies.
- *Several engines.* A service with replicas is a pool: a request goes to the engine with the fewest
  under way, or by prefix (render.prefix). One that refuses a connection, or does not say within
  2 s that it is well, gets none for a second; the others serve. Each has a file of its own below,
  `upstreams/NAME.0` and so on.
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

from deployctl.errors import InputError
from deployctl.planning.plan import ServingPlan
from deployctl.render import caddy, chat, gatewayrefusals, prefix
from deployctl.render.bundle import EVERYWHERE, GATEWAY_FILE, LOOPBACK, Bundle, behind_gateway
from deployctl.render.caddy import error, route
from deployctl.render.gatewayentry import GatewayEntry as GatewayEntry
from deployctl.render.gatewayentry import port_of
from deployctl.spec import ServiceSpec, TargetKind
from deployctl.spec.domain import is_public

# Of a spec, for what is only tried.
NO_GATEWAY = {
    **dict.fromkeys(("domain", "tls", "gateway_port", "hold")),
    **dict.fromkeys(("gateway", "with_chat"), False),
}
HOLD_S = 300  # where nothing is said
ADMIN = "admin.sock"
UPSTREAMS = "upstreams"
LOGS = "logs"  # with ACCESS_LOG, and what Caddy put aside of it when it was long
ACCESS_LOG = f"{LOGS}/access.log"
ROOT_CERTIFICATE = "data/pki/authorities/local/root.crt"  # of TLS `internal`
ENGINES = "/engines"  # of a monitor in a container: below it, each by its container's name
_SERVED = "/services"  # the same, by the service: the only engine that has its requests
HELD = "unix/held.sock"  # an address that is none
NOBODY = "unix/nobody.sock"  # another: an update failed, and nothing is to come
REFUSED = "x-deployctl-refused"  # of a door's answer to a request that no engine has seen
TRY_S = 0.25  # between two attempts to reach an engine
SEEN_S = 2.0  # until a pool has seen that one of its engines is back: see caddy.pool
LEAST_VERSION = (2, 11, 7)  # of Caddy: 2.11.6 cuts every stream after a minute
ENGINE_PORT = 8000  # inside its container
MONITOR_PORT = 20190  # of one in a container, where nobody else has it
# Which engine of a service is meant on a Docker host: a replica by its number, or of an only one
# where it is: in the first place (None), or, having come up beside one that was there, the second.
Place = int | Literal["b"] | None
SECOND: Literal["b"] = "b"
GRACE_S = 70  # to end: requests under way have as long as a draining engine gives them
# Of a body that is kept to be sent again. A client holds no more of the gateway's memory than that,
# and there are no more clients than MOST_FILES: 1.6 GB of them at most.
_KEPT_DIGITS = 5
_BUFFER = 10**_KEPT_DIGITS
MOST_FILES = 16_384  # that the proxy may have open, connections among them
_ENGINE_PATHS = ("v1", "v2", "health", "metrics", "tokenize", "detokenize", "ping", "version")
_METRICS = ["/metrics", "/metrics/*"]
_WAITED = "{http.reverse_proxy.duration_ms}", "{http.reverse_proxy.upstream.duration_ms}"


def entry(plan: ServingPlan, spec: ServiceSpec, *, contained: bool = False) -> GatewayEntry | None:
    """What a service wants of the gateway; None where it wants none. Where they are `contained`,
    the engine has no port of the host.

    Raises:
        InputError: something is said of it and there is none, or several engines are to do without
            it; its name or port is the engine's, or the port its own; a public authority cannot
            reach it.
    """
    if not behind_gateway(plan, spec):
        gatewayrefusals.refuse_unserved(spec)
        return None
    gatewayrefusals.refuse_without(plan, spec)
    chat.refuse(plan, spec)
    if plan.name in _ENGINE_PATHS:
        raise InputError(
            f"a service behind the gateway cannot be called {plan.name}: engines have that route",
            where="name",
            hint="give it another with --name",
        )
    tls = (spec.tls or "acme") if spec.domain else None
    port = port_of(spec)
    if contained and port == MONITOR_PORT:
        raise gatewayrefusals.port_of_the_monitor(port)
    if not contained:
        gatewayrefusals.refuse_ports(plan, spec, port)
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
        hold_s=spec.hold or HOLD_S,
        chat=spec.with_chat,
        replicas=plan.replicas,
        routing=spec.routing or "least-busy",
        at_once=plan.engine.defaults.get("max_num_seqs") if spec.routing == "prefix" else None,
    )


def upstream(service: str, place: Place = None) -> str:
    """The address of a service's engine on the network of a gateway in a container: by its
    container's name. Of all names there, that alone is no other's."""
    return f"deployctl-{_engine(service, place)}:{ENGINE_PORT}"


def inside(service: str, place: Place = None) -> str:
    """The path below which the monitor of such a gateway leads to it."""
    return f"{ENGINES}/{_engine(service, place)}"


def served(service: str) -> str:
    """The path below which it leads to the only engine of a service, in whichever place that is."""
    return f"{_SERVED}/{service}"


def _engine(service: str, place: Place) -> str:
    # The first of several is where an only one would be: either may take the other's place.
    return f"{service}-engine-{place}-1" if place else f"{service}-engine-1"


def server(port: int) -> str:
    """What Caddy, and so its metrics, call where clients are served at a port."""
    return f"port-{port}"


def check(plan: ServingPlan, spec: ServiceSpec, target: TargetKind) -> None:
    """Refuses what rendering would, for whoever only plans.

    Raises:
        InputError: as `entry`.
        PlanRefusedError: the target has none.
    """
    if target == "kubernetes":
        gatewayrefusals.refuse(spec)
    else:
        entry(plan, spec, contained=target == "docker")


def entry_files(plan: ServingPlan, spec: ServiceSpec, *, contained: bool = False) -> dict[str, str]:
    """The entry as a file of a bundle; none where the service wants none."""
    wanted = entry(plan, spec, contained=contained)
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
                    f"{'without' if one else 'with it'}",
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
    ways = [*map(_to_served, (each for each in entries if each.replicas == 1)), _direct()]
    host, more = (EVERYWHERE, ways) if contained else (LOOPBACK, [])
    servers = {"monitor": caddy.monitor(f"{host}:{monitor_port}", more)}
    for port in sorted({each.port for each in entries}):
        here = [each for each in entries if each.port == port]
        servers[server(port)] = _server(here, contained=contained)
    apps: dict[str, Any] = {"http": {"servers": servers, "metrics": {}}}
    if domains := {each.domain: each.tls for each in entries if each.domain}:
        apps["tls"] = caddy.certificates(domains)
        apps["pki"] = {"certificate_authorities": {"local": {"install_trust": False}}}
    document = {
        "admin": {"listen": f"unix/{ADMIN}|0600", "config": {"persist": False}},
        "storage": {"module": "file_system", "root": "data"},
        "logging": caddy.logging(ACCESS_LOG),
        "apps": apps,
    }
    return json.dumps(document, indent=1) + "\n"


def _to_served(each: GatewayEntry) -> dict[str, Any]:
    """To the engine that has a service's requests, in whichever place it is."""
    below = served(each.service)
    handlers = [{"handler": "rewrite", "strip_path_prefix": below}, _proxy(each)]
    return {"match": [{"path": [f"{below}/*"]}], "handle": handlers, "terminal": True}


def _direct() -> dict[str, Any]:
    """To any engine on the gateway's network, whatever is held."""
    name = "{http.regexp.engine.1}"
    match = {"path_regexp": {"name": "engine", "pattern": f"^{ENGINES}/([a-z0-9-]+)/"}}
    handlers = [
        {"handler": "rewrite", "strip_path_prefix": f"{ENGINES}/{name}"},
        {
            "handler": "reverse_proxy",
            "upstreams": [{"dial": f"deployctl-{name}:{ENGINE_PORT}"}],
            "flush_interval": -1,
            "transport": caddy.TRANSPORT,
        },
    ]
    return {"match": [match], "handle": handlers, "terminal": True}


def _server(entries: Sequence[GatewayEntry], *, contained: bool) -> dict[str, Any]:
    first = entries[0]
    host = EVERYWHERE if contained else first.host
    pages = [(each.domain, each.service, each.root) for each in entries if each.chat]
    routes = chat.routes(pages)  # before a service `chat`
    for each in entries:
        below = caddy.at(each.domain, f"/{each.service}/*")
        routes.append(route([below], _subroute(each, strip=True)))
    routes += [route(_at(each), _subroute(each)) for each in entries if each.root]
    nothing = "the gateway serves nothing here: the base URL is /NAME/v1 with a service's name"
    server: dict[str, Any] = {
        "listen": [f"{host}:{first.port}"],
        "protocols": ["h1", "h2"] if first.domain else ["h1"],
        "max_header_bytes": 16 << 10,  # of Caddy 2.11.4 a megabyte
        "read_header_timeout": "30s",
        "read_idle_timeout": f"{caddy.BODY_IDLE_S}s",
        "idle_timeout": "5m",
        "automatic_https": {"disable": True},
        "routes": [*routes, route(None, error(404, nothing, "not_found_error"))],
        "errors": {"routes": caddy.failures()},
        "logs": {"default_logger_name": "access"},
    }
    if first.domain:
        server["tls_connection_policies"] = [{}]
    return server


def _at(each: GatewayEntry) -> list[dict[str, Any]] | None:
    return [{"host": [each.domain]}] if each.domain else None


def _subroute(each: GatewayEntry, *, strip: bool = False) -> dict[str, Any]:
    below = {"handler": "rewrite", "strip_path_prefix": f"/{each.service}"}
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
        f'{{http.reverse_proxy.header.{REFUSED.title()}}} == "not-begun"'
        " && {http.reverse_proxy.is_transport_error} != true"
    )
    kept = _keeps(each)
    first = prefix.first_choice(kept, _proxy(each), turned_away, each.at_once)
    routes = [
        *([{"handle": [below]}] if strip else []),
        route([{"path": _METRICS}], error(404, "there is no such route", "not_found_error")),
        route([{"path": ["/health"]}], _proxy(each)),  # whoever asks wants to know it now
        {"handle": told},
        *([first] if each.by_prefix else []),
        route(kept, _proxy(each, again=turned_away, request_buffers=_BUFFER)),
        route(None, _proxy(each, again="false")),
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
    selected, checked = caddy.pool(each.replicas)
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
        "transport": caddy.TRANSPORT,
    }
