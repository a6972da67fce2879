"""The door before a real vLLM: nothing but what is allowed answers, and what is, as without it."""

import json
import re

import pytest
from tests.e2e.guarded import EXPIRED, REVOKED, TEAM, total
from tests.e2e.spellings import METHODS, UPGRADE, Spelling, broken, presented, spellings
from tests.e2e.wire import Wire

from deployctl.engines.vllm import routes

pytestmark = pytest.mark.vllm

VERSION, TASKS = "0.32.0", ("generate",)
UNKNOWN = ("GET /", "GET /admin", "GET /.env", "GET /favicon.ico", "POST /v1", "GET /v1/models/x")
REFUSED_BY_DOOR = {401: "invalid_api_key", 404: "not_found"}  # what its own errors say as `code`


@pytest.fixture(scope="module")
def credentials(keyed_engine):
    """A header by who sends it."""
    secrets = {
        "wrong": "wrong-key",
        "prefix": keyed_engine.key[:-1],
        "revoked": REVOKED,
        "expired": EXPIRED,
        "right": TEAM,
        "operator": keyed_engine.operator_token,
    }
    headers = {who: f"Authorization: Bearer {secret}\r\n" for who, secret in secrets.items()}
    return {"nobody": "", **headers}


def listed():
    """Every route that there is to ask for, by method and path, and who may; None for nobody."""
    access = routes.access(VERSION, TASKS)
    by_route = {route: kind for kind, group in access._asdict().items() for route in group}
    found = {("GET", "/v1/responses/render"): "operator"}  # an id like any other
    for route in (*routes.served(VERSION), *UNKNOWN):
        method, path = asked(route)
        if method != "WEBSOCKET":
            found[method, path] = by_route.get(route)
    return found


def asked(route):
    """Method and path to ask for a route, with an id where one belongs."""
    method, path = route.split(" ", 1)
    return method, re.sub(r"\{\w+\}", "id_1", path)


def wanted(kind, who):
    """The status that a route's class and a credential give; None for the engine's own answer."""
    if kind is None:
        return 404
    if kind == "probe":
        return 200
    let_in = {"user": ("right", "operator"), "operator": ("operator",)}[kind]
    return None if who in let_in else 401


def is_right(answer, kind, status, *, head=False):
    """Whether an answer is what was wanted, of whom it was wanted."""
    if kind == "probe" and status == 200:
        return (answer.status, answer.body) == (200, b"")
    try:
        code = json.loads(answer.body)["error"]["code"]
    except (ValueError, TypeError, KeyError):
        code = None
    if status is None:  # the engine's: even its own 404 is not the door's
        return answer.status not in (0, 401, 403, 500) and code not in REFUSED_BY_DOOR.values()
    return answer.status == status and (head or code == REFUSED_BY_DOOR[status])


def test_nothing_but_what_is_allowed_answers(keyed_engine, credentials):
    known, wire = listed(), Wire(keyed_engine.port)
    count = passed = refused = 0
    wrong = []
    before = keyed_engine.figures()
    for (method, path), kind in known.items():
        others = [Spelling("method", other, path, same=False) for other in METHODS]
        for spelling in (*spellings(method, path), *(o for o in others if o.method != method)):
            of = kind if spelling.same else known.get((spelling.method, spelling.target))
            for who, credential in credentials.items():
                status = wanted(of, who)
                answer = wire.ask(spelling.request(credential), method=spelling.method)
                count += 1
                passed += status in (None, 200)
                refused += status in (401, 404)
                if not is_right(answer, of, status, head=spelling.method == "HEAD"):
                    wrong.append((spelling.name, spelling.method, spelling.target, who, answer))
    wire.close()
    assert not wrong, f"{len(wrong)} of {count}, {passed} of them allowed: {wrong[:10]}"
    assert count > 20_000
    after = keyed_engine.figures()
    name = "deployctl_door_refusals_total"
    assert total(after, name) - total(before, name) == refused
    # The engine itself counts what reaches it, but for a few routes such as /metrics and /health.
    name = "http_requests_total"
    assert 0 < total(after, name) - total(before, name) <= passed


def test_broken_requests_and_odd_headers_open_nothing(keyed_engine, credentials):
    wire = Wire(keyed_engine.port)
    wrong = []
    for target in ("/metrics", "/v1/models", "/version"):
        for name, (request, status) in broken(target, credentials["operator"]).items():
            answer = wire.ask(request)
            if answer.status not in (status, 0):
                wrong.append((target, name, answer))
    for target, secret in (("/v1/models", TEAM), ("/metrics", keyed_engine.operator_token)):
        for name, (header, status) in presented(secret).items():
            answer = wire.ask(Spelling("plain", "GET", target).request(header))
            if answer.status != status:
                wrong.append((target, name, answer))
        for header, status in (
            (f"X-Api-Key: {secret}\r\n", 200),
            (f"X-Api-Key: {secret}\r\nAuthorization: Bearer x\r\n", 401),
            (f"X-Api-Key: {secret}\r\n" * 2, 401),
        ):
            answer = wire.ask(Spelling("plain", "GET", target).request(header))
            assert answer.status == status, header
    assert not wrong, wrong
    # What one request has shown does not count for the next one on its connection.
    with_key = Spelling("plain", "GET", "/v1/models").request(credentials["right"])
    assert wire.ask(with_key + Spelling("plain", "GET", "/v1/models").request("")).status == 200
    assert wire.read().status == 401
    wire.close()


def test_a_browser_may_ask_whether_it_may_ask_what_users_may_and_nothing_else(keyed_engine):
    wire = Wire(keyed_engine.port)
    told = {}
    for route in routes.served(VERSION):
        method, target = asked(route)
        header = f"Origin: http://h\r\nAccess-Control-Request-Method: {method}\r\n"
        answer = wire.ask(Spelling("preflight", "OPTIONS", target).request(header))
        told[route] = "access-control-allow-methods" in answer.headers
        assert told[route] or answer.status == 404, route
    wire.close()
    assert {route for route, may in told.items() if may} == set(routes.access(VERSION, TASKS).user)


def test_websockets_open_nowhere(keyed_engine, credentials):
    paths = {asked(route)[1] for route in routes.served(VERSION)}
    wrong = []
    for path in sorted(paths):
        for who, credential in credentials.items():
            wire = Wire(keyed_engine.port)
            answer = wire.ask(Spelling("websocket", "GET", path).request(credential + UPGRADE))
            wire.close()
            if answer.status != 403 or answer.body:
                wrong.append((path, who, answer))
    assert not wrong, f"{len(wrong)} of {len(paths) * len(credentials)}: {wrong[:10]}"
