"""Clients of a service inside the cluster, where its Service is; and what is done to its pods."""

import base64
import json
import select
import subprocess
from pathlib import Path

from tests.e2e.docker_parts import until
from tests.e2e.kubernetes.asking import KINDS

HERE = Path(__file__).parent
ANSWERED_S = 180  # until all clients have had their first answer
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {},
    "spec": {
        "terminationGracePeriodSeconds": 0,
        "enableServiceLinks": False,
        "containers": [{"name": "clients", "command": ["sleep", "infinity"]}],
    },
}


def start_pod(namespace, image, name, *, node=None, cores=0.2, command=()):
    """A pod that does nothing, or runs a command, for others to be run in it; on a node, and asking
    for cores: one that asks for none gets none while others want them."""
    pod = json.loads(json.dumps(POD))
    pod["metadata"]["name"] = name
    (container,) = pod["spec"]["containers"]
    container |= {"image": image, "resources": {"requests": {"cpu": str(cores)}}}
    if node:
        pod["spec"]["nodeSelector"] = {"kubernetes.io/hostname": node}  # once it has room
    if command:
        container["command"] = command
    namespace.kubectl("apply", "-f", "-", data=json.dumps(pod))
    namespace.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=300s",
                      seconds=320)  # fmt: skip


def secret_of(namespace, key):
    """What the Secret of the service holds."""
    get = ("--namespace", namespace.name, "get", "secret", f"{namespace.service}-api-key")
    return base64.b64decode(namespace.cluster.json(*get)["data"][key]).decode()


class Clients:
    """A pod of the namespace in which clients run: of the kinds of asking.py, one of each or those
    that are named. `front`: what is added to the service's name for the Service that they ask.
    The block begins when each has had an answer, and each has asked more until it ends."""

    def __init__(self, namespace, image, model, *, name="clients", kinds=(), front=""):
        self._namespace, self._model, self._name, self._kinds = namespace, model, name, kinds
        start_pod(namespace, image, name)
        get = ("--namespace", namespace.name, "get")
        # Its address: a name would be asked for again with each new connection.
        service = namespace.cluster.json(*get, "service", namespace.service + front)
        self.address = service["spec"]["clusterIP"]
        self.key = secret_of(namespace, "api_key")

    def __enter__(self):
        self.run("rm", "-f", "/tmp/stop")
        words = ["kubectl", "--namespace", self._namespace.name, "exec", "--stdin", self._name]
        words += ["--", "python3", "-", self.address, "8000", self._model, self.key, "/tmp/stop"]
        words += self._kinds
        self._asking = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env=self._namespace.environment,
        )  # fmt: skip
        self._asking.stdin.write((HERE / "asking.py").read_text())
        self._asking.stdin.close()
        said = self._asking.stdout
        line = said.readline() if select.select([said], [], [], ANSWERED_S)[0] else "nothing"
        if line != "asking\n":
            self._asking.kill()
            raise AssertionError(f"clients do not ask: {line}{said.read()}")
        return self

    def __exit__(self, *_):
        self.told = self.end()

    def end(self):
        """What they met: requests by kind of client, and those that failed."""
        self.run("touch", "/tmp/stop")
        said = self._asking.stdout.read()
        self._asking.stdout.close()
        assert self._asking.wait(180) == 0, said
        told = json.loads(said)
        print("requests", told["requests"], "failed", len(told["failed"]), told["failed"][:5])
        # More than the first of each: what is asserted of failures is said of these.
        assert told["requests"].keys() == set(self._kinds or KINDS)
        assert min(told["requests"].values()) > 1
        return told

    def run(self, *words):
        return self._namespace.kubectl("exec", self._name, "--", *words)


def hang(namespace, pod):
    """The number of the process that was stopped."""
    program = (HERE / "hanging.py").read_text()
    return namespace.kubectl("exec", "-i", pod, "--", "python3", "-", data=program).strip()


def signalled(namespace, pod, process, name):
    """Sends a process of a pod a signal."""
    script = f"import os, signal; os.kill({process}, signal.{name})"
    namespace.kubectl("exec", pod, "--", "python3", "-c", script)


def addresses(namespace):
    """Names of the pods to which the Service sends new connections."""
    selector = f"--selector=kubernetes.io/service-name={namespace.service}"
    slices = namespace.get("endpointslices", selector)
    return {one["targetRef"]["name"] for each in slices for one in each.get("endpoints") or ()
            if one["conditions"].get("ready")}  # fmt: skip


def until_serving(namespace, count, seconds=900):
    """Waits until so many pods are in the Service, and no others are there."""
    until(
        lambda: len(addresses(namespace)) == count == len(namespace.engines()),
        seconds=seconds,
        what=f"{count} pods serve",
    )


# Inside a pod: asks each line's METHOD URL, with a key in a header where there is one; a line each
# says the status, or what went wrong.
ASK = r"""
import json, sys, urllib.error, urllib.request
for line in json.load(sys.stdin):
    method, url, key, body = line
    data = json.dumps(body).encode() if body else None
    asked = urllib.request.Request(url, method=method, data=data)
    asked.add_header("Content-Type", "application/json")
    if key:
        asked.add_header("Authorization", "Bearer " + key)
    try:
        with urllib.request.urlopen(asked, timeout=4) as answer:
            text = answer.read().decode()
            print(json.dumps([answer.status, text]))
    except urllib.error.HTTPError as error:
        print(json.dumps([error.code, error.read().decode(errors="replace")]))
    except OSError as error:
        print(json.dumps([0, str(error)]))
"""


def asked(namespace, pod, *questions):
    """Status and text of each answer to (METHOD, URL, key or None, body or None), from inside a
    pod; status 0 where nobody answered."""
    lines = namespace.kubectl("exec", "-i", pod, "--", "python3", "-c", ASK,
                              data=json.dumps(questions)).splitlines()  # fmt: skip
    return [tuple(json.loads(line)) for line in lines]


def update_under(clients, namespace):
    """A changed flag, while they ask: every pod is another one, and no request failed."""
    before = namespace.engines()
    with clients:
        namespace.up("--max-num-seqs", "8")
        until_serving(namespace, 2)
    assert not set(namespace.engines()) & set(before)
    assert clients.told["failed"] == []


def drain_node_of(namespace, pod):
    """Evicts the service from the node of a pod, as for its maintenance; and nobody else's pods."""
    node = namespace.cluster.json("--namespace", namespace.name, "get", "pod", pod)["spec"][
        "nodeName"
    ]
    mine = f"--pod-selector=app.kubernetes.io/instance={namespace.service}"
    try:
        namespace.kubectl("drain", node, mine, "--delete-emptydir-data", seconds=600)
    finally:
        namespace.kubectl("uncordon", node)
