"""A service is taken down whose node reports no more. The node is made by hand and has no kubelet:
what the cluster makes of its silence is the cluster's own.
"""

import json
import time

import pytest
from tests.e2e.docker_parts import until
from tests.e2e.kubernetes.background import Begun

pytestmark = pytest.mark.night

KEY = "test.deployctl.io/gone"
KEPT_ON = (KEY, "node.kubernetes.io/not-ready")


@pytest.fixture
def node(cluster, namespace):
    """One that nobody else's pods get to."""
    name = f"gone-{namespace.name}"
    room = {"cpu": "4", "memory": "8Gi", "pods": "10"}
    made = {
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {"taints": [{"key": KEY, "effect": "NoSchedule"}]},
        "status": {"capacity": room, "allocatable": room,
                   "conditions": [{"type": "Ready", "status": "True", "reason": "Test"}]},
    }  # fmt: skip
    cluster.kubectl("create", "--filename=-", data=json.dumps(made))
    patch_status(cluster, "node", name, made["status"])
    yield name
    cluster.kubectl("delete", "node", name, "--ignore-not-found")


def patch_status(place, kind, name, status):
    place.kubectl(
        "patch", kind, name, "--subresource=status", "--patch", json.dumps({"status": status})
    )


def runs(namespace, pod):
    """Says of a pod what its kubelet would."""
    conditions = [{"type": kind, "status": "True"} for kind in ("Ready", "ContainersReady")]
    patch_status(namespace, "pod", pod, {"phase": "Running", "conditions": conditions})


def test_what_stays_is_said_and_not_waited_for(namespace, node, fake_image, tiny_checkpoint):
    there = {"nodeSelector": {"kubernetes.io/hostname": node},
             "tolerations": [{"key": key, "operator": "Exists"} for key in KEPT_ON]}  # fmt: skip
    words = namespace.words(fake_image, tiny_checkpoint, values={"scheduling": there})
    with Begun(namespace, "up", *words):
        until(namespace.pods, seconds=60, what="a pod")
        (pod,) = namespace.pods()
        until(lambda: namespace.get("pods")[0]["spec"].get("nodeName"), seconds=60, what="a node")
        runs(namespace, pod)
        said = f"its node {node} does not report (NotReady)"
        until(lambda: said in namespace.status("chat")["detail"], seconds=120, what=said)
    begun = time.monotonic()
    told = namespace("down", "chat", "--volumes", "--target", "kubernetes").stderr
    assert time.monotonic() - begun < 60
    assert f"{pod} stays: {said}" in told
    assert namespace.belongings() == set()
    assert namespace.kubectl("get", "pods", "--output=name").split() == [f"pod/{pod}"]
    namespace.cluster.kubectl("delete", "node", node)
    until(
        lambda: not namespace.kubectl("get", "pods", "--output=name"), seconds=120, what="it goes"
    )
