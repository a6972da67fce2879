"""Which Kubernetes this folder's tests run on, how it is started, and how images reach its nodes.

KUBECONFIG where it is set; otherwise the one of `../shared/kube`, where that is beside the
checkout; otherwise `kind`. The last two are started for one test run and taken down after it,
unless they ran before.
"""

import json
import os
import secrets
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = ROOT.parent / "shared" / "kube" / "cluster"
ADDONS = ("lws", "monitoring", "gateway", "network-policies", "metrics-server", "keda")
HOLLOW = 30  # nodes that start pods at once and run nothing, with 8 cards each
TAINT = "kwok.x-k8s.io/node"  # of those
START_SECONDS = 300
LOAD_SECONDS = 600


def missing():
    """Why there is no cluster to use, or None."""
    if shutil.which("kubectl") is None:
        return "there is no kubectl command; .ci/helm fetches one"
    if named := os.environ.get("KUBECONFIG"):
        told = _run("kubectl", "--request-timeout=10s", "get", "--raw=/readyz", check=False)
        why = (told.stderr.strip().splitlines() or ["no answer"])[-1]
        return f"{named} names no cluster that answers: {why}" if told.returncode else None
    if PROGRAM.exists():
        return f"{PROGRAM} needs root" if os.geteuid() else None
    if shutil.which("kind") and shutil.which("docker"):
        return None
    return f"KUBECONFIG is not set, there is no {PROGRAM}, and kind is not installed"


def _run(*words, check=True, seconds=120, data=None, environment=None):
    done = subprocess.run(
        [*map(str, words)], capture_output=True, text=True, timeout=seconds, input=data,
        env={**os.environ, **(environment or {})},
    )  # fmt: skip
    assert not check or done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done


class Cluster:
    """One that KUBECONFIG names: its nodes have the images, and see this machine's folders."""

    def __init__(self, kubeconfig):
        self.kubeconfig = str(kubeconfig)
        self.environment = {"KUBECONFIG": self.kubeconfig}

    def down(self):
        """Ends what was started for the tests."""

    def kubectl(self, *words, check=True, data=None, seconds=120):
        """What it printed."""
        done = _run("kubectl", *words, check=check, data=data, seconds=seconds,
                    environment=self.environment)  # fmt: skip
        return done.stdout

    def json(self, *words):
        """The document of `kubectl get` and the like."""
        return json.loads(self.kubectl(*words, "--output", "json"))

    def nodes(self):
        """Nodes on which containers run, by name."""
        items = self.json("get", "nodes")["items"]
        taints = {i["metadata"]["name"]: i["spec"].get("taints", []) for i in items}
        return {i["metadata"]["name"]: i for i in items
                if all(t["key"] != TAINT for t in taints[i["metadata"]["name"]])}  # fmt: skip

    def needs(self, *parts):
        """Skips where the cluster lacks a part: a definition (`scaledobjects.keda.sh`), `cards`,
        `hollow` nodes, `metrics` of pods, `enforced policies`, or `faults`, for which it must be
        that of `../shared/kube`."""
        for part in parts:
            if not self.has(part):
                pytest.skip(f"kubernetes: this cluster has no {part}")

    def has(self, part):
        """Whether there is such a part: see `needs`."""
        if part == "cards":
            return any(
                "nvidia.com/gpu" in n["status"]["allocatable"] for n in self.nodes().values()
            )
        if part == "hollow":
            return bool(self.kubectl("get", "nodes", "--selector=type=kwok", "--output=name"))
        if part == "faults":
            return self._ours()
        if part == "metrics":
            return bool(self.kubectl("get", "--raw", "/apis/metrics.k8s.io/v1beta1", check=False))
        if part == "enforced policies":
            return self._enforces()
        return bool(self.kubectl("get", "crd", part, "--ignore-not-found", "--output=name"))

    def _enforces(self):
        """Whether NetworkPolicies hold, as far as it is known without a pod."""
        if self._ours():
            return "network-policies" in _run(PROGRAM, "status").stdout
        table = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "network.yaml").read_text())
        sets = self.kubectl("get", "daemonsets", "--all-namespaces", "--output=name").split()
        return any(name.rpartition("/")[2] in table["enforced"] for name in sets)

    def _ours(self):
        state = Path(os.environ.get("KUBE_TEST_DIR", "/var/tmp/kube-test"))
        return PROGRAM.exists() and self.kubeconfig == str(state / "admin.kubeconfig")

    def fault(self, *words):
        """A fault that `../shared/kube` knows: `fault("stop", "--kill", "etcd")`."""
        self.needs("faults")
        _run(PROGRAM, *words)

    def load(self, image):
        """Brings one of Docker's images to every node that lacks it."""
        lacking = [name for name, node in self.nodes().items() if not _has_image(node, image)]
        if lacking:
            self._bring(image, lacking)

    def _bring(self, image, lacking):
        if not self._ours():
            pytest.skip(f"kubernetes: {image} is not on {', '.join(lacking)}")
        _run(PROGRAM, "load", image, seconds=LOAD_SECONDS)


def _has_image(node, image):
    named = [name for one in node["status"].get("images", []) for name in one.get("names") or ()]
    return any(name == image or name.endswith(f"/{image}") for name in named)


class Shared(Cluster):
    """The one of `../shared/kube`, plain or with all it can have."""

    def __init__(self, addons):
        ran = "runs" in _run(PROGRAM, "status").stdout
        self._started = not ran
        if not ran:
            words = [word for addon in addons for word in ("--with", addon)]
            up = (PROGRAM, "up", "--hollow", HOLLOW, *words)
            # kubectl fails to wait for a definition that has no conditions yet: once more then.
            for _ in range(3):
                if _run(*up, check=False, seconds=START_SECONDS).returncode == 0:
                    break
                _run(PROGRAM, "down")
            else:
                _run(*up, seconds=START_SECONDS)
        told = _run(PROGRAM, "env").stdout  # export KUBECONFIG=…
        super().__init__(told.partition("KUBECONFIG=")[2].splitlines()[0])

    def down(self):
        if self._started:
            _run(PROGRAM, "down")


class Kind(Cluster):
    """One of kind, whose node sees the folder of checkpoints."""

    def __init__(self, folder, checkpoints):
        self.name = f"deployctl-test-{secrets.token_hex(3)}"
        mounts = [{"hostPath": str(checkpoints), "containerPath": str(checkpoints)}]
        nodes = [{"role": r, "extraMounts": mounts} for r in ("control-plane", "worker")]
        config = folder / "kind.json"
        document = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": nodes}
        config.write_text(json.dumps(document))
        super().__init__(folder / "kubeconfig")
        _run("kind", "create", "cluster", "--name", self.name, "--config", config, "--wait", "2m",
             seconds=START_SECONDS, environment=self.environment)  # fmt: skip

    def _bring(self, image, lacking):
        _run("kind", "load", "docker-image", image, "--name", self.name, seconds=LOAD_SECONDS)

    def down(self):
        _run("kind", "delete", "cluster", "--name", self.name, environment=self.environment)


def open_cluster(folder, checkpoints, *, night):
    """The cluster of this test run; what is added to a plain one takes time, and is the night's."""
    if named := os.environ.get("KUBECONFIG"):
        return Cluster(named)
    return Shared(ADDONS if night else ()) if PROGRAM.exists() else Kind(folder, checkpoints)
