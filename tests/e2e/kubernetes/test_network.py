"""NetworkPolicies of the chart, on a cluster that enforces them: who gets in, and what gets out."""

import json
import subprocess

import pytest
from tests.e2e.docker_parts import until
from tests.e2e.kubernetes.namespaces import FAKE
from tests.e2e.kubernetes.traffic import asked, secret_of, start_pod

pytestmark = pytest.mark.night

# In a pod: listens on ports, and on UDP's 53 says what it hears, as a resolver would answer.
LISTEN = r"""
import socketserver, sys, threading
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        self.request[1].sendto(self.request[0], self.client_address)
for port in sys.argv[1:]:
    server = socketserver.TCPServer(("", int(port)), socketserver.BaseRequestHandler)
    threading.Thread(target=server.serve_forever).start()
socketserver.UDPServer(("", 53), Echo).serve_forever()
"""
# Inside an engine's container: which of HOST:PORT can be reached, and whether a resolver answers.
LOOK = r"""
import json, socket, sys
resolver, *addresses = sys.argv[1:]
told = {}
for where in addresses:
    host, _, port = where.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
        told[where] = True
    except OSError as error:
        told[where] = False
asks = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asks.settimeout(3)
try:
    asks.sendto(b"?", (resolver, 53))
    told["dns"] = asks.recv(1) == b"?"
except OSError:
    told["dns"] = False
print(json.dumps(told))
"""


def listen(namespace, image, *ports):
    """Starts a pod that does, from which others are asked too."""
    start_pod(namespace, image, "look", command=["python3", "-c", LISTEN, *map(str, ports)])


def reached(namespace, pod, resolver, *addresses):
    told = namespace.kubectl("exec", pod, "--", "python3", "-c", LOOK, resolver, *addresses)
    return json.loads(told)


def open_to_others(namespace, *where):
    """Waits until a pod that no policy selects reaches all of it."""
    until(lambda: all(reached(namespace, "look", *where).values()), seconds=60, what="all is there")


def address(namespace, pod):
    return namespace.cluster.json("--namespace", namespace.name, "get", "pod", pod)["status"][
        "podIP"
    ]


def test_clients_and_prometheus_get_in_and_the_engine_gets_nowhere(
    cluster, namespaces, fake_image, tiny_checkpoint
):
    cluster.needs("enforced policies")
    own, client, prometheus, stranger = (namespaces() for _ in range(4))
    policy = {"clients": [{"namespace": client.name}], "prometheus": {"namespace": prometheus.name}}
    own.words(fake_image, tiny_checkpoint, values={"networkPolicy": policy})
    own.up()
    for each in (own, client, prometheus, stranger):
        listen(each, fake_image, 8000)
    service = cluster.json("--namespace", own.name, "get", "service", "chat")
    url = f"http://{service['spec']['clusterIP']}:8000"
    key, token = secret_of(own, "api_key"), secret_of(own, "operator_token")
    questions = ("GET", f"{url}/v1/models", key, None), ("GET", f"{url}/metrics", token, None)
    seen = {each.name: [status for status, _ in asked(each, "look", *questions)]
            for each in (own, client, prometheus, stranger)}  # fmt: skip
    # The port is one: by which of the two a pod may ask what says the door.
    assert seen == {own.name: [0, 0], client.name: [200, 200], prometheus.name: [200, 200],
                    stranger.name: [0, 0]}  # fmt: skip
    # The operator, through a port-forward.
    assert own.json("metrics", "chat", "--target", "kubernetes")["requests"] is None
    own("smoke", "chat", "--target", "kubernetes")

    api = cluster.json("get", "service", "kubernetes")["spec"]["clusterIP"]
    (engine,) = own.engines()
    near, far = address(own, "look"), address(client, "look")
    where = (far, f"{api}:443", f"{far}:8000", f"{near}:8000")
    open_to_others(stranger, *where)
    assert set(reached(own, engine, *where).values()) == {False}


def test_an_engine_that_downloads_has_dns_and_the_world_but_not_the_cluster(
    cluster, namespace, fake_image
):
    cluster.needs("enforced policies")
    values = {
        **FAKE,
        "engine": {"image": fake_image},
        "gpu": {"count": 0},
        "scheduling": {"tolerations": []},
        "cache": {"enabled": False},
        "apiKey": {"value": "a-key-of-a-test"},
        "networkPolicy": {"egress": {"blocked": ["10.96.0.0/12", "10.244.0.0/16"]}},
    }
    namespace.service = "hub"
    done = subprocess.run(
        ["helm", "install", "hub", "charts/vllm", "--namespace", namespace.name, "--values", "-",
         "--wait", "--timeout", "120s"],
        input=json.dumps(values), capture_output=True, text=True, env=namespace.environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    listen(namespace, fake_image, 443)
    until(lambda: len(namespace.engines()) == 1, seconds=60, what="the engine is there")
    (engine,) = namespace.engines()
    api = cluster.json("get", "service", "kubernetes")["spec"]["clusterIP"]
    pod = address(namespace, "look")
    where = (pod, f"{api}:443", f"{pod}:443")
    open_to_others(namespace, *where)
    told = reached(namespace, engine, *where)
    assert told == {f"{api}:443": False, f"{pod}:443": False, "dns": True}
