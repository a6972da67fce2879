"""Who reaches an engine from outside, and what asks them who they are before it does."""

import json

import pytest

DOOR = "deployctl_door.vllm.Middleware"
POLICY = """\
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: keys, namespace: llm}
spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: chat}]}
"""
ROUTE = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: chat, namespace: llm}
spec:
  parentRefs: [{name: gateway}]
  rules:
    - matches: [{path: {type: PathPrefix, value: PATH}}]
      backendRefs: [{name: chat, port: 8000}]
"""


def everything(m):
    m["Ingress"]["spec"]["rules"][0]["http"]["paths"][0]["path"] = "/"


@pytest.mark.parametrize("keyed", [True, False])
def test_a_proxy_that_asks_first_is_enough(spoilt, codes, keyed):
    everything(spoilt)
    if not keyed:
        spoilt.variable("VLLM_API_KEY")
    assert codes(spoilt.text) == {f"exposed-without-{'door' if keyed else 'key'}"}
    annotations = spoilt["Ingress"]["metadata"]["annotations"]
    annotations["nginx.ingress.kubernetes.io/auth-url"] = "https://login.example.org/check"
    assert codes(spoilt.text) == set()


def test_a_door_with_keys_may_be_exposed_whole(spoilt, codes):
    everything(spoilt)
    spoilt.flag("middleware", DOOR)
    spoilt.drop("PodMonitor")
    assert codes(spoilt.text) == {"exposed-without-key"}  # vLLM's own key is not the door's
    spoilt.variable("API_KEY_REQUIRED", "1")
    assert codes(spoilt.text) == set()
    spoilt.flag("middleware", "mine.Outermost")
    spoilt.variable("VLLM_API_KEY")
    assert codes(spoilt.text) == {"exposed-without-door"}


@pytest.mark.parametrize(("path", "code"), [("/v1", set()), ("/", {"exposed-without-door"})])
def test_routes(spoilt, codes, path, code):
    spoilt.drop("Ingress")
    spoilt.add(ROUTE.replace("PATH", path))
    assert codes(spoilt.text) == code
    spoilt.add(POLICY)
    assert codes(spoilt.text) == {"no-schema"}  # of the policy, which is not known here


def test_a_monitor_that_has_the_token_may_scrape(spoilt, codes):
    spoilt.flag("middleware", DOOR)
    spoilt.variable("API_KEY_REQUIRED", "1")
    assert codes(spoilt.text) == {"monitor-unauthorized"}
    endpoint = spoilt["PodMonitor"]["spec"]["podMetricsEndpoints"][0]
    endpoint["authorization"] = {"credentials": {"name": "chat-key", "key": "operator_token"}}
    assert codes(spoilt.text) == set()
    labels = spoilt["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    labels["prometheus.io/scrape"] = "true"
    assert codes(spoilt.text) == {"monitor-unauthorized"}


@pytest.mark.parametrize(
    ("host", "keyed", "door", "code"),
    [
        ("0.0.0.0", True, True, set()),
        ("0.0.0.0", True, False, {"exposed-without-door"}),
        ("0.0.0.0", False, True, {"exposed-without-key"}),
        ("0.0.0.0", False, False, {"exposed-without-key"}),
        ("127.0.0.1", False, False, set()),
    ],
)
def test_rendered_commands(codes, host, keyed, door, code):
    words = ["-m", "vllm.entrypoints.openai.api_server", "--model", "/models/m", "--host", host]
    command = {
        "version": 1, "arguments": [*words, *(["--middleware", DOOR] if door else [])],
        "environment": {}, "host": host, "port": 8000, "api_key": keyed,
        "engine_version": "0.32.0",
    }  # fmt: skip
    assert {c for c in codes(json.dumps(command)) if c.startswith("exposed")} == code
