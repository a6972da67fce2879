"""A service's life on a real Kubernetes, with real vLLM in its pods.

The cluster is the one that KUBECONFIG names. Its nodes have the CPU image, and see this machine's
folders, as those of a cluster on one machine do.
"""

import json
import os
import secrets
import subprocess

import pytest
from tests.e2e.docker_parts import IMAGE, Cli

pytestmark = [
    pytest.mark.night,
    pytest.mark.helm,
    pytest.mark.skipif("KUBECONFIG" not in os.environ, reason="no KUBECONFIG: no cluster to use"),
]

VALUES = """\
model: {{hostPath: {checkpoint}}}
resources: {{cpu: 200m, memory: 2Gi, memoryLimit: 6Gi}}
cache: {{size: 1Gi}}
"""


def kubectl(*words, check=True):
    done = subprocess.run(["kubectl", *words], capture_output=True, text=True, timeout=120)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout


class Namespace(Cli):
    """deployctl in a namespace of the test's own."""

    def __init__(self, state, name, up):
        super().__init__(state)
        self.environment |= {"DEPLOYCTL_NAMESPACE": name}
        self.name = name
        self.words = up

    def up(self, *words, code=0):
        return self("up", *self.words, *words, code=code)

    def pods(self):
        """Name to number of restarts."""
        found = json.loads(kubectl("-n", self.name, "get", "pods", "-o", "json"))["items"]
        return {
            pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]["restartCount"]
            for pod in found
            if "deletionTimestamp" not in pod["metadata"]
        }

    def kinds(self):
        """What is there, but for what Kubernetes puts into every namespace."""
        kinds = "all,configmaps,secrets,pvc,networkpolicies,poddisruptionbudgets,serviceaccounts"
        names = kubectl("-n", self.name, "get", kinds, "-o", "name").split()
        usual = {"configmap/kube-root-ca.crt", "serviceaccount/default"}
        return {n for n in names if n not in usual and not n.startswith("pod/")}


@pytest.fixture
def namespace(tmp_path, tiny_checkpoint):
    name = f"deployctl-test-{secrets.token_hex(3)}"
    (tmp_path / "values.yaml").write_text(VALUES.format(checkpoint=tiny_checkpoint))
    kubectl("create", "namespace", name)
    yield Namespace(
        tmp_path / "state",
        name,
        ("--target", "kubernetes", "--model", tiny_checkpoint, "--gpu", "cpu", "--name", "chat",
         "--image", IMAGE, "--enforce-eager", "--values", tmp_path / "values.yaml"),
    )  # fmt: skip
    kubectl("delete", "namespace", name, "--wait=false")


def test_a_life(namespace, tmp_path):
    namespace.up()
    first = namespace.pods()
    (service,) = json.loads(namespace("status", "--output", "json").stdout)["services"]
    assert (service["health"], service["revision"]) == ("serving", 1)
    assert service["url"] == f"http://chat.{namespace.name}.svc:8000/v1"

    # The same once more touches nothing; and whoever has the namespace sees the same service.
    assert "unchanged" in namespace.up().stderr
    other = Namespace(tmp_path / "another", namespace.name, namespace.words)
    assert "unchanged" in other.up().stderr
    assert namespace.pods() == first

    # Its keys are in its Secret, and no pod restarts for one more.
    other("keys", "add", "chat", "ann", "--target", "kubernetes")
    listed = namespace("keys", "list", "chat", "--target", "kubernetes").stdout
    assert "ann" in listed
    assert namespace.pods() == first

    # An image that nobody has: why is said, and what served serves again.
    failed = namespace.up("--image", "registry.invalid/none:1", "--max-num-seqs", "4", code=4)
    assert "registry.invalid/none:1 cannot be pulled" in failed.stderr
    assert "revision 1 serves again" in failed.stderr
    assert namespace.json("status", "chat", "--target", "kubernetes")["health"] == "serving"

    # Another flag: another pod. Back again: as before.
    namespace.up("--max-num-seqs", "4")
    assert not set(namespace.pods()) & set(first)
    assert "Application startup complete" in namespace("logs", "chat").stdout
    namespace("rollback", "chat")
    history = namespace("history", "chat", "--output", "json").stdout
    statuses = [release["status"] for release in json.loads(history)["revisions"]]
    assert statuses == ["superseded", "failed", "superseded", "deployed"]
    out = tmp_path / "out"
    namespace(
        "loadtest", "chat", "--users", "2", "--duration", "8s", "--warmup", "1s",
        "--output-tokens", "8", "--out", out,
    )  # fmt: skip
    requests = json.loads((out / "summary.json").read_text())["requests"]
    assert requests["ok"] > 0
    # A model of chance says tokens without a text now and then; nothing else may go wrong.
    assert {failure["outcome"] for failure in requests["failures"]} <= {"empty"}

    namespace("down", "chat")
    kept = {name.partition("/")[2] for name in namespace.kinds()}
    records = {f"deployctl.chat.v{number}" for number in range(1, 5)}
    assert kept == {"chat-cache", "chat-api-key", *records}
    namespace("down", "chat", "--volumes")
    assert {name.partition("/")[2] for name in namespace.kinds()} == records
