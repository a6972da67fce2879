"""Keys that are added to and taken from a real engine while it runs."""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest

pytestmark = pytest.mark.vllm
LIVES_S = 8.0  # of a key that is to expire here


@pytest.fixture
def add(guarded_engine):
    """Adds a key; at the end, all that were added are revoked."""
    names = []

    def add(name, *options):
        names.append(name)
        return guarded_engine.deployctl("keys", "add", "guarded", name, *options)["key"]

    yield add
    left = {key["name"] for key in guarded_engine.deployctl("keys", "list", "guarded")["keys"]}
    for name in left & set(names):
        guarded_engine.deployctl("keys", "revoke", "guarded", name)


def status(engine, key):
    return engine.ask("GET", "/v1/models", key=key).status


def test_a_key_lives_and_ends(guarded_engine, add):
    ends = datetime.now(UTC) + timedelta(seconds=LIVES_S)
    short = add("short", "--expires", ends.isoformat())
    alice = add("alice", "--note", "laptop", "--expires", "1h")
    assert status(guarded_engine, alice) == 200
    assert guarded_engine.complete(alice, 4).json()["usage"]["completion_tokens"] == 4
    revoked = guarded_engine.deployctl("keys", "revoke", "guarded", "alice")
    assert revoked["counts_from"] == "now"
    assert status(guarded_engine, alice) == 401
    assert status(guarded_engine, guarded_engine.key) == 200
    time.sleep(max(0.0, (ends - datetime.now(UTC)).total_seconds()))
    assert status(guarded_engine, short) == 401
    listed = guarded_engine.deployctl("keys", "list", "guarded")["keys"]
    states = {key["name"]: key["state"] for key in listed}
    assert (states["default"], states["short"], "alice" in states) == ("valid", "expired", False)


def test_limits_and_models(guarded_engine, add):
    few = add("few", "--requests-per-minute", 2)
    little = add("little", "--tokens-per-minute", 6)
    other = add("other", "--model", "another-model")
    assert status(guarded_engine, few) == 200
    assert guarded_engine.complete(few).status == 200
    refused = guarded_engine.complete(few)
    assert refused.status == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert "2 requests a minute" in refused.json()["error"]["message"]
    assert guarded_engine.complete(little, 8).status == 200
    assert guarded_engine.complete(little, 8).status == 429
    assert guarded_engine.complete(other).status == 403


def test_metrics_and_the_request_log_know_a_key_by_its_name(guarded_engine, add):
    key = add("counted", "--requests-per-minute", 1)
    done = guarded_engine.complete(key, 5, prompt="a secret prompt")
    refused = guarded_engine.complete(key)
    metrics = guarded_engine.ask("GET", "/metrics", key=guarded_engine.operator_token).body.decode()
    samples = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if "counted" in line)
    name, route = "deployctl_door", "/v1/completions"
    assert samples[f'{name}_requests_total{{key="counted",route="{route}",status="200"}}'] == "1"
    assert samples[f'{name}_requests_total{{key="counted",route="{route}",status="429"}}'] == "1"
    assert samples[f'{name}_tokens_total{{key="counted",direction="output"}}'] == "5"
    assert samples[f'{name}_refusals_total{{key="counted",reason="limit"}}'] == "1"
    log = guarded_engine.log()
    lines = [json.loads(line) for line in log.splitlines() if '"key":"counted"' in line]
    assert [line["status"] for line in lines] == [200, 429]
    assert lines[0]["tokens_out"] == 5
    assert lines[0]["request_id"] == done.headers["X-Request-Id"]
    assert lines[1]["request_id"] == refused.headers["X-Request-Id"]
    assert "a secret prompt" not in log
    assert key not in log
