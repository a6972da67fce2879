"""A router before two replicas: keys pass it, nothing is lost when either goes, and its own routes
are nobody's. One deployment for all tests of this file.
"""

import subprocess

import pytest
from tests.e2e.docker_parts import until
from tests.e2e.kubernetes.namespaces import Namespace
from tests.e2e.kubernetes.test_rollout import OWN
from tests.e2e.kubernetes.traffic import (
    Clients,
    asked,
    drain_node_of,
    until_serving,
    update_under,
)

pytestmark = pytest.mark.night

ROUTERS = "--selector=app.kubernetes.io/component=router"
# Its own routes, and ways to write them.
OPEN = [
    *("POST /add_worker?url=http://198.51.100.1:8000", "POST /remove_worker?url=http://a:1"),
    *("GET /workers", "POST /workers", "DELETE /workers/a", "GET /list_workers", "GET /get_loads"),
    *("POST /flush_cache", "GET /get_server_info", "GET /v1/../workers", "GET //workers"),
    *("GET /%77orkers", "GET /workers/", "GET /v1/models/../../workers", "GET /metrics"),
    *("OPTIONS /workers", "POST /generate", "GET /v1/models;/workers"),
]


@pytest.fixture(scope="module")
def routed(cluster, fake_image, router_image, tiny_checkpoint, tmp_path_factory):
    routed = Namespace.made(cluster, tmp_path_factory.mktemp("routed"))
    router = {"enabled": True, "image": router_image, "proxyImage": router_image,
              "policy": "roundRobin", "cpu": "100m", "memory": "256Mi"}  # fmt: skip
    own = ("--replicas", "2")
    routed.words(
        fake_image, tiny_checkpoint, *own, name=routed.name, values=OWN | {"router": router}
    )
    try:
        routed.up()
        until_serving(routed, 2)
        until(lambda: routers_ready(routed) == 2, seconds=120, what="two routers are ready")
        yield routed
    finally:
        routed.end()


@pytest.fixture(scope="module")
def clients(routed, fake_image, tiny_checkpoint):
    return Clients(routed, fake_image, tiny_checkpoint.name, front="-router")


def routers_ready(namespace):
    found = namespace.get("pods", ROUTERS)
    return sum(all(c["ready"] for c in p["status"].get("containerStatuses", ())) for p in found
               if p["status"]["phase"] == "Running")  # fmt: skip


def test_chat_with_a_key_and_nothing_without(routed, clients, tiny_checkpoint):
    front = f"http://{clients.address}:8000/v1"
    chat = {"model": tiny_checkpoint.name, "max_tokens": 4, "stream": True,
            "messages": [{"role": "user", "content": "Hello"}]}  # fmt: skip
    route = ("POST", f"{front}/chat/completions")
    with_key, without, wrong, models, health = asked(
        routed, "clients",
        (*route, clients.key, chat), (*route, None, chat), (*route, "wrong", chat),
        ("GET", f"{front}/models", clients.key, None), ("GET", front[:-2] + "health", None, None),
    )  # fmt: skip
    assert with_key[0] == 200, with_key
    assert with_key[1].endswith("data: [DONE]\n\n")
    assert (without[0], wrong[0]) == (401, 401)
    assert (models[0], health[0]) == (200, 200), (models, health)
    tested = subprocess.run(
        ["helm", "test", routed.service, "--namespace", routed.name],
        capture_output=True, text=True, timeout=300, env=routed.environment,
    )  # fmt: skip
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_what_changes_where_requests_go_is_reached_by_nobody(routed, clients):
    front = f"http://{clients.address}:8000"
    routes = [route.split(" ") for route in OPEN]
    questions = [(method, front + path, clients.key, None) for method, path in routes]
    assert [status for status, _ in asked(routed, "clients", *questions)] == [404] * len(OPEN)
    # The pod's other ports: the router itself is on loopback.
    pods = [pod["status"]["podIP"] for pod in routed.get("pods", ROUTERS)]
    closed = [
        ("GET", f"http://{ip}:{port}/workers", None, None) for ip in pods for port in (65001, 65002)
    ]
    assert {status for status, _ in asked(routed, "clients", *closed)} == {0}


def test_no_request_is_lost_when_replicas_go(routed, clients):
    update_under(clients, routed)
    with clients:
        drain_node_of(routed, min(routed.engines()))
        until_serving(routed, 2)
        until(lambda: routers_ready(routed) == 2, seconds=120, what="as many routers as before")
    assert clients.told["failed"] == []


def test_no_request_is_lost_when_a_router_goes(routed, clients):
    first = min(routed.pods(ROUTERS))
    with clients:
        routed.kubectl("delete", "pod", first, seconds=180)
        until(lambda: routers_ready(routed) == 2, seconds=120, what="another router is ready")
    assert clients.told["failed"] == []
    assert first not in routed.pods(ROUTERS)
