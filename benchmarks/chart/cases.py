"""What is compared: one model, two replicas, a router; and the faults that a peer's chart is
known for, each with the values that bring it out and the codes that should name it.

The peer's values are those of production-stack's chart. The faults were reported by its users.
"""

import copy
from typing import Any, NamedTuple

MODEL, CONTEXT, VERSION = "Qwen/Qwen2.5-7B-Instruct-AWQ", 8192, "0.32.0"
NAMESPACE = "serving"

OURS: dict[str, Any] = {
    "name": "qwen",
    "replicas": 2,
    "engine": {
        "version": VERSION,
        "image": f"vllm/vllm-openai:v{VERSION}",
        "args": ["--max-model-len", str(CONTEXT)],
    },
    "model": {"id": MODEL, "revision": "0123456789abcdef0123456789abcdef01234567"},
    "gpu": {"count": 1},
    "resources": {"cpu": "4", "memory": "16Gi", "memoryLimit": "24Gi"},
    "cache": {"size": "50Gi", "accessMode": "ReadWriteMany"},
    "router": {"enabled": True},
}
_PEER_MODEL: dict[str, Any] = {
    "name": "qwen",
    "repository": "vllm/vllm-openai",
    "tag": f"v{VERSION}",
    "modelURL": MODEL,
    "replicaCount": 2,
    "requestCPU": 4,
    "requestMemory": "16Gi",
    "requestGPU": 1,
    "pvcStorage": "50Gi",
    "vllmConfig": {"maxModelLen": CONTEXT},
}


class Fault(NamedTuple):
    """One known fault: `model` is said over the peer's model, `codes` name it in `check`."""

    title: str
    codes: frozenset[str]
    model: dict[str, Any]


def _fault(title: str, codes: str, **model: Any) -> Fault:
    return Fault(title, frozenset(codes.split()), model)


FAULTS = (
    _fault("an update needs twice the cards (maxSurge 100%)", "rollout-surge"),
    _fault("a ReadWriteOnce cache and two replicas", "pvc-access-mode"),
    _fault("the liveness probe waits 1 s for a saturated engine", "liveness-timeout"),
    _fault("requests are dropped in a rollout: no preStop, 30 s of grace", "pre-stop-missing"),
    _fault("a Service named vllm would set VLLM_PORT", "service-links"),
    _fault("the engine runs as root with every default capability", "run-as-root"),
    _fault("the disruption budget selects no pod", "pdb-selects-nothing"),
    _fault("the router's image moves (latest)", "image-not-pinned"),
    _fault("half a card becomes none", "gpu-missing gpu-fraction", requestGPU=0.5),
    _fault(
        "shmSize is ignored unless tensorParallelSize is said in its own key",
        "shm",
        requestGPU=2,
        shmSize="20Gi",
        vllmConfig={"maxModelLen": CONTEXT, "extraArgs": ["--tensor-parallel-size", "2"]},
    ),
    _fault("the default trigger has no sum()", "metric-no-sum", keda={"enabled": True}),
    _fault("the default trigger asks for the label model", "metric-label", keda={"enabled": True}),
    _fault(
        "a flag that the image does not have starts nothing",
        "flag-removed",
        vllmConfig={"maxModelLen": CONTEXT, "extraArgs": ["--swap-space", "4"]},
    ),
)


def peer_values(**model: Any) -> dict[str, Any]:
    """The peer's values, with some said over its model."""
    return {"servingEngineSpec": {"modelSpec": [{**copy.deepcopy(_PEER_MODEL), **model}]}}
