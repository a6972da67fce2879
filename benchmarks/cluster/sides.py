"""The two sides of the comparison: a service by deployctl, and one by production-stack's chart.

Same image, checkpoint, replicas, cards and clients. The peer's router is left out, whose image is
none of ours: clients ask its Service of engines, as they ask ours.
"""

import base64
import json
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import yaml

_PATIENCE_S = 1200
_MEMORY = {True: ("2Gi", "6Gi"), False: ("256Mi", "1Gi")}  # asked for, and the most; real or fake
# What every engine on a CPU is given here, by whichever chart.
_ON_CPUS = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "HF_HUB_OFFLINE": "1",
    "FAKE_ENGINE_KEEPS": "1",
}
# The peer's chart calls a command that neither image has.
_COMMAND = """#!/bin/sh
shift
exec python3 -m vllm.entrypoints.openai.api_server --model "$@"
"""


class Setting(NamedTuple):
    """Where, and what is served."""

    namespace: str
    state: Path  # a folder for what is written
    model: Path
    image: str
    replicas: int
    cards: int  # of one replica
    real: bool  # the engine: else a fake, which needs little


class Side(Protocol):
    """One of the two."""

    title: str
    service: str
    port: int
    pods: str  # what selects them

    def up(self, max_num_seqs: int) -> None:
        """Installs it, or updates one flag; may return before pods are there."""
        ...

    def key(self) -> str:
        """With which clients ask."""
        ...

    def down(self) -> None:
        """Removes it."""
        ...


def run(*words: str | Path, text: str | None = None, state: Path | None = None) -> str:
    """What a program printed.

    Raises:
        RuntimeError: it failed.
    """
    environment = {**os.environ, "DEPLOYCTL_STATE_DIR": str(state)} if state else None
    done = subprocess.run(
        [str(word) for word in words],
        input=text,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        env=environment,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))}: {done.stderr.strip()[-800:]}")
    return done.stdout


class Deployctl:
    """By `up`: the chart's own probes, drain and rollout."""

    title, service, port = "deployctl", "ours", 8000
    pods = "app.kubernetes.io/instance=ours"

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._values = setting.state / "ours.yaml"
        memory, most = _MEMORY[setting.real]
        values: dict[str, Any] = {
            "engine": {"env": {"FAKE_ENGINE_KEEPS": "1"}},
            "model": {"hostPath": str(setting.model)},
            "cache": {"enabled": False},
            "resources": {"cpu": "300m", "memory": memory, "memoryLimit": most},
        }
        self._values.write_text(yaml.safe_dump(values))

    def up(self, max_num_seqs: int) -> None:
        """Returns when it serves."""
        given = self._setting
        gpu = ["--gpu", "l4"] if given.cards else ["--gpu", "cpu"]
        words = ["--model", str(given.model), *gpu, "--name", self.service, "--image", given.image]
        words += ["--replicas", str(given.replicas), "--max-num-seqs", str(max_num_seqs)]
        words += ["--enforce-eager", "--startup-timeout", "1200", "--values", str(self._values)]
        self._deployctl("up", *words)

    def key(self) -> str:
        """From its Secret."""
        words = ["get", "secret", f"{self.service}-api-key", "-o", "json"]
        secret = json.loads(run("kubectl", "--namespace", self._setting.namespace, *words))
        return base64.b64decode(secret["data"]["api_key"]).decode()

    def down(self) -> None:
        """With what is kept of it."""
        self._deployctl("down", self.service, "--volumes")

    def _deployctl(self, *words: str) -> None:
        where = ("--target", "kubernetes", "--namespace", self._setting.namespace)
        run(sys.executable, "-m", "deployctl", *words, *where, state=self._setting.state)


class ProductionStack:
    """By its chart: as it comes, but for 10 s for a probe instead of 1, on a busy machine."""

    service, port = "peer-qwen-engine-service", 80
    pods = "helm-release-name=peer"

    def __init__(self, setting: Setting, chart: Path) -> None:
        self._setting = setting
        self._key = secrets.token_hex(8)
        self._chart = _without_dependencies(chart, setting.state / "peer-chart")
        version = yaml.safe_load((chart / "Chart.yaml").read_text())["version"]
        self.title = f"production-stack {version}"
        run("kubectl", "apply", "-f", "-", text=json.dumps(self._command()))

    def up(self, max_num_seqs: int) -> None:
        """Returns at once."""
        words = ["upgrade", "--install", "peer", str(self._chart)]
        words += ["--namespace", self._setting.namespace, "--values", "-"]
        run("helm", *words, text=yaml.safe_dump(self.values(max_num_seqs)))

    def key(self) -> str:
        """As the values have it."""
        return self._key

    def down(self) -> None:
        """And waits."""
        run("helm", "uninstall", "peer", "--namespace", self._setting.namespace, "--wait")

    def values(self, max_num_seqs: int) -> dict[str, Any]:
        """What the chart is given."""
        given = self._setting
        image, _, tag = given.image.rpartition(":")
        memory, most = _MEMORY[given.real]
        cards = {"nvidia.com/gpu": given.cards} if given.cards else {}
        name = given.model.name
        model = {
            "name": "qwen",
            "repository": image,
            "tag": tag,
            "modelURL": "/model",
            "replicaCount": given.replicas,
            "requestGPU": given.cards,
            "resources": {
                "requests": {"cpu": "300m", "memory": memory, **cards},
                "limits": {"memory": most, **cards},
            },
            "shmSize": "1Gi",
            "vllmConfig": {
                "tensorParallelSize": 1,  # else the chart mounts no /dev/shm
                "maxNumSeqs": max_num_seqs,
                "extraArgs": ["--served-model-name", name, "--enforce-eager"],
            },
            "env": [{"name": key, "value": value} for key, value in _ON_CPUS.items()],
            "extraVolumes": [
                {"name": "model", "hostPath": {"path": str(given.model)}},
                {"name": "command", "configMap": {"name": "peer-command", "defaultMode": 0o755}},
            ],
            "extraVolumeMounts": [
                {"name": "model", "mountPath": "/model", "readOnly": True},
                {"name": "command", "mountPath": "/usr/local/bin/vllm", "subPath": "vllm"},
            ],
        }
        patient = {"timeoutSeconds": 10}
        return {
            "servingEngineSpec": {
                "modelSpec": [model],
                "runtimeClassName": "",
                "imagePullPolicy": "IfNotPresent",
                "vllmApiKey": self._key,
                "startupProbe": patient,
                "livenessProbe": patient,
                "readinessProbe": patient,
            },
            "routerSpec": {"enableRouter": False},
        }

    def _command(self) -> dict[str, Any]:
        metadata = {"name": "peer-command", "namespace": self._setting.namespace}
        kind = {"apiVersion": "v1", "kind": "ConfigMap"}
        return {**kind, "metadata": metadata, "data": {"vllm": _COMMAND}}


def _without_dependencies(chart: Path, copy: Path) -> Path:
    """The chart without those that it can bring along, and does not unless asked: they need a
    registry."""
    shutil.copytree(chart, copy, dirs_exist_ok=True)
    (copy / "Chart.lock").unlink(missing_ok=True)
    document = yaml.safe_load((copy / "Chart.yaml").read_text())
    document.pop("dependencies", None)
    (copy / "Chart.yaml").write_text(yaml.safe_dump(document))
    return copy
