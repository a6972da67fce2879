"""`doctor --target kubernetes` on a real cluster: what it says beforehand is what `up` meets, and
what it prints to apply is enough.
"""

import json
import secrets
import signal
import subprocess
import sys

import pytest
from tests.e2e.docker_parts import until

DOCTOR = ("doctor", "--target", "kubernetes")
QUOTA = """\
apiVersion: v1
kind: ResourceQuota
metadata: {name: small}
spec: {hard: {requests.memory: 100Mi, pods: 5}}
"""


@pytest.fixture
def doctor(namespace):
    """The checks by id, and the exit code; titles tell those of one id apart."""

    def ask(*words, code=None):
        done = namespace(*DOCTOR, *words, "--output", "json", code=code)
        document = json.loads(done.stdout)
        assert (document["target"], document["namespace"]) == ("kubernetes", namespace.name)
        assert done.returncode == (4 if document["verdict"] == "fail" else 0)
        return {check["id"]: check for check in document["checks"]}

    return ask


def test_the_role_that_it_prints_is_enough_for_a_life(
    namespace, doctor, fake_image, tiny_checkpoint
):
    user = f"ann-{secrets.token_hex(3)}"
    ann, on = ("--as", user), ("--target", "kubernetes", "--as", user)
    claim = {"cache": {"enabled": True, "size": "1Gi"}}
    words = namespace.words(fake_image, tiny_checkpoint, *ann, values=claim)
    plan = [word for word in words if word not in ("--name", "chat", "--image", "--enforce-eager")]
    plan = [word for word in plan if word not in ("--target", "kubernetes", fake_image)]

    # Without a right: up is refused, and doctor says by what, and with which Role it goes.
    refused = namespace("up", *words, code=4)
    assert "HTTP 403" in refused.stderr
    assert "doctor --target kubernetes" in refused.stderr
    found = doctor(*plan, code=4)["permissions"]
    assert found["status"] == "fail"
    assert f"{user} may not" in found["detail"]
    namespace.kubectl("apply", "--filename", "-", data=found["yaml"])

    # With that Role, and nothing besides, everything that deployctl does to a service.
    found = doctor(*plan)
    assert found["permissions"]["status"] == "pass", found["permissions"]
    assert found["permissions-looks"]["status"] == "warn"
    namespace("up", *words)
    assert namespace.json("status", "chat", *on)["health"] == "serving"
    assert "Application startup complete" in namespace("logs", "chat", *on).stdout
    namespace("keys", "add", "chat", "bob", *on)
    namespace("metrics", "chat", *on)  # through a port-forward of ann's own
    namespace("up", *words, "--max-num-seqs", "4")
    namespace("diff", *words)
    namespace("down", "chat", "--volumes", *on)
    assert {name.partition("/")[0] for name in namespace.kinds()} <= {
        "secret", "persistentvolumeclaim",
    }  # fmt: skip


def test_a_namespace_that_allows_little(namespace, doctor, fake_image, tiny_checkpoint):
    level = "pod-security.kubernetes.io/enforce=restricted"
    namespace.cluster.kubectl("label", "namespace", namespace.name, level)
    namespace.kubectl("apply", "--filename", "-", data=QUOTA)
    words = namespace.words(fake_image, tiny_checkpoint)
    values = words[words.index("--values") + 1]
    until(
        lambda: namespace.get("resourcequotas")[0].get("status", {}).get("hard"),
        seconds=30,
        what="the quota has a status",
    )
    found = doctor("--gpu", "cpu", "--model", tiny_checkpoint, "--values", values, code=4)
    assert found["quota"]["status"] == "fail"
    assert "requests.memory" in found["quota"]["detail"]
    assert found["pod-security"]["status"] == "fail"
    assert "hostPath" in found["admission"]["detail"]  # as the API server says it
    assert found["room"]["status"] == "pass"


def test_taints_are_named_and_what_it_prints_tolerates_them(namespace, doctor, tmp_path):
    namespace.cluster.needs("hollow")
    small = {"cpu": "1", "memory": "1Gi"}
    own = {"scheduling": {"nodeSelector": {"type": "kwok"}}, "resources": small}
    values, printed = tmp_path / "values.json", tmp_path / "tolerations.yaml"
    values.write_text(json.dumps(own))
    found = doctor("--gpu", "l4", "--values", values)
    assert found["gpu-taints"]["status"] == "fail"
    assert "kwok.x-k8s.io/node" in found["gpu-taints"]["detail"]
    assert "taint kwok.x-k8s.io/node is not tolerated" in found["room"]["detail"]
    printed.write_text(found["gpu-taints"]["yaml"])
    found = doctor("--gpu", "l4", "--values", values, "--values", printed)
    assert found["gpu-taints"]["status"] == "pass"


def test_a_card_that_no_node_has(doctor, cluster):
    cluster.needs("cards")
    found = doctor("--gpu", "h100", code=4)["gpu-nodes"]
    assert found["status"] == "fail"
    assert "no node has the label nvidia.com/gpu.product" in found["detail"]


def test_a_namespace_that_is_not_there(namespace):
    done = namespace(*DOCTOR, "--gpu", "cpu", code=4, DEPLOYCTL_NAMESPACE="nobody-made-this")
    assert "there is no namespace nobody-made-this" in done.stdout
    assert "kubectl create namespace nobody-made-this" in done.stdout


def test_a_pod_on_trial_leaves_nothing(namespace, doctor, fake_image):
    found = doctor("--gpu", "cpu", "--probe-image", fake_image)["probe"]
    assert (found["status"], "runs on" in found["detail"]) == ("pass", True), found
    found = doctor("--gpu", "cpu", "--probe-image", "registry.invalid/none:1", code=4)["probe"]
    assert found["status"] == "fail"
    until(lambda: not namespace.get("jobs,pods"), seconds=60, what="the pods are gone")


def test_ctrl_c_removes_the_pod_on_trial(namespace, fake_image):
    words = (*DOCTOR, "--gpu", "t4", "--probe-image", fake_image)  # a card for which it waits
    running = subprocess.Popen(
        [sys.executable, "-m", "deployctl", *words],
        env=namespace.environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        until(lambda: namespace.get("jobs"), seconds=60, what="the job is there")
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=60)
    finally:
        running.kill()
        running.wait()
    assert (running.returncode, "interrupted" in told) == (130, True), told
    until(lambda: not namespace.get("jobs,pods"), seconds=60, what="it is gone")
