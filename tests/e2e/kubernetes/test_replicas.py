"""More than one replica: where they are put, how many may go at once, and what is refused or told
before anything is changed.
"""

import json
import signal
import subprocess
import sys

import pytest
from tests.e2e.docker_parts import until
from tests.e2e.kubernetes.test_rollout import OWN
from tests.e2e.kubernetes.traffic import Clients, start_pod, until_serving, update_under

pytestmark = pytest.mark.night

ALL = 4  # cards of a node of ../shared/kube
CARDS = {"gpu": {"count": ALL}, "security": {"readOnlyRootFilesystem": False}}


@pytest.fixture
def filled(namespace, fake_image):
    """Half of a node is somebody else's: by that alone all replicas would go to the other one."""
    name, node = max(namespace.cluster.nodes().items())
    start_pod(
        namespace,
        fake_image,
        "other",
        node=name,
        cores=int(node["status"]["allocatable"]["cpu"]) / 2,
    )


@pytest.fixture
def two(namespace, filled, fake_image, tiny_checkpoint):
    namespace.words(fake_image, tiny_checkpoint, "--replicas", "2", name=namespace.name, values=OWN)
    namespace.up()
    until_serving(namespace, 2)
    return namespace


def evict(namespace, pod):
    """What the API server says."""
    body = {"apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace.name}}  # fmt: skip
    path = f"/api/v1/namespaces/{namespace.name}/pods/{pod}/eviction"
    return namespace.kubectl("create", "--raw", path, "-f", "-", data=json.dumps(body), check=False)


def test_they_are_on_two_nodes_and_one_at_a_time_is_evicted(two):
    nodes = {
        pod["spec"]["nodeName"]
        for pod in two.get("pods", "--selector=app.kubernetes.io/component=engine")
    }
    assert len(nodes) == 2
    first, second = sorted(two.engines())
    assert evict(two, first)
    assert not evict(two, second)  # refused, with 429: the budget of one is used
    until_serving(two, 2)
    assert second in two.engines()


def test_scarce_cards(namespace, fake_image, tiny_checkpoint):
    namespace.cluster.needs("cards")
    words = namespace.words(fake_image, tiny_checkpoint, "--replicas", "2", name=namespace.name,
                          values={**OWN, **CARDS})  # fmt: skip
    namespace.up()
    until_serving(namespace, 2)

    # Every card is taken: pod by pod it goes, and a pod more would wait.
    clients = Clients(namespace, fake_image, tiny_checkpoint.name)
    update_under(clients, namespace)
    pods = namespace.engines()
    surge = {"rollout": {"maxSurge": 1, "maxUnavailable": 0}}
    file = words[words.index("--values") + 1]
    file.write_text(json.dumps(json.loads(file.read_text()) | surge))
    up = subprocess.Popen(
        [sys.executable, "-m", "deployctl", "up", *map(str, words), "--max-num-seqs", "4"],
        env=namespace.environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until(lambda: len(namespace.engines()) == 3, seconds=60, what="a pod that waits")
    up.send_signal(signal.SIGINT)
    _, said = up.communicate(timeout=120)
    assert up.returncode == 130
    assert "rollout.maxSurge is 1, and no node has room for a pod more" in said
    until_serving(namespace, 2)
    assert namespace.engines() == pods  # what served was never touched


def test_a_claim_of_one_node_for_replicas_on_two(namespace, fake_image, tiny_checkpoint):
    namespace.cluster.needs("cards")
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "weights"},
             "spec": {"accessModes": ["ReadWriteOnce"],
                      "resources": {"requests": {"storage": "10Mi"}}}}  # fmt: skip
    own = {"model": {"claim": "weights", "hostPath": ""}, **CARDS}
    words = namespace.words(fake_image, tiny_checkpoint, "--replicas", "2", values=own)
    missing = namespace("up", *words, code=4)
    assert "there is no claim weights" in missing.stderr
    namespace.kubectl("apply", "-f", "-", data=json.dumps(claim))
    refused = namespace("up", *words, code=4)
    assert "claim weights is ReadWriteOnce, and 2 replicas are not on one node" in refused.stderr
    assert "Deployment" not in "".join(namespace.kinds())
    until(lambda: not namespace.engines(), seconds=10, what="nothing was made")
