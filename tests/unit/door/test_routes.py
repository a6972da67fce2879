"""What is not allowed does not exist, however it is written."""

import json
from itertools import chain
from pathlib import Path

import pytest
import yaml
from starlette._utils import get_route_path
from starlette.middleware.cors import CORSMiddleware

from deployctl_door.door import Door

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    "path",
    [
        "/invocations", "/docs", "/openapi.json", "/version", "/load", "/v1/chat/completions/",
        "//v1/chat/completions", "/v1//chat/completions", "/v1/./chat/completions", "/metrics/",
        "/x/../v1/chat/completions", "/V1/chat/completions", "/v1/chat/completions;x", "", "/", "*",
        "/v1/responses/", "/v1/responses/a/b", "/v1/responses/..", "/v1/responses/%2e", "/health/",
        "/v1/chat/completions/render", "/v1/chat/completions\x00", "/v1/modelſ",
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", [None, "the-default-key", "the-operator-token"])
def test_anything_else_is_not_there_with_any_key(ask, engine, path, key):
    for method in ("GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE"):
        assert ask(method, path, key=key).status == 404
    assert engine.seen == []


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "OPTIONS", "post"])
def test_a_route_is_its_method_too(ask, engine, method):
    assert ask(method, CHAT, key="the-default-key").status == 404
    assert engine.seen == []


@pytest.mark.parametrize(
    "raw", [b"/v1/chat%2Fcompletions", b"/v1/%63hat/completions", b"/v1/chat/completions%00"]
)
def test_a_path_in_another_writing_is_another_path(ask, engine, raw):
    assert ask("POST", CHAT, key="the-default-key", body={}, raw=raw).status == 404
    assert engine.seen == []


def test_a_path_that_was_sent_in_another_writing_than_it_is_read_in_is_none(ask, engine):
    """However a server comes to give a door both."""
    for path in ("/metrics", "/v1/models/x", "/v1/model", ""):
        raw = b"/v1/models"
        assert ask("GET", path, key="the-default-key", raw=raw).status == 404
    assert engine.seen == []


def test_a_query_changes_nothing(ask):
    assert ask("GET", "/v1/models", key="the-default-key", raw=b"/v1/models?x=/y").status == 200


PREFIXES = ["", "/llm", "/llm/", "/v1", "/v1/models", "v1", "/"]
PATHS = [
    "/v1/models", "/llm/v1/models", "/llm//v1/models", "/llmv1/models", "/llm/llm/v1/models",
    "/llm", "/llm/", "/llm/version", "/v1/v1/models", "/v1/models/v1/models", "//v1/models",
    "/LLM/v1/models", "/v1/llm/v1/models", "/metrics", "/llm/metrics",
]  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("path", PATHS)
def test_a_proxys_prefix_is_taken_off_as_the_engine_does(ask, engine, prefix, path):
    routed = get_route_path({"path": path, "root_path": prefix})
    answer = ask("GET", path, key="the-default-key", root_path=prefix)
    assert answer.status == {"/v1/models": 200, "/metrics": 401}.get(routed, 404)
    assert bool(engine.seen) == (routed == "/v1/models")


def test_a_route_with_an_id(ask, engine):
    assert ask("GET", "/v1/responses/resp_12-a", key="the-default-key").status == 200
    assert engine.seen[0][1] == "/v1/responses/resp_12-a"


def test_operator_routes_take_the_operators_token_alone(ask, engine):
    assert ask("GET", "/metrics").status == 401
    assert ask("GET", "/metrics", key="the-default-key").status == 401
    assert engine.seen == []
    assert ask("GET", "/metrics", key="the-operator-token").status == 200
    assert ask("POST", "/tokenize", key="the-operator-token", body={}).status == 200


@pytest.mark.parametrize(("status", "told"), [(200, 200), (500, 503), (404, 503), (302, 503)])
def test_a_probe_hears_one_of_two_things(ask, engine, status, told):
    engine.status = status
    answer = ask("GET", "/health")
    assert (answer.status, answer.body) == (told, b"")


ORIGIN = ("origin", "https://page.example")
WISH = ("access-control-request-method", "POST")


@pytest.fixture
def with_cors(engine, configure):
    """A door before the CORS middleware that vLLM has before all its routes."""

    def build(**options):
        given = {"allow_origins": ["*"], "allow_methods": ["*"], "allow_headers": ["*"], **options}
        return Door(CORSMiddleware(engine, **given), configure())

    return build


def test_a_browser_may_ask_whether_it_may_ask_a_users_route(ask, with_cors, engine):
    """It sends no key with that question, and no request without an answer to it."""
    wanted = ("access-control-request-headers", "authorization")
    answer = ask("OPTIONS", CHAT, headers=[ORIGIN, WISH, wanted], through=with_cors())
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-headers"] == "authorization"
    assert engine.seen == []
    told = ask("POST", CHAT, key="the-default-key", body={}, headers=[ORIGIN], through=with_cors())
    assert told.headers["access-control-allow-origin"] == "*"


def test_what_the_engine_says_of_a_page_is_passed_on(ask, with_cors, engine):
    door = with_cors(allow_origins=["https://other.example"])
    answer = ask("OPTIONS", CHAT, headers=[ORIGIN, WISH], through=door)
    assert (answer.status, answer.body) == (400, b"Disallowed CORS origin")
    assert engine.seen == []


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (CHAT, []),
        (CHAT, [ORIGIN]),
        (CHAT, [WISH]),
        (CHAT, [ORIGIN, ORIGIN, WISH]),
        (CHAT, [ORIGIN, WISH, WISH]),
        (CHAT, [ORIGIN, ("access-control-request-method", "GET")]),
        (CHAT, [ORIGIN, ("access-control-request-method", "OPTIONS")]),
        (CHAT + "/", [ORIGIN, WISH]),
        ("/metrics", [ORIGIN, ("access-control-request-method", "GET")]),
        ("/tokenize", [ORIGIN, WISH]),
        ("/health", [ORIGIN, ("access-control-request-method", "GET")]),
        ("/invocations", [ORIGIN, WISH]),
    ],
)
def test_any_other_options_are_not_there(ask, with_cors, engine, path, headers):
    for key in (None, "the-default-key", "the-operator-token"):
        answer = ask("OPTIONS", path, key=key, headers=headers, through=with_cors())
        assert answer.status == 404
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert engine.seen == []


def test_an_engine_without_cors_answers_no_page(ask, engine):
    """Whatever it says: nothing of it goes out."""
    answer = ask("OPTIONS", CHAT, headers=[ORIGIN, WISH])
    assert (answer.status, answer.json()["error"]["code"]) == (404, "not_found")


def test_what_may_be_asked_is_a_route_of_some_release_and_of_one_class():
    root = Path(__file__).resolve().parents[3] / "deploy"
    known = json.loads((root / "engines" / "vllm-routes.json").read_text())["routes"]
    classes = yaml.safe_load((root / "door" / "routes.yaml").read_text())
    listed = [*classes["operator"], *classes["probe"], *chain(*classes["user"].values())]
    assert not [route for route in listed if route not in known]
    assert len(listed) == len(set(listed))
