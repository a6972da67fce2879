"""Whether strangers are refused: of a server with the door, of one without, and of a slow one."""

import asyncio
import json
import re
from threading import Event, Lock

import httpx
import pytest

from deployctl.endpoint import Endpoint, Guard
from deployctl.engines.vllm import routes
from deployctl.targets import strangers
from deployctl_door import configuration
from deployctl_door.door import Door

VERSION = "0.32.0"
DOOR = Guard(VERSION, door=True)
ENDPOINT = Endpoint("http://h:1", "m", "a-client-s", "tiny", guard=DOOR)


class Engine:
    """Has every route of a release, as FastAPI does; with a key it guards what vLLM guards."""

    def __init__(self, *, key=False):
        self.key = key
        self.did = []  # what would have had an effect
        self.off = ()  # routes that it refuses, as vLLM does without --enable-scale-out

    def answer(self, method, path, body):
        guarded = path.startswith(("/v1", "/v2", "/inference", "/cohere"))
        if self.key and guarded:
            return 401
        found = False
        for route in routes.served(VERSION):
            of, pattern = route.split(" ", 1)
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", pattern), path):
                found = True
                if of == ("WEBSOCKET" if method == "WEBSOCKET" else method):
                    return self.handle(method, route, body)
        return 405 if found else 404

    def handle(self, method, route, body):
        if method == "WEBSOCKET":
            return 101
        if "{" in route:
            return 404  # no such id
        if method == "GET":
            return 200
        if route in self.off:
            return 403
        if body == b"?" and route in READS:
            return 400
        self.did.append(route)
        return 200

    def __call__(self, request):
        method = "WEBSOCKET" if "upgrade" in request.headers else request.method
        status = self.answer(method, request.url.path, request.content)
        return httpx.Response(status, text="" if request.url.path == "/health" else "{}")


READS = {f"POST {path}" for path in strangers._READ_A_BODY} | routes.clients()


def asking(handler, endpoint=ENDPOINT, **options):
    with httpx.Client(base_url=endpoint.url, transport=httpx.MockTransport(handler)) as client:
        return strangers.judge(client, endpoint, **options)


def behind_the_door(tmp_path, *, keyless):
    """The real door, told what a release of ours tells it."""
    access = routes.access(VERSION, ["generate"])
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "operator_token").write_text("t")
    if not keyless:
        (tmp_path / "secrets" / "api_key").write_text("a-client-s")
    document = {
        "version": 1, "secrets": "secrets", "keyless": keyless,
        **{k: [route.split(" ", 1) for route in v] for k, v in access._asdict().items()},
    }  # fmt: skip
    (tmp_path / "door.json").write_text(json.dumps(document))
    engine = Engine()

    async def app(scope, receive, send):
        status = engine.answer(scope["method"], scope["path"], b"?")
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"what the engine says"})

    door = Door(app, configuration.load(tmp_path / "door.json"))

    def handler(request):
        sent = []

        async def ask():
            scope = {
                "type": "http", "method": request.method, "path": request.url.path,
                "headers": [(k.lower(), v) for k, v in request.headers.raw],
            }  # fmt: skip

            async def receive():
                return {"type": "http.request", "body": request.content}

            async def send(message):
                sent.append(message)

            await door(scope, receive, send)

        asyncio.run(ask())
        return httpx.Response(sent[0]["status"], content=sent[1].get("body", b""))

    return handler


def test_the_door_refuses_strangers_everything(tmp_path):
    found = asking(behind_the_door(tmp_path, keyless=False))
    assert found.ok
    assert found.title == f"{len(routes.served(VERSION))} routes refuse strangers"
    assert found.detail == ""


def test_without_keys_the_door_lets_in_what_clients_ask_and_no_more(tmp_path):
    may = routes.access(VERSION, ["generate"]).user
    open_by_design = ENDPOINT._replace(api_key=None, guard=DOOR._replace(open=may))
    handler = behind_the_door(tmp_path, keyless=True)
    found = asking(handler, open_by_design)
    assert found.ok, found
    assert found.detail == f"{len(may)} more need no key here"
    keyed = asking(handler)  # that it is to be keyed is what the release says
    assert not keyed.ok
    assert {one.route for one in keyed.open} >= {"POST /v1/chat/completions", "GET /v1/models"}
    assert not {one.route for one in keyed.open} - set(may)


def test_an_engine_without_a_door_is_open_and_nothing_happens_to_it():
    engine = Engine()
    found = asking(engine, ENDPOINT._replace(guard=Guard(VERSION, door=False)))
    assert not found.ok
    told = {one.route for one in found.open} | {"GET /health"}
    assert told == set(routes.served(VERSION))
    assert "POST /v1/chat/completions" in found.detail
    assert f"and {len(found.open) - 4} more are open" in found.detail
    assert "deployctl up" in found.hint
    assert engine.did == []


def test_what_an_engine_has_switched_off_is_not_open():
    engine = Engine()
    engine.off = (
        "POST /inference/v1/generate",
        *(f"POST /v1/{of}/render" for of in ("chat/completions", "completions", "messages")),
        *(f"POST /v1/{of}/derender" for of in ("chat/completions", "completions")),
        "POST /v1/responses/render",
    )
    found = asking(engine, ENDPOINT._replace(guard=Guard(VERSION, door=False)))
    assert not {one.route for one in found.open} & {*engine.off}
    assert "POST /v1/chat/completions" in {one.route for one in found.open}


