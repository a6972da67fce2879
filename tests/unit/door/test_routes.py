"""What is not allowed does not exist, however it is written."""

import json
from itertools import chain
from pathlib import Path

import pytest
import yaml

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


def test_a_query_and_a_proxys_prefix_change_nothing(ask):
    assert ask("GET", "/v1/models", key="the-default-key", raw=b"/v1/models?x=/y").status == 200
    prefixed = {"path": "/llm/v1/models", "root_path": "/llm"}
    assert ask("GET", prefixed["path"], key="the-default-key", root_path="/llm").status == 200
    assert ask("GET", "/llm/version", key="the-default-key", root_path="/llm").status == 404


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


def test_what_may_be_asked_is_a_route_of_some_release_and_of_one_class():
    root = Path(__file__).resolve().parents[3] / "deploy"
    known = json.loads((root / "engines" / "vllm-routes.json").read_text())["routes"]
    classes = yaml.safe_load((root / "door" / "routes.yaml").read_text())
    listed = [*classes["operator"], *classes["probe"], *chain(*classes["user"].values())]
    assert not [route for route in listed if route not in known]
    assert len(listed) == len(set(listed))
