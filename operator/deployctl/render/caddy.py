"""Caddy's JSON: pieces of the gateway's configuration, whatever it serves. Pure."""

import json
from typing import Any

# Of its environment, whatever the host has. With as many threads as cores (Go's own choice) a host
# of few has a text wait in Go's queue until a new request is through; so the kernel lets it pass.
# On two cores that halves the 99th percentile of what gaps of 64 streams grow by (benchmarks).
THREADS = {"GOMAXPROCS": "8"}

TRANSPORT: dict[str, Any] = {
    "protocol": "http",
    "versions": ["1.1"],
    "dial_timeout": "2s",
    "keep_alive": {"enabled": False},
    "compression": False,
}

# Without a byte of a request's body. A rate may not be asked for: Caddy counts from a request's
# beginning, and one that was held has sent nothing for minutes.
BODY_IDLE_S = 60

# Of an error in a request: no engine has begun it. Caddy says so of dialling, and of none to dial;
# 503 is also what a door said that let nobody in.
NEVER_BEGAN = '{http.error.message}.startsWith("dial ") || {http.error.status_code} == 503'


def failures() -> list[dict[str, Any]]:
    """What clients are told where no engine answered: it never began, their body did not come in,
    or it ended meanwhile."""
    late = "no engine took the request in time; try again"
    waited = error(503, late, "service_unavailable", retry_after=10)
    cut = error(
        "{http.error.status_code}", "the engine ended before it had answered", "server_error"
    )
    stalled = error(408, f"no byte of the body came for {BODY_IDLE_S} s", "invalid_request_error")
    return [
        route([{"expression": NEVER_BEGAN}], waited),
        route([{"expression": "{http.error.status_code} == 504"}], stalled),  # no other limit
        route(None, cut),
    ]


def error(
    status: int | str, message: str, kind: str, *, retry_after: int | None = None
) -> dict[str, Any]:
    """An answer of the gateway's own, in the shape of OpenAI's errors; `retry_after` in seconds."""
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


def at(domain: str | None, *paths: str) -> dict[str, Any]:
    """Matches requests for these paths, at the domain where there is one."""
    return {**({"host": [domain]} if domain else {}), "path": list(paths)}


def route(match: list[dict[str, Any]] | None, handler: dict[str, Any]) -> dict[str, Any]:
    """What becomes of requests that match; of all, where nothing is said."""
    found: dict[str, Any] = {"match": match} if match else {}
    return {**found, "handle": [handler], "terminal": True}


def certificates(domains: dict[str, Any]) -> dict[str, Any]:
    """Those of the domains, by who signs each."""
    policies = [
        {"subjects": [domain], "issuers": [{"module": tls}]}
        for domain, tls in sorted(domains.items())
    ]
    return {"certificates": {"automate": sorted(domains)}, "automation": {"policies": policies}}


def monitor(listen: str, more: list[dict[str, Any]]) -> dict[str, Any]:
    """For whoever looks after it, and for Prometheus; `more` are routes of its own."""
    return {
        "listen": [listen],
        "protocols": ["h1"],
        "automatic_https": {"disable": True},
        "routes": [
            route([{"path": ["/health"]}], {"handler": "static_response", "status_code": 200}),
            route([{"path": ["/metrics"]}], {"handler": "metrics"}),
            *more,
        ],
    }


def pool(replicas: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """How one of several engines is chosen, and how one that is away is left out."""
    if replicas == 1:
        return {}, {}
    looks = {"uri": "/health", "interval": "500ms", "timeout": "2s"}
    fails = {"fail_duration": "1s", "max_fails": 1}
    checked = {"health_checks": {"active": looks, "passive": fails}}
    return {"selection_policy": {"policy": "least_conn"}}, checked


def logging(access_log: str) -> dict[str, Any]:
    """A line a request, without headers and query, in which clients send keys: it tells how long
    each waited."""
    file = {"output": "file", "filename": access_log, "mode": "0600"}
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
    """An encoder that leaves these out, and the query of an address."""
    query = {"filter": "regexp", "regexp": "[?].*", "value": "?"}
    return {
        "format": "filter",
        "wrap": {"format": "json"},
        "fields": {"request>uri": query, **{name: {"filter": "delete"} for name in fields}},
    }