def test_the_engine_s_own_key_leaves_the_rest_open():
    found = asking(Engine(key=True))
    opened = {one.route for one in found.open}
    assert {"POST /invocations", "POST /tokenize", "GET /metrics", "GET /docs"} <= opened
    assert not any(route.split()[1].startswith("/v1") for route in opened)
    assert "an older door" in found.hint
    few = asking(Engine(key=True), few=True)
    assert [one.route for one in few.open] == [r for r in strangers.FEW if r in opened]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_who_lets_in_a_wrong_key_is_found(scheme):
    def any_key(request):
        sent = request.headers.get("authorization", "")
        return httpx.Response(200 if sent.lower().startswith(scheme.lower()) else 401)

    found = asking(any_key, few=True)
    assert {one.credential for one in found.open} == {"wrong"}


def test_health_may_say_200_and_nothing_else():
    def talks(request):
        path = request.url.path
        return httpx.Response(200, text="ready") if path == "/health" else httpx.Response(404)

    assert [one.route for one in asking(talks).open] == ["GET /health"]
    elsewhere = Endpoint("http://h:1", None, "k")
    assert asking(talks, elsewhere).ok  # what tells a load balancer is its owner's matter


def test_a_server_of_somebody_else_is_asked_little_where_no_key_is_given():
    asked = []

    def handler(request):
        asked.append((request.method, request.url.path))
        return httpx.Response(200 if request.url.path == "/metrics" else 401)

    found = asking(handler, Endpoint("http://h:1", None, None))
    assert found.ok
    assert found.detail == "GET /metrics"
    assert len(asked) < 2 * len(strangers.FEW)
    keyed = asking(handler, Endpoint("http://h:1", None, "k"))
    assert not keyed.ok
    assert "put a gateway before it" in keyed.hint


@pytest.mark.parametrize(
    ("location", "ok"),
    [("https://login.example/?to=x", True), ("/static/", False)],
)
def test_who_is_sent_to_log_in_is_not_let_in(location, ok):
    def handler(request):
        if request.url.path == "/static":
            return httpx.Response(307, headers={"location": location})
        return httpx.Response(403)

    assert asking(handler).ok is ok


def test_a_connection_that_the_server_closed_is_made_again():
    left = {"/metrics": 2}

    def closes(request):
        path = request.url.path
        if left.get(path):
            left[path] -= 1
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
        return httpx.Response(200 if path == "/metrics" else 404)

    assert [one.route for one in asking(closes, few=True).open] == ["GET /metrics"]


def test_what_does_not_answer_is_not_taken_for_closed():
    def hangs(request):
        if request.url.path == "/metrics":
            raise httpx.ReadTimeout("slow")
        return httpx.Response(401)

    found = asking(hangs)
    assert not found.ok
    assert found.detail == "GET /metrics is without an answer"
    assert "busy" in found.hint


class Slow:
    """A server, and the clock that its answers move: `takes` seconds each, or none at all."""

    def __init__(self, takes, silent=()):
        self.takes, self.silent = takes, silent
        self.now, self.asked, self.lock = 0.0, 0, Lock()

    def __call__(self, request):
        with self.lock:
            self.asked += 1
            silent = request.url.path in self.silent
            self.now += min(self.takes, request.extensions["timeout"]["read"])
        if silent:
            raise httpx.ReadTimeout("slow")
        return httpx.Response(401)

    def ask(self, count, **options):
        with httpx.Client(
            base_url="http://h:1", transport=httpx.MockTransport(self), timeout=None
        ) as client:
            routes = [f"GET /r{n}" for n in range(count)]
            return strangers.ask(client, routes, clock=lambda: self.now, wrong_key=False, **options)


def test_however_many_answers_are_slow_each_has_its_time():
    server = Slow(takes=0.5)
    assert server.ask(80) == (80, (), ())
    assert server.now == 40


def test_it_ends_in_time_and_says_what_it_did_not_ask():
    server = Slow(takes=1.0)
    answers = server.ask(20, within_s=8.0)
    assert answers.refused + len(answers.untold) == 20
    assert 8 <= answers.refused <= 8 + strangers._AT_ONCE
    assert server.asked == answers.refused


def test_a_server_that_is_silent_is_not_asked_again_and_again():
    server = Slow(takes=99.0, silent={f"/r{n}" for n in range(80)})
    answers = server.ask(80)
    assert len(answers.untold) == 80
    assert server.asked <= 2 * strangers._AT_ONCE
    some = Slow(takes=3.0, silent={"/r3", "/r4", "/r5"})
    assert some.ask(20).untold == ("GET /r3", "GET /r4", "GET /r5")


def test_who_is_held_by_a_server_is_left_behind():
    release = Event()

    def holds(request):
        if request.url.path == "/a":
            release.wait()
        return httpx.Response(401)

    with httpx.Client(base_url="http://h:1", transport=httpx.MockTransport(holds)) as client:
        answers = strangers.ask(client, ["GET /a", "GET /b"], within_s=0.1, wrong_key=False)
        release.set()
    assert answers == (1, (), ("GET /a",))


def test_a_stranger_has_no_header_that_lets_in():
    headers = {"X-Team": "a", "X-Api-Key": "secret", "Cookie": "s=1"}
    with strangers.stranger(ENDPOINT._replace(headers=headers)) as client:
        assert client.headers["x-team"] == "a"
        assert not {"x-api-key", "cookie", "authorization"} & set(client.headers)
